/** Explains to an operator why PCRs are in no approved state: against the nearest state, PCR by PCR. */
import { bytesEqual } from '../bytes/compare.ts';
import { hex } from '../encoding/hex.ts';
import type { ClaimedPcr } from '../evidence/claim.ts';
import type { Policy, PolicyState } from './policy.ts';

/** PCRs named in one line; the rest is counted. */
const NAMED_MAX = 3;
const STATES_NAMED_MAX = 3;

/** One line. `told` are PCR values that the quote covers; none when the peer did not tell the truth about them. */
export function explainPcrs(told: readonly ClaimedPcr[], policy: Policy): string {
  if (told.length === 0) return 'PCRs in a state that is not approved, and no true values to compare';
  return explain(told, policy.states);
}

type NamedState = Pick<PolicyState, 'name' | 'pcrs'>;

function explain(told: readonly ClaimedPcr[], states: readonly NamedState[]): string {
  const [nearest] = states
    .map((state) => ({ state, differing: differing(told, state) }))
    .sort((a, b) => a.differing.length - b.differing.length);
  if (nearest === undefined) return 'a policy without states';
  if (nearest.differing.length === 0) return `state ${nearest.state.name}`;
  const named = nearest.differing.slice(0, NAMED_MAX).map((pcr) => describe(pcr, states));
  const more = nearest.differing.length - named.length;
  return `${named.join('; ')}${more > 0 ? `; and ${more} other PCRs` : ''} (nearest state: ${nearest.state.name})`;
}

/** The same for values that come of logs, without those of PCRs that states do not have. */
export function explainValues(
  values: ReadonlyMap<number, Uint8Array>,
  states: readonly NamedState[],
): string {
  const told = [...values].map(([index, value]) => ({ bank: 'sha256' as const, index, value }));
  return explain(told, states);
}

function differing(told: readonly ClaimedPcr[], state: NamedState): readonly ClaimedPcr[] {
  return told.filter(({ bank, index, value }) => {
    const approved = state.pcrs.get(index);
    return bank !== 'sha256' || approved === undefined || !bytesEqual(approved, value);
  });
}

function describe({ index, value }: ClaimedPcr, states: readonly NamedState[]): string {
  const approved = new Map<string, string>();
  for (const { name, pcrs } of states) {
    const digest = pcrs.get(index);
    if (digest !== undefined && !approved.has(short(digest))) approved.set(short(digest), name);
  }
  const named = [...approved].slice(0, STATES_NAMED_MAX).map(([digest, name]) => `${name}: ${digest}`);
  const more = approved.size - named.length;
  return `PCR ${index} is ${short(value)}, approved: ${named.join(', ')}${more > 0 ? ` and ${more} others` : ''}`;
}

function short(digest: Uint8Array): string {
  return `${hex(digest).slice(0, 8)}...`;
}
