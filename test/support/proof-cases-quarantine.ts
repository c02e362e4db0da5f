/** Proofs in which a holder says that it does not satisfy its policy any more, or that it does again (SPEC 16.3). */
import { sha256 } from '../../lib/encoding/hash.ts';
import type { QuarantineLeave } from '../../lib/appraisal/quarantine-rule.ts';
import { stepChain } from '../../lib/proof/chain.ts';
import type { ChainState } from '../../lib/proof/chain.ts';
import { summaryDigest, summaryOf } from '../../lib/proof/checkpoint.ts';
import { decodeEntry, entryHash } from '../../lib/proof/entry.ts';
import type { ProofFault } from '../../lib/proof/fault.ts';
import type { ProofCase } from './proof-cases.ts';
import { ChainBuilder, pcrsOf } from './proof-world.ts';
import type { Flaws, World } from './proof-world.ts';

const entries = (index: number): ProofFault['at'] => ({ list: 'entries', index });
const verdict = sha256(Buffer.from('what failed'));
const unapproved: Flaws = { quote: { pcrs: pcrsOf('rootkit') } };

/** A VM that runs, under a policy that says this of quarantine. */
function running(world: World, leave: QuarantineLeave): ChainBuilder {
  const c = new ChainBuilder(world);
  c.policy = world.signPolicy({ version: 4, quarantine: { everySeconds: 300, leave } });
  return c.live('created', 'started');
}

/** All of them. */
export const quarantineCases: readonly ProofCase[] = [
  {
    name: 'good-quarantined-and-released',
    why: 'a holder says that it is in no approved state, boots one, and goes on; later it may say so again',
    expect: 'verified',
    build: (w) =>
      running(w, 'never')
        .add('quarantined', { verdict }, unapproved)
        .live('stopped', 'released', 'started')
        .add('quarantined', { verdict })
        .live('released')
        .migrate(w.beta)
        .bytes(),
  },
  {
    name: 'good-quarantined-leaves',
    why: 'a VM leaves a holder that is quarantined where the policy lets it; the next holder is not',
    expect: 'verified',
    build: (w) =>
      running(w, 'trusted')
        .add('quarantined', { verdict })
        .migrate(w.beta)
        .checkpoint()
        .add('quarantined', { verdict })
        .bytes(),
  },
  {
    name: 'quarantine-never-leaves',
    why: 'a holder that is quarantined gives the VM away, and its policy lets none leave',
    expect: 'quarantine',
    at: entries(3),
    build: (w) => running(w, 'never').add('quarantined', { verdict }).migrate(w.beta).bytes(),
  },
  {
    name: 'quarantine-not-in-policy',
    why: 'a policy that does not speak of quarantine lets nothing leave either',
    expect: 'quarantine',
    at: entries(3),
    build: (w) =>
      new ChainBuilder(w).live('created', 'started').add('quarantined', { verdict }).migrate(w.beta).bytes(),
  },
  {
    name: 'quarantine-not-over-after-aborted',
    why: 'a migration that came to nothing ends no quarantine',
    expect: 'quarantine',
    at: entries(6),
    build: (w) => {
      const c = running(w, 'trusted').add('quarantined', { verdict }).departing(w.beta);
      c.add('aborted', { session: c.session });
      c.policy = w.signPolicy({ version: 5, quarantine: { everySeconds: 300, leave: 'never' } });
      return c.live('suspended').migrate(w.gamma).bytes();
    },
  },
  {
    name: 'quarantine-twice',
    why: 'a holder is quarantined once at a time',
    expect: 'quarantine',
    at: entries(3),
    build: (w) => running(w, 'never').add('quarantined', { verdict }).add('quarantined', { verdict }).bytes(),
  },
  {
    name: 'quarantine-released-without',
    why: 'nothing is there that could end',
    expect: 'quarantine',
    at: entries(2),
    build: (w) => running(w, 'never').live('released').bytes(),
  },
  {
    name: 'quarantine-released-unapproved',
    why: 'a holder that is in no approved state says that its quarantine is over',
    expect: 'pcr-state',
    at: entries(3),
    build: (w) =>
      running(w, 'never').add('quarantined', { verdict }, unapproved).add('released', {}, unapproved).bytes(),
  },
  {
    name: 'quarantine-goes-on-unapproved',
    why: 'what may be said in no approved state is that it is one, and nothing else',
    expect: 'pcr-state',
    at: entries(3),
    build: (w) =>
      running(w, 'never')
        .add('quarantined', { verdict }, unapproved)
        .add('suspended', {}, unapproved)
        .bytes(),
  },
  {
    name: 'quarantine-summarised-away',
    why: 'a checkpoint would hide from who begins there that the holder is quarantined',
    expect: 'checkpoint',
    at: entries(3),
    build: (w) => {
      const c = running(w, 'trusted');
      c.add('quarantined', { verdict });
      const state = c.entries.reduce<ChainState | null>(
        (before, { entry }) => stepChain(before, decodeEntry(entry), entryHash(entry)),
        null,
      );
      const hidden = state === null ? null : summaryOf({ ...state, quarantined: false });
      return c.add('checkpoint', { verdict: summaryDigest(hidden ?? new Uint8Array()) }).bytes();
    },
  },
  {
    name: 'members-quarantined-without-verdict',
    why: 'a quarantine for nothing',
    expect: 'members',
    at: entries(2),
    build: (w) => running(w, 'never').live('quarantined').bytes(),
  },
];
