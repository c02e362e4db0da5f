/** Proofs whose entries are genuine, each signed by an enrolled host in an approved state, and do not make one chain. */
import { sha256 } from '../../lib/encoding/hash.ts';
import type { SignedEntry } from '../../lib/proof/entry.ts';
import type { ProofFault } from '../../lib/proof/fault.ts';
import type { ProofCase } from './proof-cases.ts';
import { ChainBuilder, factsOf } from './proof-world.ts';
import type { World } from './proof-world.ts';

const chain = (world: World): ChainBuilder => new ChainBuilder(world).live('created', 'started');
const entries = (index: number): ProofFault['at'] => ({ list: 'entries', index });
const departures = (index: number): ProofFault['at'] => ({ list: 'departures', index });
const other = sha256(Buffer.from('other'));
const otherVm = 'ffffffff-0f1d-4c64-9d0a-3f5b8c1e2a77';

const linkCases: readonly ProofCase[] = [
  {
    name: 'vm-spliced',
    why: 'an entry of another VM',
    expect: 'vm',
    at: entries(2),
    build: (w) => chain(w).add('suspended', { vm: otherVm }).bytes(),
  },
  {
    name: 'sequence-gap',
    why: 'a number left out',
    expect: 'sequence',
    at: entries(2),
    build: (w) => chain(w).add('suspended', { sequence: 3 }).bytes(),
  },
  {
    name: 'sequence-entry-dropped',
    why: 'an entry taken out of the middle: a pause that should not be seen',
    expect: 'sequence',
    at: entries(2),
    build: (w) => {
      const c = chain(w).live('suspended', 'resumed', 'suspended');
      return c.bytes({ entries: c.entries.filter((_, index) => index !== 2) });
    },
  },
  {
    name: 'sequence-starts-late',
    why: 'a chain without its birth',
    expect: 'sequence',
    at: entries(0),
    build: (w) => {
      const c = chain(w);
      return c.bytes({ entries: c.entries.slice(1) });
    },
  },
  {
    name: 'sequence-swapped',
    why: "two entries in each other's place",
    expect: 'sequence',
    at: entries(2),
    build: (w) => {
      const c = chain(w).live('suspended', 'resumed');
      const [a, b, d, e] = c.entries as [SignedEntry, SignedEntry, SignedEntry, SignedEntry];
      return c.bytes({ entries: [a, b, e, d] });
    },
  },
  {
    name: 'previous-other',
    why: 'an entry that follows an entry which is not here',
    expect: 'previous',
    at: entries(2),
    build: (w) => chain(w).add('suspended', { previous: other }).bytes(),
  },
  {
    name: 'previous-fork',
    why: 'the tail of one fork on the stem of another: the holder signed two entries 2',
    expect: 'previous',
    at: entries(3),
    build: (w) => {
      const c = chain(w);
      const stem = { head: c.head, sequence: c.sequence };
      c.live('stopped');
      const [fork] = c.entries.splice(2);
      Object.assign(c, stem);
      c.live('suspended', 'resumed');
      return c.bytes({ entries: [...c.entries.slice(0, 2), fork as SignedEntry, ...c.entries.slice(3)] });
    },
  },
  {
    name: 'previous-of-birth',
    why: 'a birth that follows something',
    expect: 'previous',
    at: entries(0),
    build: (w) => new ChainBuilder(w).add('created', { previous: other }).bytes(),
  },
];

