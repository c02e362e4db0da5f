/** A proof as people and scripts read it: its timeline, who held the VM, and what is wrong with it. */
import { peerLabel } from '../appraisal/domains.ts';
import type { RecoveryStatement } from '../appraisal/recovery.ts';
import { attributesText } from '../certificates/attributes.ts';
import { hex } from '../encoding/hex.ts';
import { decodeEntry, entryHash } from '../proof/entry.ts';
import type { Entry, SignedEntry } from '../proof/entry.ts';
import type { ProofFault } from '../proof/fault.ts';
import { holdingsOf } from '../proof/holdings.ts';
import type { Holding } from '../proof/holdings.ts';
import { decodeProof } from '../proof/proof.ts';
import type { VerifiedProof } from '../proof/verify.ts';
import { tenantJson } from './proof-tenant.ts';
import { fields, paint, short, table, timeText } from './output.ts';

/** One entry of a timeline. Digests are hexadecimal. */
export interface TimelineEntry {
  readonly sequence: number;
  /** True for *departed*, which stands beside the chain. */
  readonly beside: boolean;
  readonly epoch: number;
  readonly kind: string;
  readonly host: string;
  /** Milliseconds since 1970, the signer's clock. */
  readonly time: number;
  readonly policy: string;
  /** Name of the approved state; null where it was not verified. */
  readonly pcrState: string | null;
  readonly peer: string | null;
  readonly session: string | null;
  readonly hash: string;
}

/** The timeline of a proof that nobody verified. Throws `encoding-invalid`, `limit-exceeded`. */
export function untrustedTimeline(bytes: Uint8Array): readonly TimelineEntry[] {
  const { entries, departures } = decodeProof(bytes);
  const line = ({ entry }: SignedEntry): TimelineEntry =>
    timelineEntry(decodeEntry(entry), entryHash(entry), null);
  return inOrder(entries.map(line), departures.map(line));
}

/** The timeline of a proof that was verified. */
export function timelineOf({ entries, departures }: VerifiedProof): readonly TimelineEntry[] {
  const lines = [entries, departures].map((list) =>
    list.map(({ entry, hash, pcrState }) => timelineEntry(entry, hash, pcrState)),
  );
  return inOrder(lines[0] ?? [], lines[1] ?? []);
}

function timelineEntry(entry: Entry, hash: Uint8Array, pcrState: string | null): TimelineEntry {
  const { sequence, epoch, kind, host, time, policy, peer, session } = entry;
  return {
    sequence,
    beside: kind === 'departed',
    epoch,
    kind,
    host: host.name,
    time,
    policy: `${policy.id} v${policy.version}`,
    pcrState,
    peer: peer?.name ?? null,
    session: session === null ? null : hex(session),
    hash: hex(hash),
  };
}

/** *departed* follows the *arrived* that it answers. */
function inOrder(
  chain: readonly TimelineEntry[],
  departures: readonly TimelineEntry[],
): readonly TimelineEntry[] {
  const placed = new Set<TimelineEntry>();
  const lines = chain.flatMap((entry) => {
    if (entry.kind !== 'arrived') return [entry];
    const answers = departures.filter((other) => other.epoch === entry.epoch - 1 && !placed.has(other));
    for (const answer of answers) placed.add(answer);
    return [entry, ...answers];
  });
  return [...lines, ...departures.filter((entry) => !placed.has(entry))];
}

/** The timeline as a table; *departed* has a + before its number. */
export function timelineText(timeline: readonly TimelineEntry[]): readonly string[] {
  const rows = timeline.map(
    ({ sequence, beside, epoch, kind, host, time, policy, pcrState, peer, session }) => [
      beside ? `+${sequence}` : ` ${sequence}`,
      String(epoch),
      kind,
      host,
      timeText(time),
      policy,
      pcrState ?? '',
      peer ?? '',
      session === null ? '' : short(session),
    ],
  );
  return table(
    [' ENTRY', 'EPOCH', 'KIND', 'HOST', 'WHEN (UTC)', 'POLICY', 'PCR STATE', 'PEER', 'SESSION'],
    rows,
  );
}

/** What a verified proof says, for `--json`. */
export function proofJson(proof: VerifiedProof): Readonly<Record<string, unknown>> {
  const { head } = proof;
  return {
    outcome: 'verified',
    vm: head.vm,
    birth: hex(head.birth),
    from: fromJson(proof),
    head: { hash: hex(head.head), sequence: head.sequence, epoch: head.epoch, state: head.state },
    holder: head.holder.name,
    quarantined: head.quarantined,
    vtpm: head.vtpm === null ? null : hex(head.vtpm),
    policy: { id: head.policy.id, version: head.policy.version, digest: hex(head.policy.digest) },
    tenant: tenantJson(proof),
    holdings: holdingsOf(proof).map(holdingJson),
    recoveries: [...proof.recoveries].map(([sequence, { lost, to, issuedAt, state }]) => ({
      ...{ sequence, lost: lost.name, to: to.name, issuedAt: issuedAt.getTime() },
      state: state === null ? null : hex(state),
    })),
    entries: timelineOf(proof),
  };
}

function holdingJson({
  epoch,
  host,
  since,
  until,
  destroyed,
  entries,
  pcrStates,
  policies,
  attributes,
  domain,
  authority,
}: Holding): unknown {
  return {
    epoch,
    host: host.name,
    akName: hex(host.akName),
    ...(domain === null ? {} : { domain, authority: hex(authority.digest) }),
    attributes: Object.fromEntries(attributes),
    since,
    until,
    destroyed,
    entries: { first: entries[0], last: entries[1] },
    pcrStates,
    policies: policies.map(({ id, version, digest }) => ({ id, version, digest: hex(digest) })),
  };
}

