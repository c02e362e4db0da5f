/** Proofs in which another host took the VM up because its holder was lost (SPEC 15.4, 15.5). */
import { generateKeyPairSync } from 'node:crypto';
import { base64 } from '../../lib/encoding/base64.ts';
import { sha256 } from '../../lib/encoding/hash.ts';
import type { ProofFault } from '../../lib/proof/fault.ts';
import type { ProofCase } from './proof-cases.ts';
import { ChainBuilder, Tenant, factsOf } from './proof-world.ts';
import type { World, WorldPolicy } from './proof-world.ts';
import { testKeyPair } from './test-authority.ts';

const entries = (index: number): ProofFault['at'] => ({ list: 'entries', index });
const spki = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
  format: 'der',
  type: 'spki',
});
const escrow = { key: base64(spki) };
const other = sha256(Buffer.from('other'));

/** One of each world: signing it again would make another one. */
const policies = new WeakMap<World, WorldPolicy>();

/** Born on alpha under a policy with escrow. */
function inEscrow(world: World): ChainBuilder {
  const c = new ChainBuilder(world);
  c.policy = policies.get(world) ?? world.signPolicy({ version: 4, escrow });
  policies.set(world, c.policy);
  return c;
}

/** A VM that runs on alpha. */
const running = (world: World): ChainBuilder => inEscrow(world).live('created', 'started');

/** Of a tenant that wants any host of the EU, on alpha, which is one. */
async function rented(world: World, forbids: boolean): Promise<ChainBuilder> {
  const c = inEscrow(world);
  c.holder = await world.enrol('alpha.test', { attributes: new Map([['region', 'eu']]) });
  const said = forbids ? { escrow: 'no' as const } : {};
  return c
    .add('created')
    .bound(new Tenant().policy('region == "eu"', 1, said))
    .add('started');
}

