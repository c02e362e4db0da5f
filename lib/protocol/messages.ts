import type { Claim } from '../evidence/claim.ts';
import type { PolicyId } from '../evidence/identity.ts';
import type { LogKind, LogsWanted } from '../evidence/logs-wanted.ts';
import type { Role } from '../evidence/statement.ts';
import type { Disclaimer } from '../proof/disclaimer.ts';
import type { SignedEntry } from '../proof/entry.ts';

/** First message of either side: who speaks, about which VM, and which keys (SPEC 6). UNVERIFIED until appraised. */
export interface Hello {
  readonly kind: 'hello';
  /** Of the protocol. */
  readonly version: 1;
  readonly session: Uint8Array;
  readonly role: Role;
  /** UUID, lower case with hyphens. */
  readonly vm: string;
  /** 32 fresh random bytes. */
  readonly nonce: Uint8Array;
  readonly host: string;
  /** HOST:PORT of the speaker's agent, for later messages of the session; who answers there is authenticated again. */
  readonly agent: string;
  /** DER. */
  readonly akCertificate: Uint8Array;
  /** TPMT_PUBLIC wire bytes. */
  readonly akPublic: Uint8Array;
  /** TPMT_PUBLIC wire bytes. */
  readonly receivePublic: Uint8Array;
  readonly policy: PolicyId;
  /** Component name to version; for the operator's eyes, nothing is decided by it in version 1. */
  readonly versions: ReadonlyMap<string, string>;
  /** Which logs the peer has to send before its evidence (SPEC 6.11); absent where no rule of the speaker's policy asks for any. */
  readonly wanted?: LogsWanted;
}

/** The target attests itself (SPEC 6.3). */
export interface EvidenceMessage {
  readonly kind: 'evidence';
  readonly session: Uint8Array;
  readonly claim: Claim;
}

/** The source attests itself, commits itself, and hands over (SPEC 6.4). */
export interface Offer {
  readonly kind: 'offer';
  readonly session: Uint8Array;
  readonly claim: Claim;
  /** Proof file bytes; its last entry is *departing*. */
  readonly proof: Uint8Array;
  readonly sealed: Uint8Array;
}

/** The target holds everything durably (SPEC 6.7). */
export interface Staged {
  readonly kind: 'staged';
  readonly session: Uint8Array;
  /** Hash of the *departing* entry. */
  readonly head: Uint8Array;
}

/** The CPUs run at the target, which is the holder of the next epoch. */
export interface Arrived {
  readonly kind: 'arrived';
  readonly session: Uint8Array;
  readonly entry: SignedEntry;
  readonly certificates: readonly Uint8Array[];
  readonly policies: readonly string[];
}

/** The source has destroyed its copy. */
export interface Departed {
  readonly kind: 'departed';
  readonly session: Uint8Array;
  readonly entry: SignedEntry;
  readonly certificates: readonly Uint8Array[];
  readonly policies: readonly string[];
}

/** What a refusal may tell the peer: mistakes of the user who typed the migration, nothing about a host (SPEC 6). */
export const refusalHints = {
  'no-tls': 1,
  postcopy: 2,
  offline: 3,
  unsafe: 4,
  'no-job': 5,
  'not-running': 6,
  busy: 7,
  'not-holder': 8,
} as const;
export type RefusalHint = keyof typeof refusalHints;

/** The end of a session that was not committed. */
export interface RefusedMessage {
  readonly kind: 'refused';
  readonly session: Uint8Array;
  readonly hint: RefusalHint | null;
}

/** A newer revocation list for a peer whose hello announced an older one (SPEC 1.3); no state machine ever sees it. */
export interface RevocationsMessage {
  readonly kind: 'revocations';
  readonly session: Uint8Array;
  /** DSSE envelope. */
  readonly list: string;
}

/** A piece of a log, before the speaker's evidence or offer (SPEC 6.11); no state machine ever sees it. UNVERIFIED. */
export interface LogMessage {
  readonly kind: 'log';
  readonly session: Uint8Array;
  readonly log: LogKind;
  /** Place of the piece in the log, in bytes. */
  readonly from: number;
  readonly data: Uint8Array;
}

/** What the source asks after libvirt's outcome: *abort* where the VM stayed, *query* where it has left. */
export interface QuestionOf<Kind extends 'abort' | 'query'> {
  readonly kind: Kind;
  readonly session: Uint8Array;
  /** Hash of the *departing* entry. */
  readonly head: Uint8Array;
}
export type Question = QuestionOf<'abort'> | QuestionOf<'query'>;

/** The target has nothing of the VM and will take nothing (SPEC 6.10). UNVERIFIED. */
export interface Aborted {
  readonly kind: 'aborted';
  readonly session: Uint8Array;
  readonly disclaimer: Disclaimer;
  readonly certificates: readonly Uint8Array[];
  readonly policies: readonly string[];
}

/** The host that attested itself without a VM satisfies the speaker's policy (SPEC 16.4). */
export interface AttestedMessage {
  readonly kind: 'attested';
  readonly session: Uint8Array;
}

/** Everything that agents say to each other. */
export type Message =
  | Hello
  | EvidenceMessage
  | Offer
  | Staged
  | Arrived
  | Departed
  | Aborted
  | RefusedMessage
  | RevocationsMessage
  | LogMessage
  | AttestedMessage
  | Question;
export type MessageKind = Message['kind'];