const lifeCases: readonly ProofCase[] = [
  {
    name: 'life-cycle-born-running',
    why: 'a VM that appears from nowhere',
    expect: 'life-cycle',
    at: entries(0),
    build: (w) => new ChainBuilder(w).add('started').bytes(),
  },
  {
    name: 'life-cycle-resumed-twice',
    why: 'a VM cannot be resumed that runs',
    expect: 'life-cycle',
    at: entries(2),
    build: (w) => chain(w).live('resumed').bytes(),
  },
  {
    name: 'life-cycle-born-again',
    why: 'a second birth within a chain',
    expect: 'life-cycle',
    at: entries(2),
    build: (w) => chain(w).live('created').bytes(),
  },
  {
    name: 'life-cycle-after-end',
    why: 'a destroyed VM that is started',
    expect: 'life-cycle',
    at: entries(4),
    build: (w) => chain(w).live('stopped', 'destroyed', 'started').bytes(),
  },
  {
    name: 'life-cycle-arrived-uninvited',
    why: 'an enrolled host that takes a VM over without the holder: a copied disk, a stolen proof',
    expect: 'life-cycle',
    at: entries(2),
    build: (w) => chain(w).arrived(w.beta).bytes(),
  },
  {
    name: 'life-cycle-used-while-departing',
    why: 'the source uses the VM on after it committed to hand over',
    expect: 'life-cycle',
    at: entries(3),
    build: (w) => chain(w).departing(w.beta).live('suspended').bytes(),
  },
  {
    name: 'life-cycle-departed-in-chain',
    why: 'departed stands beside the chain, else two hosts would sign one place in it',
    expect: 'life-cycle',
    at: entries(4),
    build: (w) => {
      const c = chain(w).departing(w.beta).arrived(w.beta).departed(w.alpha);
      const [departed] = c.departures;
      return c.append(departed as SignedEntry).bytes({ departures: [] });
    },
  },
  {
    name: 'life-cycle-wrong-resume',
    why: 'a VM that departed paused arrives paused: a resumption must be seen in the chain',
    expect: 'life-cycle',
    at: entries(5),
    build: (w) => chain(w).live('suspended').departing(w.beta).arrived(w.beta).live('suspended').bytes(),
  },
  {
    name: 'members-no-verdict',
    why: 'a departure without an appraisal of the destination',
    expect: 'members',
    at: entries(2),
    build: (w) => chain(w).departing(w.beta, { verdict: null }).bytes(),
  },
  {
    name: 'members-stray-session',
    why: 'a session where there was none',
    expect: 'members',
    at: entries(2),
    build: (w) => chain(w).add('suspended', { session: other }).bytes(),
  },
  {
    name: 'members-no-vtpm',
    why: 'a VM that moves without saying which vTPM moves with it',
    expect: 'members',
    at: entries(2),
    build: (w) => {
      const c = new ChainBuilder(w);
      c.vtpm = null;
      return c.live('created', 'started').departing(w.beta).bytes();
    },
  },
];

const holderCases: readonly ProofCase[] = [
  {
    name: 'epoch-kept',
    why: 'an arrival that does not open an epoch: two hosts would hold one',
    expect: 'epoch',
    at: entries(3),
    build: (w) => chain(w).departing(w.beta).arrived(w.beta, { epoch: 0 }).bytes(),
  },
  {
    name: 'epoch-leapt',
    why: 'an epoch opened without a hand-over',
    expect: 'epoch',
    at: entries(2),
    build: (w) => chain(w).add('suspended', { epoch: 1 }).bytes(),
  },
  {
    name: 'epoch-of-birth',
    why: 'a VM born in a later epoch than 0',
    expect: 'epoch',
    at: entries(0),
    build: (w) => new ChainBuilder(w).add('created', { epoch: 7 }).bytes(),
  },
  {
    name: 'holder-other-host',
    why: 'an enrolled host in an approved state speaks for a VM that it does not hold',
    expect: 'holder',
    at: entries(2),
    build: (w) => {
      const c = chain(w);
      c.holder = w.beta;
      return c.live('suspended').bytes();
    },
  },
  {
    name: 'holder-bait-and-switch',
    why: 'the holder attested beta and gamma arrives',
    expect: 'holder',
    at: entries(3),
    build: (w) => chain(w).departing(w.beta).arrived(w.gamma).bytes(),
  },
  {
    name: 'holder-returns',
    why: 'the old holder goes on after its successor arrived: a copy that was not destroyed',
    expect: 'holder',
    at: entries(4),
    build: (w) => {
      const c = chain(w).departing(w.beta).arrived(w.beta);
      c.holder = w.alpha;
      return c.live('suspended').bytes();
    },
  },
  {
    name: 'holder-to-itself',
    why: 'a migration to the same host would open an epoch without a hand-over',
    expect: 'holder',
    at: entries(2),
    build: (w) => chain(w).departing(w.alpha).bytes(),
  },
  {
    name: 'holder-arrived-from-other',
    why: 'the arrival names another source than the one that departed',
    expect: 'holder',
    at: entries(3),
    build: (w) => chain(w).departing(w.beta).arrived(w.beta, { peer: w.gamma.id }).bytes(),
  },
  {
    name: 'holder-same-name-new-ak',
    why: 'a machine enrolled again under an old name is not the old holder',
    expect: 'holder',
    at: entries(2),
    build: async (w) => {
      const c = chain(w);
      c.holder = await w.enrol('alpha.test');
      return c.live('suspended').bytes();
    },
  },
  {
    name: 'session-arrived',
    why: 'an arrival replayed from another session',
    expect: 'session',
    at: entries(3),
    build: (w) => chain(w).departing(w.beta).arrived(w.beta, { session: other }).bytes(),
  },
  {
    name: 'session-aborted',
    why: 'an abort of another session',
    expect: 'session',
    at: entries(3),
    build: (w) => chain(w).departing(w.beta).add('aborted', { session: other }).bytes(),
  },
  {
    name: 'session-resolved',
    why: 'an administrator resolves another session than the one that is open',
    expect: 'session',
    at: entries(3),
    build: (w) => chain(w).departing(w.beta).add('resolved', { session: other, peer: w.beta.id }).bytes(),
  },
  {
    name: 'holder-resolved-by-target',
    why: 'a target that resolves in its own favour what it never received',
    expect: 'holder',
    at: entries(3),
    build: (w) => {
      const c = chain(w).departing(w.beta);
      c.holder = w.beta;
      return c.add('resolved', { session: c.session, peer: w.beta.id }).bytes();
    },
  },
  {
    name: 'holder-resolved-hides-target',
    why: 'an administrator resolves, and the proof should not name the host that may have the VM',
    expect: 'holder',
    at: entries(3),
    build: (w) => {
      const c = chain(w).departing(w.beta);
      return c.add('resolved', { session: c.session, peer: w.gamma.id }).bytes();
    },
  },
  {
    name: 'life-cycle-resolved-after-arrival',
    why: 'the old holder takes the VM back after it has arrived elsewhere',
    expect: 'life-cycle',
    at: entries(4),
    build: (w) => {
      const c = chain(w).migrate(w.beta);
      const own = { epoch: 0, host: w.alpha.id, session: c.session, peer: w.beta.id };
      return c.append(c.sign(c.draft('resolved', own), w.alpha)).bytes();
    },
  },
  {
    name: 'life-cycle-adopted-while-running',
    why: 'a vTPM state is exchanged under a VM that runs',
    expect: 'life-cycle',
    at: entries(2),
    build: (w) => chain(w).add('adopted', { verdict: other }).bytes(),
  },
  {
    name: 'members-adopted-without-digest',
    why: 'an adoption that does not say of what',
    expect: 'members',
    at: entries(3),
    build: (w) => chain(w).live('stopped', 'adopted').bytes(),
  },
  {
    name: 'holder-adopted-by-other-host',
    why: 'a host that does not hold the VM takes up a vTPM state',
    expect: 'holder',
    at: entries(3),
    build: (w) => {
      const c = chain(w).live('stopped');
      return c.append(c.sign(c.draft('adopted', { host: w.beta.id, verdict: other }), w.beta)).bytes();
    },
  },
  {
    name: 'members-resolved-without-peer',
    why: 'a resolution that names nobody',
    expect: 'members',
    at: entries(3),
    build: (w) => {
      const c = chain(w).departing(w.beta);
      return c.add('resolved', { session: c.session }).bytes();
    },
  },
  {
    name: 'facts-arrived',
    why: 'the VM that arrived is defined otherwise than the one that departed: another disk, a pass-through device',
    expect: 'facts',
    at: entries(3),
    build: (w) =>
      chain(w)
        .departing(w.beta)
        .arrived(w.beta, { facts: factsOf('another disk') })
        .bytes(),
  },
  {
    name: 'vtpm-exchanged',
    why: 'another vTPM under the same VM',
    expect: 'vtpm',
    at: entries(2),
    build: (w) =>
      chain(w)
        .add('suspended', { vtpm: Uint8Array.from([0, 11, ...other]) })
        .bytes(),
  },
  {
    name: 'vtpm-forgotten',
    why: 'a vTPM that is no longer named could be exchanged unseen',
    expect: 'vtpm',
    at: entries(2),
    build: (w) => chain(w).add('suspended', { vtpm: null }).bytes(),
  },
];

