/** Proofs with checkpoints (SPEC 4.1): true and false ones, and proofs that begin with one. */
import { sha256 } from '../../lib/encoding/hash.ts';
import { readSummary, summaryDigest, summaryOf } from '../../lib/proof/checkpoint.ts';
import { encodeProof } from '../../lib/proof/proof.ts';
import type { ProofFault } from '../../lib/proof/fault.ts';
import type { ProofCase } from './proof-cases.ts';
import { ChainBuilder, pcrsOf } from './proof-world.ts';
import type { World } from './proof-world.ts';

const entries = (index: number): ProofFault['at'] => ({ list: 'entries', index });
const other = sha256(Buffer.from('other'));

/** Born on alpha, moved to beta, where entry 5 is a checkpoint; then moved to gamma. */
function summarised(world: World): ChainBuilder {
  const c = new ChainBuilder(world).live('created', 'started').migrate(world.beta).live('suspended');
  return c.checkpoint().live('resumed').migrate(world.gamma);
}

export const goodCheckpointCases: readonly ProofCase[] = [
  {
    name: 'good-checkpoint-in-history',
    why: 'who has the whole chain sees that the checkpoint told the truth',
    expect: 'verified',
    build: (w) => summarised(w).bytes(),
  },
  {
    name: 'good-checkpoint-in-each-state',
    why: 'a holder may summarise whenever the VM does not depart',
    expect: 'verified',
    build: (w) => {
      const c = new ChainBuilder(w).live('created').checkpoint().live('started').checkpoint();
      return c.live('suspended').checkpoint().live('saved').checkpoint().live('stopped').bytes();
    },
  },
  {
    name: 'good-from-checkpoint',
    why: 'what a hand-over carries: the summary, its checkpoint, and what came after it',
    expect: 'verified',
    build: (w) => summarised(w).from(5),
  },
  {
    name: 'good-from-checkpoint-departed-late',
    why: 'the host that gave the VM away before the checkpoint states its destruction after it',
    expect: 'verified',
    build: (w) => {
      const c = new ChainBuilder(w).live('created', 'started').departing(w.beta).arrived(w.beta);
      return c.departed(w.alpha).checkpoint().live('stopped').from(4);
    },
  },
  {
    name: 'good-from-checkpoint-known',
    why: 'a host that once gave the VM away finds its own last entry among the marks',
    expect: 'verified',
    build: (w) => summarised(w).from(5),
    known: (w) => new ChainBuilder(w).live('created', 'started').migrate(w.beta).bytes(),
  },
];