/** Where verification began: at birth, or with a checkpoint whose signer is believed for what came before. */
function fromJson({ checkpoint }: VerifiedProof): unknown {
  if (checkpoint === null) return { kind: 'birth' };
  const { host, time, sequence } = checkpoint.entry;
  return { kind: 'checkpoint', host: host.name, time, sequence };
}

/** What a verified proof says, for people. */
export function proofText(proof: VerifiedProof): readonly string[] {
  const { head } = proof;
  const holdings = holdingsOf(proof);
  const lost = new Set([...proof.recoveries.values()].map(({ epoch }) => epoch));
  const owing = holdings.filter(
    ({ epoch, until, destroyed }) => until !== null && destroyed === null && !lost.has(epoch),
  );
  const adopted = proof.entries.filter(({ entry }) => entry.kind === 'adopted');
  const quarantined = proof.entries.filter(({ entry }) => entry.kind === 'quarantined');
  return [
    paint(
      'green',
      `verified: ${proof.entries.length} entries, ${holdings.length} ${holdings.length === 1 ? 'holder' : 'holders'}`,
    ),
    ...fields([
      ['VM', head.vm],
      ['verified', fromText(proof)],
      ['birth', `${hex(head.birth)} (the hash of its first entry: pin it)`],
      ['head', `${hex(head.head)} (entry ${head.sequence})`],
      [
        'state',
        head.state === 'destroyed' ? 'the protection has ended' : `${head.state} on ${head.holder.name}`,
      ],
      ...tenantFields(proof),
    ]),
    '',
    ...holdingsText(holdings, lost),
    ...owing.map(({ host, epoch }) =>
      paint(
        'yellow',
        `${host.name} has not signed (in this proof) that its copy of epoch ${epoch} is destroyed`,
      ),
    ),
    ...[...proof.recoveries].map(([sequence, statement]) =>
      paint('yellow', recoveryText(sequence, statement)),
    ),
    ...adopted.map(({ entry: { sequence, host, time } }) =>
      paint(
        'yellow',
        `entry ${sequence}: an administrator of ${host.name} took up another vTPM state at ${timeText(time)}: it may have gone back`,
      ),
    ),
    ...quarantined.map(({ entry: { sequence, host, time } }) =>
      paint(
        'yellow',
        `entry ${sequence}: ${host.name} says at ${timeText(time)} that it does not satisfy its policy any more`,
      ),
    ),
    ...(head.quarantined ? [paint('red', `${head.holder.name} is quarantined since`)] : []),
  ];
}

/** Who took the VM up without its holder's word, and by whose. */
function recoveryText(sequence: number, { lost, to, issuedAt, state }: RecoveryStatement): string {
  const vtpm =
    state === null ? 'its vTPM may have gone back' : 'with the vTPM state that it stopped with there';
  return `entry ${sequence}: the authority stated at ${timeText(issuedAt.getTime())} that ${lost.name} is lost, and ${to.name} took the VM up: ${vtpm}`;
}

/** Each host that took the VM under it satisfied it: verification says so. */
function tenantFields({ tenant }: VerifiedProof): readonly (readonly [string, string])[] {
  if (tenant === null) return [];
  const { condition, version, keyDigest } = tenant;
  return [['tenant', `asks for ${condition} (policy version ${version}, key ${short(keyDigest)})`]];
}

function fromText({ checkpoint }: VerifiedProof): string {
  if (checkpoint === null) return 'from birth';
  const { host, time, sequence } = checkpoint.entry;
  return paint(
    'yellow',
    `from checkpoint by ${host.name} at ${timeText(time)} (entry ${sequence}); ${host.name} is believed for what came before`,
  );
}

/** Who had the VM, where and when. */
function holdingsText(holdings: readonly Holding[], lost: ReadonlySet<number>): readonly string[] {
  const rows = holdings.map(
    ({ epoch, host, since, until, destroyed, pcrStates, policies, attributes, domain }) => [
      String(epoch),
      `${peerLabel(host.name, domain)}${attributes.size === 0 ? '' : ` (${attributesText(attributes)})`}`,
      timeText(since),
      until === null ? 'now' : timeText(until),
      policies.map(({ id, version }) => `${id} v${version}`).join(', '),
      pcrStates.join(', '),
      lost.has(epoch) ? 'the host is lost' : destructionText(until, destroyed),
    ],
  );
  return table(['EPOCH', 'HOST', 'FROM (UTC)', 'UNTIL', 'POLICY', 'PCR STATE', 'COPY DESTROYED'], rows);
}

function destructionText(until: number | null, destroyed: number | null): string {
  if (until === null) return 'holds it';
  return destroyed === null ? 'NOT SIGNED' : `signed ${timeText(destroyed)}`;
}

/** Where in the file a fault is: `entry 3 (arrived by beta)`. */
export function faultPlace(fault: ProofFault, bytes: Uint8Array): string {
  const { at } = fault;
  if (at === null) return 'the file as a whole';
  const what = at.list === 'entries' ? `entry ${at.index}` : `departure ${at.index}`;
  try {
    const signed = decodeProof(bytes)[at.list][at.index];
    if (signed === undefined) return what;
    const { kind, host } = decodeEntry(signed.entry);
    return `${what} (${kind} by ${host.name})`;
  } catch {
    return what;
  }
}
