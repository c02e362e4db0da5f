import { strict as assert } from 'node:assert';
import { sha256 } from '../../../lib/encoding/hash.ts';
import { compareProofs } from '../../../lib/proof/compare.ts';
import { decodeEntry } from '../../../lib/proof/entry.ts';
import { holdingsOf } from '../../../lib/proof/holdings.ts';
import { verifyNext, verifyProof } from '../../../lib/proof/verify.ts';
import type { VerifiedProof } from '../../../lib/proof/verify.ts';
import type { ChainState } from '../../../lib/proof/chain.ts';
import { ChainBuilder, makeWorld } from '../../support/proof-world.ts';
import type { World } from '../../support/proof-world.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('verified proofs', () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
  });

  const verified = (c: ChainBuilder, known?: ChainState): VerifiedProof => {
    const trust = { root: world.authority.root, ...(known === undefined ? {} : { known }) };
    const result = verifyProof(c.bytes(), trust);
    assert.equal(result.outcome, 'verified', JSON.stringify(result));
    return result;
  };
  const chain = (): ChainBuilder => new ChainBuilder(world).live('created', 'started');

  it('tell who had the VM, from when to when, in which state, and whose copy is destroyed', () => {
    const c = chain().migrate(world.beta).departing(world.gamma).arrived(world.gamma);
    const holdings = holdingsOf(verified(c));
    const told = holdings.map(({ epoch, host, destroyed, until, pcrStates }) => [
      epoch,
      host.name,
      destroyed !== null,
      until === null,
      ...pcrStates,
    ]);
    assert.deepEqual(told, [
      [0, 'alpha.test', true, false, 'base'],
      [1, 'beta.test', false, false, 'base'],
      [2, 'gamma.test', false, true, 'base'],
    ]);
  });

  it('come out alike whether verified whole or entry by entry', () => {
    const c = chain().migrate(world.beta).live('suspended');
    const { certificates, policies, entries, departures } = c.proof();
    const hosts = new Set(
      [...entries, ...departures].map(({ entry }) => hex(decodeEntry(entry).host.certificate)),
    );
    let head: ChainState | null = null;
    for (const signed of [...entries, ...departures]) {
      const signer = hex(decodeEntry(signed.entry).host.certificate);
      const needed = certificates.filter(
        (der) => hex(sha256(der)) === signer || !hosts.has(hex(sha256(der))),
      );
      const credentials = { certificates: needed, policies };
      const step = verifyNext(head, { signed, credentials, root: world.authority.root });
      assert.equal(step.outcome, 'verified', JSON.stringify(step));
      head = step.head;
    }
    assert.deepEqual(head, verified(c).head);
  });

  it('do not take an entry with a certificate that it does not need', () => {
    const c = chain();
    const { certificates, policies, entries } = new ChainBuilder(world)
      .live('created')
      .migrate(world.beta)
      .proof();
    const [signed] = entries;
    assert.ok(signed !== undefined);
    const step = verifyNext(null, {
      signed,
      credentials: { certificates, policies },
      root: world.authority.root,
    });
    assert.equal(step.outcome === 'fault' && step.check, 'unused');
    assert.equal(verified(c).outcome, 'verified');
  });

  it('continue from a head that is known', () => {
    const c = chain();
    const known = verified(c).head;
    const longer = verified(c.live('suspended', 'resumed'), known);
    assert.deepEqual(longer.head, verified(c).head);
    assert.deepEqual(
      longer.entries.map(({ pcrState }) => pcrState),
      [null, null, 'base', 'base'],
    );
  });

  it('do not take an entry on trust that lies beyond the known head', () => {
    const c = chain();
    const known = verified(c).head;
    c.add('suspended', {}, { signer: world.beta });
    const result = verifyProof(c.bytes(), { root: world.authority.root, known });
    assert.equal(result.outcome === 'fault' && result.check, 'quote-signature');
  });

  it('name the fault of a single entry', () => {
    const c = chain();
    const { head } = verified(c);
    const { certificates, policies } = c.proof();
    const signed = c.sign(c.draft('resumed'), world.alpha);
    const step = verifyNext(head, {
      signed,
      credentials: { certificates, policies },
      root: world.authority.root,
    });
    assert.deepEqual(step, {
      outcome: 'fault',
      at: null,
      check: 'life-cycle',
      message: 'resumed while the VM is running',
    });
  });

  it('convict a holder that signed two successors of one entry', () => {
    const a = chain();
    const b = Object.assign(new ChainBuilder(world), { head: a.head, sequence: a.sequence, time: a.time });
    b.entries.push(...a.entries);
    b.carry(world.alpha);
    assert.equal(compareProofs(verified(a), verified(b)).relation, 'equal');
    a.live('suspended');
    assert.equal(compareProofs(verified(a), verified(b)).relation, 'first-is-longer');
    assert.equal(compareProofs(verified(b), verified(a)).relation, 'second-is-longer');
    b.departing(world.beta);
    const relation = compareProofs(verified(a), verified(b));
    assert.ok(relation.relation === 'forked');
    assert.equal(relation.sequence, 2);
    assert.deepEqual([relation.first.entry.kind, relation.second.entry.kind], ['suspended', 'departing']);
    const reborn = new ChainBuilder(world);
    reborn.time += 5;
    assert.equal(compareProofs(verified(a), verified(reborn.live('created'))).relation, 'unrelated');
  });
});