export const badCheckpointCases: readonly ProofCase[] = [
  {
    name: 'checkpoint-false',
    why: 'a checkpoint that says something else than the history: seen by who has the history',
    expect: 'checkpoint',
    at: entries(2),
    build: (w) => new ChainBuilder(w).live('created', 'started').checkpoint({ verdict: other }).bytes(),
  },
  {
    name: 'checkpoint-of-other-birth',
    why: 'a summary with the birth of another VM under a genuine checkpoint',
    expect: 'checkpoint',
    at: entries(0),
    build: (w) => {
      const c = summarised(w);
      const told = readSummary(c.summaries.get(5)!);
      return c.from(5, { summary: summaryOf({ ...told, birth: other })! });
    },
  },
  {
    name: 'checkpoint-of-other-holder',
    why: 'a summary that makes the offering host the holder under a genuine checkpoint',
    expect: 'checkpoint',
    at: entries(0),
    build: (w) => {
      const c = summarised(w);
      const told = readSummary(c.summaries.get(5)!);
      return c.from(5, { summary: summaryOf({ ...told, holder: w.gamma.id })! });
    },
  },
  {
    name: 'sequence-checkpoint-skips',
    why: 'a holder leaves entries out of what it summarises: a pause that should not be seen',
    expect: 'sequence',
    at: entries(0),
    build: (w) => {
      const c = new ChainBuilder(w).live('created', 'started');
      const summary = c.summary();
      c.live('suspended', 'resumed');
      c.summaries.set(c.sequence, summary);
      return c
        .add('checkpoint', { verdict: summaryDigest(summary) })
        .live('stopped')
        .from(4);
    },
  },
  {
    name: 'previous-checkpoint-forked',
    why: 'a summary whose last entry is not the one that its checkpoint follows',
    expect: 'previous',
    at: entries(0),
    build: (w) => {
      const c = new ChainBuilder(w).live('created', 'started');
      const summary = c.summary();
      c.summaries.set(c.sequence, summary);
      return c
        .add('checkpoint', { verdict: summaryDigest(summary), previous: other })
        .live('stopped')
        .from(2);
    },
  },
  {
    name: 'holder-checkpoint-by-other-host',
    why: 'a host that does not hold the VM summarises its chain',
    expect: 'holder',
    at: entries(2),
    build: (w) => {
      const c = new ChainBuilder(w).live('created', 'started');
      c.holder = w.beta;
      return c.checkpoint().bytes();
    },
  },
  {
    name: 'pcr-state-checkpoint',
    why: 'a checkpoint of a host that had been tampered with: nobody would be believed for the past',
    expect: 'pcr-state',
    at: entries(0),
    build: (w) => {
      const c = new ChainBuilder(w).live('created', 'started');
      return c
        .checkpoint({}, { quote: { pcrs: pcrsOf('bad image') } })
        .live('stopped')
        .from(2);
    },
  },
  {
    name: 'life-cycle-checkpoint-while-departing',
    why: 'a summary in the middle of a hand-over would hide to whom the VM departs',
    expect: 'life-cycle',
    at: entries(3),
    build: (w) =>
      new ChainBuilder(w)
        .live('created', 'started')
        .departing(w.beta)
        .add('checkpoint', { verdict: other })
        .bytes(),
  },
  {
    name: 'members-checkpoint-without-summary',
    why: 'a checkpoint that names no summary',
    expect: 'members',
    at: entries(1),
    build: (w) => new ChainBuilder(w).live('created', 'checkpoint').bytes(),
  },
  {
    name: 'facts-checkpoint',
    why: 'a definition that changes without a start',
    expect: 'facts',
    at: entries(1),
    build: (w) => new ChainBuilder(w).live('created').checkpoint({ facts: other }).bytes(),
  },
  {
    name: 'checkpoint-is-not-first',
    why: 'a proof that begins with any entry that somebody has a summary for',
    expect: 'checkpoint',
    at: entries(0),
    build: (w) => {
      const c = new ChainBuilder(w).live('created', 'started');
      const summary = c.summary();
      c.live('suspended').checkpoint();
      return encodeProof({ ...c.proof(), summary, entries: c.entries.slice(2) });
    },
  },
  {
    name: 'departure-before-checkpoint',
    why: 'a statement about an epoch that the summary does not know',
    expect: 'departure',
    at: { list: 'departures', index: 0 },
    build: (w) => {
      const c = new ChainBuilder(w).live('created', 'started');
      c.checkpoint();
      const stranger = new ChainBuilder(w).live('created', 'started').migrate(w.beta);
      return c.from(2, { departures: stranger.departures, certificates: stranger.proof().certificates });
    },
  },
  {
    name: 'known-head-below-checkpoint',
    why: 'an old proof from a checkpoint on to a host that has seen a later entry: rollback',
    expect: 'known-head',
    at: null,
    build: (w) => summarised(w).from(5),
    known: (w) => summarised(w).live('suspended').bytes(),
  },
  {
    name: 'known-head-forked-before-checkpoint',
    why: 'a fork that was summarised away: the last entry of the host that is asked is not in it',
    expect: 'known-head',
    at: null,
    build: (w) => summarised(w).from(5),
    known: (w) => new ChainBuilder(w).live('created', 'started', 'suspended', 'resumed').bytes(),
  },
  {
    name: 'known-head-of-other-birth-in-summary',
    why: 'a VM that was born again under the UUID that this host knows',
    expect: 'known-head',
    at: null,
    build: (w) => summarised(w).from(5),
    known: (w) => new ChainBuilder(w).add('created', { facts: other }).live('started').bytes(),
  },
];
