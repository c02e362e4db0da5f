import type { LogJudges } from '../appraisal/log-thread.ts';
import type { Policy } from '../appraisal/policy.ts';
import type { RevocationList } from '../appraisal/revocation.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import type { VtpmIssuers } from '../certificates/vtpm-chain.ts';
import type { HostId } from '../evidence/identity.ts';
import type { Journal } from '../ledger/journal.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Hypervisor } from '../libvirt/port.ts';
import type { Bridge } from '../native/bridge.ts';
import type { Channel } from '../protocol/channel.ts';
import type { Tpm } from '../tpm/port.ts';
import type { HostFiles } from './files.ts';
import type { LogFiles } from './log-files.ts';
import type { Timers } from './timers.ts';
import type { VtpmDesk } from './vtpm-issuing.ts';

/** Who this host is, as enrolled (SPEC 1). */
export interface HostIdentity {
  readonly id: HostId;
  /** DER. */
  readonly akCertificate: Uint8Array;
  /** TPMT_PUBLIC wire bytes. */
  readonly akPublic: Uint8Array;
  readonly receivePublic: Uint8Array;
  readonly receiveKeyName: Uint8Array;
  readonly root: RootCertificate;
  /** vTPM CA of this host and what is above it; null where it was enrolled last before there were such CAs. */
  readonly vtpmIssuers: VtpmIssuers | null;
  /** DER of the policy signers' certificates. */
  readonly signerCertificates: readonly Uint8Array[];
}

/** The policy in force and its signed form, which travels with proofs. */
export interface PolicyInForce {
  readonly policy: Policy;
  readonly envelope: string;
}

/** The revocation list in force and its signed form, which is told to peers. */
export interface RevocationsInForce {
  readonly list: RevocationList;
  readonly envelope: string;
}

/** Structured log; never given XML, keys or messages of peers whole. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Settings of this host that migrations depend on. */
export interface HostSettings {
  readonly tcti: string;
  readonly libvirtUri: string;
  /** HOST:PORT that goes into the metadata of VMs held here. */
  readonly advertise: string;
  /** HOST:PORT of the agents that this host attests itself to (SPEC 16.4). */
  readonly peers: readonly string[];
}

/** Everything that a move of a VM needs of its host, given to it rather than reached for. */
export interface Host {
  readonly identity: HostIdentity;
  /** Read anew for each use: a new policy takes effect at once. */
  readonly policy: () => PolicyInForce;
  /** Null where this host has no list yet (SPEC 1.3). */
  readonly revocations: () => RevocationsInForce | null;
  /** Takes a list that a peer told: verified, and in force at once where it is newer. Throws `policy-invalid`. */
  readonly learnRevocations: (envelope: string) => void;
  readonly settings: HostSettings;
  readonly tpm: Tpm;
  readonly hypervisor: Hypervisor;
  readonly bridge: Bridge;
  readonly vtpmDesk: VtpmDesk;
  readonly journal: Journal;
  /** Who holds each VM, as far as one host cannot know alone (SPEC 8.6). */
  readonly ledger: Ledger;
  readonly files: HostFiles;
  /** This host's own logs, for peers whose policy asks for them. */
  readonly logFiles: LogFiles;
  /** Where the logs of peers are judged. */
  readonly logJudges: LogJudges;
  readonly timers: Timers;
  readonly log: Log;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Opens a connection to a peer's agent at HOST:PORT. */
  readonly connect: (address: string) => Promise<Channel>;
  /** Component versions for hello messages. */
  readonly versions: ReadonlyMap<string, string>;
}
