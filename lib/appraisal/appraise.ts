/** The appraisal of a peer (SPEC 6.5), and the one place where a TrustedPeer comes into being. */
import { bytesEqual } from '../bytes/compare.ts';
import type { HostCertificate } from '../certificates/host-certificate.ts';
import { TvmmpError } from '../errors.ts';
import type { Role } from '../evidence/statement.ts';
import { limits } from '../limits.ts';
import { peerLabel } from './domains.ts';
import type { Domain } from './domains.ts';
import { checkPeer, foreignDomain } from './peer-checks.ts';
import type { AppraisalInput } from './peer-checks.ts';
import { isAccepted, verdictDigest, verdictReason } from './verdict.ts';
import type { Check, Verdict } from './verdict.ts';

/** What a TrustedPeer is wanted for; it must be what it was appraised for. */
export interface PeerUse {
  readonly vm: string;
  readonly session: Uint8Array;
  /** Role that the peer has to have. */
  readonly role: Role;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** A peer that was not accepted. Its reasons are for this host's operator; the peer gets `refused` alone (SPEC 9). */
export interface Refusal {
  readonly outcome: 'refused';
  readonly verdict: Verdict;
  /** One line, the reason first. */
  readonly reason: string;
}

interface Minted {
  readonly certificate: HostCertificate;
  readonly receivePublic: Uint8Array;
  readonly state: string;
  readonly verdict: Verdict;
  readonly domain: Domain | null;
}

/** Set once by TrustedPeer's static block: nothing outside this module can make one. */
let mint: (minted: Minted) => TrustedPeer;

/**
 * A host that passed every check of an appraisal, for one VM, session and role, for a short time. Sealing a key, writing
 * *departing* and writing a permit take one as argument and call `assertFor` first.
 */
export class TrustedPeer {
  readonly outcome = 'trusted';
  readonly verdict: Verdict;
  /** `verdict` member of the entry that the appraisal leads to. */
  readonly verdictDigest: Uint8Array;
  readonly certificate: HostCertificate;
  /** TPMT_PUBLIC of the receive key: what to seal to. */
  readonly receivePublic: Uint8Array;
  /** Name of the approved PCR state that it was in. */
  readonly pcrState: string;
  /** As our policy names it; null for a host of our own domain. */
  readonly domain: Domain | null;
  /** Milliseconds since 1970. */
  readonly expires: number;
  /** Only instances that went through the constructor have it: no object of the same shape passes for one. */
  readonly #genuine = true;

  static {
    mint = (minted) => new TrustedPeer(minted);
  }

  private constructor({ certificate, receivePublic, state, verdict, domain }: Minted) {
    this.domain = domain;
    this.certificate = certificate;
    this.receivePublic = receivePublic;
    this.pcrState = state;
    this.verdict = verdict;
    this.verdictDigest = verdictDigest(verdict);
    this.expires = verdict.time + limits.trustedPeerLifeMs;
    Object.freeze(this);
  }

  get name(): string {
    return this.certificate.name;
  }

  /** Its name, with that of its domain where it is another: what this host keeps and tells of it is kept by this. */
  get label(): string {
    return peerLabel(this.name, this.domain?.name ?? null);
  }

  get akName(): Uint8Array {
    return this.certificate.akName;
  }

  get receiveKeyName(): Uint8Array {
    return this.certificate.receiveKeyName;
  }

  get vm(): string {
    return this.verdict.vm;
  }

  get session(): Uint8Array {
    return this.verdict.session;
  }

  get role(): Role {
    return this.verdict.role;
  }

  /** Throws `peer-untrusted` unless this peer was appraised for exactly this use and the appraisal still stands. */
  assertFor(use: PeerUse): void {
    if (!TrustedPeer.isGenuine(this)) throw notTrusted('not made by an appraisal');
    if (use.vm !== this.vm) throw notTrusted(`appraised for VM ${this.vm}, not ${use.vm}`);
    if (!bytesEqual(use.session, this.session)) throw notTrusted('appraised in another session');
    if (use.role !== this.role) throw notTrusted(`appraised as ${this.role}, not as ${use.role}`);
    if (!(use.now >= this.verdict.time && use.now < this.expires))
      throw notTrusted('its appraisal has expired');
  }

  /** Whether a value is a TrustedPeer that an appraisal made, rather than an object that looks like one. */
  static isGenuine(value: unknown): value is TrustedPeer {
    return typeof value === 'object' && value !== null && #genuine in value;
  }
}

/** Appraises a peer by all checks. Pure: same input, same verdict. A fault inside a check is thrown, never swallowed. */
export function appraisePeer(input: AppraisalInput): TrustedPeer | Refusal {
  const { hello } = input;
  const { checks, certificate, state } = checkPeer(input);
  const verdict = verdictOf(input, checks);
  const domain = foreignDomain(input)?.named ?? null;
  if (certificate === undefined || state === undefined || !isAccepted(verdict)) {
    return { outcome: 'refused', verdict, reason: verdictReason(verdict) };
  }
  return mint({
    certificate,
    receivePublic: Uint8Array.from(hello.receivePublic),
    state: state.name,
    verdict,
    domain,
  });
}

/** What a host's evidence is worth by all checks of a target (SPEC 16), where no VM is about to move: a verdict, and no trust. */
export function appraiseHost(input: Omit<AppraisalInput, 'role'>): Verdict {
  const as = { ...input, role: 'target' } as const;
  return verdictOf(as, checkPeer(as).checks);
}

/** What a host's own evidence is worth by its own policy. */
export function appraiseSelf(input: Omit<AppraisalInput, 'role' | 'selfName'>): Verdict {
  return appraiseHost({ ...input, selfName: '' });
}

function verdictOf(input: AppraisalInput, checks: readonly Check[]): Verdict {
  const { ownPolicy, hello } = input;
  const foreign = foreignDomain(input);
  return Object.freeze({
    vm: input.vm,
    session: Uint8Array.from(input.session),
    role: input.role,
    ...(foreign === null ? {} : { foreign: true as const }),
    peer: foreign === null ? hello.host : peerLabel(hello.host, foreign.named?.name ?? '?'),
    time: input.now,
    policy: { id: ownPolicy.id, version: ownPolicy.version, digest: ownPolicy.digest },
    checks: Object.freeze(checks),
  });
}

function notTrusted(why: string): TvmmpError {
  return new TvmmpError('peer-untrusted', `the peer cannot be used for this: ${why}`);
}
