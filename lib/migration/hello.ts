import { randomBytes } from 'node:crypto';
import { TvmmpError } from '../errors.ts';
import { appraisePeer } from '../appraisal/appraise.ts';
import type { Refusal, TrustedPeer } from '../appraisal/appraise.ts';
import type { AppraisalInput } from '../appraisal/peer-checks.ts';
import type { Verdict } from '../appraisal/verdict.ts';
import { hostOfLabel } from '../appraisal/domains.ts';
import { PEER_REVOCATIONS_VERSION, REVOCATIONS_VERSION } from '../appraisal/revocation-check.ts';
import { hex } from '../encoding/hex.ts';
import type { Claim } from '../evidence/claim.ts';
import { evidenceStatement, evidenceTranscript, greetingTranscript } from '../evidence/statement.ts';
import type { LogsWanted } from '../evidence/logs-wanted.ts';
import type { Role } from '../evidence/statement.ts';
import { encodeMessage } from '../protocol/codec.ts';
import type { Channel } from '../protocol/channel.ts';
import type { EvidenceMessage, Hello } from '../protocol/messages.ts';
import { domainRevocations } from './domain-revocations.ts';
import type { Host } from './host.ts';
import type { LogExchange } from './log-appraisals.ts';
import { Refused } from './refused.ts';

/** This host's hello (SPEC 6). `wanted`: what it asks for of the peer's logs. `peerRoot`: that of a peer of another domain. */
export function ownHello(
  host: Host,
  role: Role,
  session: Uint8Array,
  vm: string,
  wanted: LogsWanted | null = null,
  peerRoot?: Uint8Array,
): Hello {
  const { id, version, digest } = host.policy().policy;
  return {
    kind: 'hello',
    version: 1,
    session,
    role,
    vm,
    nonce: new Uint8Array(randomBytes(32)),
    host: host.identity.id.name,
    agent: host.settings.advertise,
    akCertificate: host.identity.akCertificate,
    akPublic: host.identity.akPublic,
    receivePublic: host.identity.receivePublic,
    policy: { id, version, digest },
    versions: new Map([
      ...host.versions,
      [REVOCATIONS_VERSION, String(host.revocations()?.list.version ?? 0)],
      ...(peerRoot === undefined
        ? []
        : ([[PEER_REVOCATIONS_VERSION, String(domainRevocations(host, peerRoot)?.version ?? 0)]] as const)),
    ]),
    ...(wanted === null ? {} : { wanted }),
  };
}

/** The statements that both sides quote, over this host's own view of the connection (SPEC 6.2-6.4). */
export function statements(
  channel: Channel,
  own: Hello,
  peer: Hello,
): { target: Uint8Array; source: (evidence: EvidenceMessage) => Uint8Array } {
  const weAreSource = own.role === 'source';
  const t1 = greetingTranscript({
    exporter: channel.exporter,
    targetTlsCertificate: weAreSource ? channel.peerCertificateHash : channel.ownCertificateHash,
    sourceTlsCertificate: weAreSource ? channel.ownCertificateHash : channel.peerCertificateHash,
    sourceHello: encodeMessage(weAreSource ? own : peer),
    targetHello: encodeMessage(weAreSource ? peer : own),
  });
  return {
    target: evidenceStatement('target', t1),
    source: (evidence) => evidenceStatement('source', evidenceTranscript(t1, encodeMessage(evidence))),
  };
}

/** What the appraisal of a session's peer starts from. */
export interface PeerClaim {
  readonly channel: Channel;
  readonly peer: Hello;
  readonly statement: Uint8Array;
  readonly claim: Claim;
  readonly requiredPolicyVersion: number;
  /** Whether the proof that it offers says that it is quarantined. */
  readonly quarantined?: boolean;
  /** Its logs, where our hello asked for them. */
  readonly logs: LogExchange | null;
}

/** What this host appraises others by, now; `peerRoot`: that of a peer of another domain. */
export function groundOf(
  host: Host,
  peerRoot?: Uint8Array,
): Pick<AppraisalInput, 'now' | 'root' | 'peerRoot' | 'ownPolicy' | 'revocations' | 'selfName'> {
  return {
    now: host.now(),
    root: host.identity.root,
    ...(peerRoot === undefined ? {} : { peerRoot }),
    ownPolicy: host.policy().policy,
    revocations:
      peerRoot === undefined ? (host.revocations()?.list ?? null) : domainRevocations(host, peerRoot),
    selfName: host.identity.id.name,
  };
}

/** Appraises the peer of a session by our policy; throws `Refused` with every reason, journalled by the caller. */
export async function trustPeer(
  host: Host,
  { channel, peer, statement, claim, requiredPolicyVersion, quarantined = false, logs }: PeerClaim,
): Promise<TrustedPeer> {
  const findings = (await logs?.finish(claim)) ?? null;
  const outcome: TrustedPeer | Refusal = appraisePeer({
    role: peer.role,
    vm: peer.vm,
    session: peer.session,
    ...groundOf(host, channel.peerRoot),
    requiredPolicyVersion,
    quarantined,
    tlsPeerName: hostOfLabel(channel.peerName),
    statement,
    hello: peer,
    claim,
    logs: findings,
  });
  logs?.concluded(findings, outcome.verdict);
  if (outcome.outcome === 'trusted') return outcome;
  throw new Refused(`${peer.role} ${channel.peerName} is not trusted: ${outcome.reason}`, {
    verdict: verdictJson(outcome.verdict),
  });
}

/** A verdict as the journal keeps it with a refusal. */
export function verdictJson(verdict: Verdict): string {
  return JSON.stringify({
    ...verdict,
    session: hex(verdict.session),
    policy: { ...verdict.policy, digest: hex(verdict.policy.digest) },
  });
}

/** The connection that a session needs to be bound to. */
export function requireChannel(channel: Channel | null): Channel {
  if (channel === null) throw new TvmmpError('peer-unreachable', 'the connection to the peer is gone');
  return channel;
}