function underPolicy(world: World, change: Parameters<World['signPolicy']>[0]): Uint8Array {
  const c = chain(world);
  c.policy = world.signPolicy(change);
  return c.live('suspended').bytes();
}

const left = (world: World): ChainBuilder => chain(world).departing(world.beta).arrived(world.beta);

const fileCases: readonly ProofCase[] = [
  {
    name: 'policy-order-rollback',
    why: 'an old version, whose states were withdrawn since',
    expect: 'policy-order',
    at: entries(2),
    build: (w) => underPolicy(w, { version: 2 }),
  },
  {
    name: 'policy-order-other-id',
    why: 'a policy of the same authority for other purposes, perhaps a weaker one',
    expect: 'policy-order',
    at: entries(2),
    build: (w) => underPolicy(w, { id: 'playground', version: 9 }),
  },
  {
    name: 'policy-order-two-contents',
    why: 'two policies of one version',
    expect: 'policy-order',
    at: entries(2),
    build: (w) =>
      underPolicy(w, {
        pcrs: [0, 4, 7],
        states: w.policy.policy.states.slice(0, 1).map(({ name, pcrs }) => ({ name, pcrs })),
      }),
  },
  {
    name: 'departure-without-arrival',
    why: 'a destruction stated by a host that never handed over',
    expect: 'departure',
    at: departures(0),
    build: (w) => {
      const c = chain(w);
      return c.departed(w.alpha, { epoch: 0, peer: w.beta.id, session: other }).bytes();
    },
  },
  {
    name: 'departure-twice',
    why: 'two statements about one epoch',
    expect: 'departure',
    at: departures(1),
    build: (w) =>
      chain(w)
        .departing(w.beta)
        .arrived(w.beta)
        .departed(w.alpha)
        .departed(w.alpha, { time: 1_790_000_000_000 })
        .bytes(),
  },
  {
    name: 'departure-out-of-order',
    why: 'one order of departures alone, so that one proof has one file',
    expect: 'departure',
    at: departures(1),
    build: (w) => {
      const c = chain(w).migrate(w.beta).migrate(w.alpha);
      return c.bytes({ departures: [...c.departures].reverse() });
    },
  },
  {
    name: 'departure-by-third-host',
    why: 'a host states the destruction of a copy that another has',
    expect: 'holder',
    at: departures(0),
    build: (w) => chain(w).departing(w.beta).arrived(w.beta).departed(w.gamma).bytes(),
  },
  {
    name: 'departure-of-other-session',
    why: 'a statement about an earlier, aborted session',
    expect: 'session',
    at: departures(0),
    build: (w) => chain(w).departing(w.beta).arrived(w.beta).departed(w.alpha, { session: other }).bytes(),
  },
  {
    name: 'departure-of-other-arrival',
    why: 'a statement that answers another arrival',
    expect: 'previous',
    at: departures(0),
    build: (w) => chain(w).departing(w.beta).arrived(w.beta).departed(w.alpha, { previous: other }).bytes(),
  },
  {
    name: 'departure-of-other-vm',
    why: 'a statement about another VM',
    expect: 'vm',
    at: departures(0),
    build: (w) => left(w).departed(w.alpha, { vm: otherVm }).bytes(),
  },
  {
    name: 'departure-of-other-sequence',
    why: 'a statement that claims another place',
    expect: 'sequence',
    at: departures(0),
    build: (w) => left(w).departed(w.alpha, { sequence: 9 }).bytes(),
  },
  {
    name: 'departure-to-other-host',
    why: 'a statement that names another new holder',
    expect: 'departure',
    at: departures(0),
    build: (w) => left(w).departed(w.alpha, { peer: w.gamma.id }).bytes(),
  },
  {
    name: 'departure-of-other-facts',
    why: 'a statement about a VM defined otherwise',
    expect: 'facts',
    at: departures(0),
    build: (w) =>
      left(w)
        .departed(w.alpha, { facts: factsOf('another disk') })
        .bytes(),
  },
  {
    name: 'departure-of-other-vtpm',
    why: 'another vTPM was destroyed than the one that moved',
    expect: 'vtpm',
    at: departures(0),
    build: (w) =>
      left(w)
        .departed(w.alpha, { vtpm: Uint8Array.from([0, 11, ...other]) })
        .bytes(),
  },
  {
    name: 'departure-under-old-policy',
    why: 'the old holder went back to an earlier policy before it stated',
    expect: 'policy-order',
    at: departures(0),
    build: (w) => {
      const c = left(w);
      c.policy = w.signPolicy({ version: 2 });
      return c.departed(w.alpha).bytes();
    },
  },
  {
    name: 'departure-of-other-kind',
    why: 'an entry that belongs into the chain, among the departures',
    expect: 'departure',
    at: departures(0),
    build: (w) => {
      const c = chain(w).departing(w.beta).arrived(w.beta);
      c.departures.push(c.sign(c.draft('suspended', { epoch: 0 }), w.beta));
      return c.bytes();
    },
  },
  {
    name: 'unused-certificate',
    why: 'what nobody verified does not travel',
    expect: 'unused',
    at: null,
    build: (w) => chain(w).carry(w.gamma).bytes(),
  },
  {
    name: 'unused-policy',
    why: 'a policy that no entry is under',
    expect: 'unused',
    at: null,
    build: (w) => chain(w).bytes({ policies: [w.policy.text, w.signPolicy({ version: 8 }).text] }),
  },
  {
    name: 'unused-twice',
    why: 'two files for one proof',
    expect: 'unused',
    at: null,
    build: (w) => {
      const { certificates } = chain(w).proof();
      return chain(w).bytes({ certificates: [...certificates, w.alpha.certificate] });
    },
  },
  {
    name: 'known-head-rolled-back',
    why: 'an old proof to a host that has seen a later one: rollback',
    expect: 'known-head',
    at: null,
    build: (w) => chain(w).bytes(),
    known: (w) => chain(w).live('suspended', 'resumed').bytes(),
  },
  {
    name: 'known-head-forked',
    why: 'the holder signed another entry in the place of one that this host has seen',
    expect: 'known-head',
    at: entries(2),
    build: (w) => chain(w).live('suspended', 'resumed').bytes(),
    known: (w) => chain(w).live('stopped').bytes(),
  },
];

/** All of them. */
export const badChainCases: readonly ProofCase[] = [...linkCases, ...lifeCases, ...holderCases, ...fileCases];
