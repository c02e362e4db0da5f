import { strict as assert } from 'node:assert';
import fc from 'fast-check';
import { encodeProof } from '../../lib/proof/proof.ts';
import { verifyProof } from '../../lib/proof/verify.ts';
import type { ProofFault } from '../../lib/proof/fault.ts';
import type { VerifiedProof } from '../../lib/proof/verify.ts';
import { ChainBuilder, makeWorld } from '../support/proof-world.ts';
import type { World } from '../support/proof-world.ts';

describe('properties of proofs', function () {
  this.timeout(120_000);
  let world: World;
  let chain: ChainBuilder;
  let bytes: Uint8Array;
  let genuine: VerifiedProof;
  const verify = (changed: Uint8Array): VerifiedProof | ProofFault =>
    verifyProof(changed, { root: world.authority.root });

  before(async () => {
    world = await makeWorld();
    chain = new ChainBuilder(world)
      .live('created', 'started')
      .migrate(world.beta)
      .live('suspended', 'resumed');
    bytes = chain.bytes();
    const result = verify(bytes);
    assert.ok(result.outcome === 'verified');
    genuine = result;
  });

  it('any one bit changed is refused, or changes nothing that was verified', () => {
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(7), (at, bit) => {
        const changed = Uint8Array.from(bytes);
        changed[at]! ^= 1 << bit;
        const result = verify(changed);
        if (result.outcome === 'verified') assert.deepEqual(result, genuine);
      }),
      { numRuns: 1500 },
    );
  });

  it('cut short at any byte, it is refused as an encoding', () => {
    for (let length = 0; length < bytes.length; length += 1) {
      const result = verify(bytes.subarray(0, length));
      assert.ok(result.outcome === 'fault' && result.check === 'encoding', `at ${length}`);
    }
  });

  it('with entries left out, repeated or in another order, it is refused, and one cut short says no more than it has', () => {
    const { entries } = chain;
    const order = fc.array(fc.nat(entries.length - 1), { minLength: 1, maxLength: entries.length + 2 });
    const shuffled = fc.shuffledSubarray(
      entries.map((_, index) => index),
      { minLength: 1 },
    );
    fc.assert(
      fc.property(fc.oneof(order, shuffled), (indices) => {
        const result = verify(encodeProof(chain.proof({ entries: indices.map((index) => entries[index]!) })));
        const cut = indices.every((index, at) => index === at);
        if (!cut || indices.length === entries.length)
          assert.equal(result.outcome, cut ? 'verified' : 'fault', JSON.stringify(indices));
        else if (result.outcome === 'verified')
          assert.deepEqual(result.entries, genuine.entries.slice(0, indices.length), JSON.stringify(indices));
      }),
      {
        numRuns: 300,
        examples: entries.map((_, last): [number[]] => [[...entries.keys()].slice(0, last + 1)]),
      },
    );
  });

  it('with one part of an entry taken from another entry, it is refused', () => {
    const { entries } = chain;
    const index = fc.nat(entries.length - 1);
    const part = fc.constantFrom('entry' as const, 'attest' as const, 'signature' as const);
    fc.assert(
      fc.property(index, index, part, (to, from, name) => {
        fc.pre(to !== from);
        const mixed = entries.map((signed, at) =>
          at === to ? { ...signed, [name]: entries[from]![name] } : signed,
        );
        assert.equal(verify(encodeProof(chain.proof({ entries: mixed }))).outcome, 'fault');
      }),
      { numRuns: 200 },
    );
  });

  it('never throws, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
        assert.equal(verify(noise).outcome, 'fault');
      }),
      { numRuns: 500 },
    );
  });
});