/** All of them. */
export const recoveryCases: readonly ProofCase[] = [
  {
    name: 'good-recovered',
    why: 'a host is lost while the VM runs there; another one takes it up by the word of the authority, and the VM goes on',
    expect: 'verified',
    build: (w) => running(w).recovered(w.beta).live('started').migrate(w.gamma).bytes(),
  },
  {
    name: 'good-recovered-twice',
    why: 'the next host is lost too, while the VM is off; that the vTPM is the last one is in the statement',
    expect: 'verified',
    build: (w) => running(w).recovered(w.beta).recovered(w.gamma, { state: other }).live('started').bytes(),
  },
  {
    name: 'good-recovered-ends-quarantine',
    why: 'the lost host was quarantined; the next holder is not',
    expect: 'verified',
    build: (w) => {
      const c = new ChainBuilder(w);
      c.policy = w.signPolicy({ version: 4, quarantine: { everySeconds: 300, leave: 'never' }, escrow });
      c.live('created', 'started').add('quarantined', { verdict: other });
      return c.recovered(w.beta).live('started').migrate(w.gamma).bytes();
    },
  },
  {
    name: 'good-recovered-from-checkpoint',
    why: 'a proof from a checkpoint on carries the statements that it still needs, and no others',
    expect: 'verified',
    build: (w) => {
      const c = running(w).recovered(w.beta);
      return c.checkpoint().recovered(w.gamma).live('started').from(3);
    },
  },
  {
    name: 'good-recovered-known-to-the-lost',
    why: 'a host that was lost, and is trusted again, finds its own last entry among the marks',
    expect: 'verified',
    build: (w) => running(w).recovered(w.beta).checkpoint().live('started').from(3),
    known: (w) => running(w).bytes(),
  },
  {
    name: 'good-recovered-in-history',
    why: 'a summary after a rescue names the last entry of the lost host and the rescue: both hosts may stop to follow there',
    expect: 'verified',
    build: (w) => running(w).recovered(w.beta).checkpoint().live('started').bytes(),
  },
  {
    name: 'recovered-fork-of-the-lost',
    why: 'a host that was said to be lost went on with the VM: its own last entry is not in the chain',
    expect: 'known-head',
    at: null,
    build: (w) => running(w).recovered(w.beta).checkpoint().live('started').from(3),
    known: (w) => running(w).live('suspended').bytes(),
  },
  {
    name: 'recovered-without-statement',
    why: 'a host takes a VM up on its own word, and leaves the statement out',
    expect: 'recovery',
    at: entries(2),
    build: (w) => {
      const c = running(w).recovered(w.beta);
      const told = c.proof().policies;
      return c.bytes({ policies: told.filter((text) => !text.includes('recovery+json')) });
    },
  },
  {
    name: 'recovered-own-statement',
    why: 'a host signs the statement itself',
    expect: 'recovery',
    at: entries(2),
    build: (w) => running(w).recovered(w.beta, {}, { keys: testKeyPair() }).bytes(),
  },
  {
    name: 'recovered-statement-for-another-host',
    why: 'a second host replays the statement that the authority signed for the first',
    expect: 'recovery',
    at: entries(2),
    build: (w) =>
      running(w)
        .recovered(w.gamma, { to: { name: w.beta.id.name, ak: w.beta.id.akName } })
        .bytes(),
  },
  {
    name: 'recovered-statement-about-another-loss',
    why: 'the authority stated that another host is lost',
    expect: 'recovery',
    at: entries(2),
    build: (w) =>
      running(w)
        .recovered(w.beta, { lost: { name: w.gamma.id.name, ak: w.gamma.id.akName } })
        .bytes(),
  },
  {
    name: 'recovered-statement-about-another-vm',
    why: 'one lost VM does not give a host another',
    expect: 'recovery',
    at: entries(2),
    build: (w) => running(w).recovered(w.beta, { vm: '00000000-0000-4000-8000-000000000001' }).bytes(),
  },
  {
    name: 'recovered-statement-about-another-birth',
    why: 'a statement about an earlier VM of the same UUID',
    expect: 'recovery',
    at: entries(2),
    build: (w) => running(w).recovered(w.beta, { birth: other }).bytes(),
  },
  {
    name: 'recovered-statement-about-another-epoch',
    why: 'a statement about an earlier stay of the VM is used again',
    expect: 'recovery',
    at: entries(6),
    build: (w) => running(w).migrate(w.beta).migrate(w.alpha).recovered(w.beta, { epoch: 0 }).bytes(),
  },
  {
    name: 'recovered-statement-about-another-entry',
    why: 'the chain was cut off, or went on, after the statement was made',
    expect: 'recovery',
    at: entries(2),
    build: (w) => running(w).recovered(w.beta, { head: other }).bytes(),
  },
  {
    name: 'recovered-without-escrow',
    why: 'the policy in force knows no escrow, so that there was nothing to open rightfully',
    expect: 'recovery',
    at: entries(2),
    build: (w) => new ChainBuilder(w).live('created', 'started').recovered(w.beta).bytes(),
  },
  {
    name: 'recovered-against-the-tenant',
    why: 'the tenant of the VM has forbidden escrow',
    expect: 'recovery',
    at: entries(3),
    build: async (w) => {
      const c = await rented(w, true);
      return c.recovered(await w.enrol('beta.test', { attributes: new Map([['region', 'eu']]) })).bytes();
    },
  },
  {
    name: 'recovered-where-the-tenant-does-not-want-it',
    why: 'a rescue is no way around what the tenant asks of hosts',
    expect: 'tenant',
    at: entries(3),
    build: async (w) => (await rented(w, false)).recovered(w.beta).bytes(),
  },
  {
    name: 'holder-recovered-by-the-lost',
    why: 'the host that is said to be lost opens another epoch for itself',
    expect: 'holder',
    at: entries(2),
    build: (w) => running(w).recovered(w.alpha).bytes(),
  },
  {
    name: 'holder-recovered-from-another',
    why: 'it names a host that did not hold the VM',
    expect: 'holder',
    at: entries(2),
    build: (w) =>
      running(w)
        .recovered(w.beta, {}, { entry: { peer: w.gamma.id } })
        .bytes(),
  },
  {
    name: 'epoch-recovered-in-the-old',
    why: 'two holders in one epoch',
    expect: 'epoch',
    at: entries(2),
    build: (w) =>
      running(w)
        .recovered(w.beta, {}, { entry: { epoch: 0 } })
        .bytes(),
  },
  {
    name: 'life-cycle-recovered-while-departing',
    why: 'the VM may have arrived where it was to',
    expect: 'life-cycle',
    at: entries(3),
    build: (w) => running(w).departing(w.beta).recovered(w.gamma).bytes(),
  },
  {
    name: 'life-cycle-recovered-runs',
    why: 'nothing runs at the new host before it says so',
    expect: 'life-cycle',
    at: entries(3),
    build: (w) => running(w).recovered(w.beta).live('suspended').bytes(),
  },
  {
    name: 'facts-recovered',
    why: 'another definition of the VM comes in with a rescue, without a start that says so',
    expect: 'facts',
    at: entries(2),
    build: (w) =>
      running(w)
        .recovered(w.beta, {}, { entry: { facts: factsOf('another machine') } })
        .bytes(),
  },
  {
    name: 'members-recovered-without-verdict',
    why: 'a rescue that names no statement',
    expect: 'members',
    at: entries(2),
    build: (w) =>
      running(w)
        .recovered(w.beta, {}, { entry: { verdict: null } })
        .bytes(),
  },
  {
    name: 'members-recovered-without-vtpm',
    why: 'where there is no vTPM there is nothing to take up',
    expect: 'members',
    at: entries(2),
    build: (w) => {
      const c = inEscrow(w);
      c.vtpm = null;
      return c.live('created').live('started').recovered(w.beta).bytes();
    },
  },
  {
    name: 'unused-statement',
    why: 'a statement that no entry names is carried along, to look as if it were good',
    expect: 'unused',
    at: null,
    build: (w) => {
      const c = running(w);
      const carried = running(w).recovered(w.beta).proof().policies;
      return c.bytes({ policies: carried });
    },
  },
];
