/**
 * Checkpoints (SPEC 4.1): the state of a chain in a few kilobytes, signed by its holder, so that a proof need not begin at birth. A
 * summary is a function of the chain alone: who has the whole history can tell whether a checkpoint told the truth.
 */
import { bytesEqual } from '../bytes/compare.ts';
import { H } from '../encoding/hash.ts';
import { decode } from '../encoding/cbor.ts';
import {
  encodeAs,
  hash,
  listOf,
  literal,
  nullable,
  numbered,
  record,
  time,
  tpmName,
  uintUpTo,
  uuid,
} from '../encoding/shape.ts';
import { hostId, policyId } from '../evidence/identity.ts';
import { limits } from '../limits.ts';
import type { ChainState, Handover, Mark } from './chain.ts';
import { demand } from './fault.ts';

/** States in which a holder may summarise; while a VM departs, what comes next is another's to say. */
const states = { stopped: 0, running: 1, paused: 2, saved: 3 } as const;

const handover = record<{ [K in keyof Handover]: Handover[K] }>({
  epoch: uintUpTo(),
  from: hostId,
  to: hostId,
  session: hash,
  sequence: uintUpTo(),
  arrived: hash,
  facts: hash,
  vtpm: tpmName,
  policy: policyId,
});

const mark = record<{ [K in keyof Mark]: Mark[K] }>({ sequence: uintUpTo(), hash });

/** `summary` of SPEC 4.1. Members in the order of the encoding. */
const members = {
  vm: uuid,
  birth: hash,
  epoch: uintUpTo(),
  sequence: uintUpTo(),
  head: hash,
  state: numbered(states),
  holder: hostId,
  facts: hash,
  vtpm: nullable(tpmName),
  policy: policyId,
  policySince: time,
  recent: listOf(handover, { max: limits.summaryHandoversMax }),
  marks: listOf(mark, { max: limits.summaryMarksMax }),
};
const summaryShape = record({ version: literal(1), ...members });
/** Of a VM that has a tenant policy. */
const tenantSummaryShape = record({ version: literal(2), ...members, tenant: hash });

/** Bytes of the summary of a chain up to and with its last entry; null while it cannot be summarised. */
export function summaryOf(state: ChainState): Uint8Array | null {
  if (state.state === 'departing' || state.state === 'destroyed') return null;
  if (state.quarantined || state.elsewhere.length > 0) return null;
  const { tenant } = state;
  // What a chain's state holds beside a summary's members, its shape leaves out.
  const told = { ...state, state: state.state };
  return tenant === null
    ? encodeAs(summaryShape, { ...told, version: 1 })
    : encodeAs(tenantSummaryShape, { ...told, version: 2, tenant });
}

/** What a checkpoint entry names as its `verdict`. */
export function summaryDigest(summary: Uint8Array): Uint8Array {
  return H('tvmmp/checkpoint/1', summary);
}

/** The state that a summary tells, UNVERIFIED: true only where its checkpoint was signed by somebody who is believed. Throws `encoding-invalid`. */
export function readSummary(bytes: Uint8Array): ChainState {
  const value = decode(bytes, { bytesMax: limits.summaryBytesMax });
  const bound = Array.isArray(value) && value[0] === 2;
  const {
    vm,
    birth,
    epoch,
    sequence,
    head,
    state,
    holder,
    facts,
    vtpm,
    policy,
    policySince,
    recent,
    marks,
    tenant,
  } = bound
    ? tenantSummaryShape.read(value, 'summary')
    : { ...summaryShape.read(value, 'summary'), tenant: null };
  const told = { vm, birth, epoch, sequence, head, state, holder, facts, vtpm, policy, policySince };
  // A chain that has been in another domain has no summary: what there is, is of the home.
  const domains = { home: policy, elsewhere: [] };
  return {
    ...told,
    ...domains,
    recent,
    marks,
    tenant,
    quarantined: false,
    departure: null,
    handovers: recent,
  };
}

/** `checkpoint`: its digest is that of the chain's own summary. */
export function demandTruthful(state: ChainState, verdict: Uint8Array | null): void {
  const summary = summaryOf(state);
  const same = summary !== null && verdict !== null && bytesEqual(verdict, summaryDigest(summary));
  demand(same, 'checkpoint', 'the checkpoint says something else than the chain before it');
}

/**
 * `known-head` for a proof that begins after what is known here: the last entries after which another host may have stopped to follow are in the
 * summary. One that is older than all of them is the signer's word.
 */
export function demandAcquainted(told: ChainState, known: ChainState): void {
  const born = told.vm === known.vm && bytesEqual(told.birth, known.birth);
  demand(born, 'known-head', 'it is the proof of another birth of this VM than is known here');
  const forked = `entry ${known.sequence} of this VM is known here, and the checkpoint does not name it: the chain was forked`;
  if (told.sequence === known.sequence) {
    demand(bytesEqual(told.head, known.head), 'known-head', forked);
    return;
  }
  const { marks } = told;
  const named = marks.some(
    ({ sequence, hash: at }) => sequence === known.sequence && bytesEqual(at, known.head),
  );
  const full = marks.length === limits.summaryMarksMax && known.sequence < (marks[0]?.sequence ?? 0);
  demand(named || full, 'known-head', forked);
}
