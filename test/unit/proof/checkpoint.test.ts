/** Checkpoints: what they cost, whom they make one believe, and that the history still shows who lied. */
import { strict as assert } from 'node:assert';
import fc from 'fast-check';
import { encode } from '../../../lib/encoding/cbor.ts';
import { limits } from '../../../lib/limits.ts';
import { stepChain } from '../../../lib/proof/chain.ts';
import type { ChainState } from '../../../lib/proof/chain.ts';
import { readSummary, summaryOf } from '../../../lib/proof/checkpoint.ts';
import { compareProofs } from '../../../lib/proof/compare.ts';
import { decodeEntry, entryHash } from '../../../lib/proof/entry.ts';
import { holdingsOf } from '../../../lib/proof/holdings.ts';
import { joinProofs } from '../../../lib/proof/join.ts';
import { decodeProof, encodeProof } from '../../../lib/proof/proof.ts';
import { verifyProof } from '../../../lib/proof/verify.ts';
import type { ProofTrust, VerifiedProof } from '../../../lib/proof/verify.ts';
import { ChainBuilder, makeWorld } from '../../support/proof-world.ts';
import type { World } from '../../support/proof-world.ts';

describe('checkpoints (SPEC 4.1)', () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
  });

  const trust = (more: Partial<ProofTrust> = {}): ProofTrust => ({ root: world.authority.root, ...more });
  const verify = (bytes: Uint8Array, more: Partial<ProofTrust> = { checkpoints: 'any' }): VerifiedProof => {
    const judged = verifyProof(bytes, trust(more));
    assert.equal(judged.outcome, 'verified', JSON.stringify(judged));
    return judged;
  };
  const fault = (bytes: Uint8Array, more: Partial<ProofTrust>): string => {
    const judged = verifyProof(bytes, trust(more));
    return judged.outcome === 'fault' ? `${judged.check}: ${judged.message}` : 'verified';
  };
  /** alpha, then beta with a checkpoint (entry 4), then departing to gamma. */
  const offered = (): ChainBuilder =>
    new ChainBuilder(world).live('created', 'started').migrate(world.beta).checkpoint().live('suspended');

  it('lead to the same end as the whole chain, and say where they began', () => {
    const chain = offered().migrate(world.gamma);
    const [whole, short] = [verify(chain.bytes()), verify(chain.from(4))];
    assert.equal(whole.checkpoint, null);
    assert.equal(short.checkpoint?.entry.host.name, 'beta.test');
    assert.deepEqual({ ...short.head, handovers: whole.head.handovers }, whole.head);
    assert.equal(short.entries.length, whole.entries.length - 4);
    assert.deepEqual(
      holdingsOf(short).map(({ epoch, host }) => [epoch, host.name]),
      [
        [1, 'beta.test'],
        [2, 'gamma.test'],
      ],
    );
  });

  it('are believed by nobody who did not say so, nor for the host that signed them', () => {
    const bytes = offered().departing(world.gamma).from(4);
    assert.match(fault(bytes, {}), /^checkpoint: it begins with a checkpoint/);
    assert.match(
      fault(bytes, { checkpoints: { notOf: world.beta.id } }),
      /^checkpoint: beta\.test offers the VM/,
    );
    assert.equal(fault(bytes, { checkpoints: { notOf: world.alpha.id } }), 'verified');
  });

  it('let a host go on from what it knows: in the tail, in the marks, or not at all', () => {
    const chain = offered().migrate(world.gamma);
    const at = (count: number): ChainState =>
      chain.entries
        .slice(0, count)
        .reduce<ChainState | null>(
          (state, { entry }) => stepChain(state, decodeEntry(entry), entryHash(entry)),
          null,
        )!;
    const known = (count: number): string => fault(chain.from(4), { checkpoints: 'any', known: at(count) });
    assert.equal(known(3), 'verified', 'departing is a mark');
    assert.equal(known(4), 'verified', 'the last entry before the checkpoint');
    assert.equal(known(7), 'verified', 'an entry of the tail');
    assert.match(known(2), /^known-head/, 'started is no mark');
    const forked = { ...at(7), head: new Uint8Array(32) };
    assert.match(fault(chain.from(4), { checkpoints: 'any', known: forked }), /^known-head/);
  });

  it('believe the signer about a host that has been away for longer than the marks reach', () => {
    const chain = new ChainBuilder(world).live('created', 'started');
    const old = verify(chain.bytes()).head;
    const passes = limits.summaryMarksMax / 2;
    for (let n = 0; n < passes; n += 1) chain.migrate(n % 2 === 0 ? world.beta : world.alpha);
    const first = chain.sequence;
    const bytes = chain.checkpoint().from(first);
    assert.equal(fault(bytes, { checkpoints: 'any', known: old }), 'verified');
    const { marks } = readSummary(chain.summaries.get(first)!);
    assert.equal(marks.length, limits.summaryMarksMax);
    const between = { ...old, sequence: marks[0]!.sequence };
    assert.match(fault(bytes, { checkpoints: 'any', known: between }), /^known-head/);
    const reborn = { ...old, birth: new Uint8Array(32) };
    assert.match(fault(bytes, { checkpoints: 'any', known: reborn }), /^known-head: .*another birth/);
  });

  it('cost the same however long the life before them was', () => {
    const sizeAfter = (migrations: number): number => {
      const chain = new ChainBuilder(world).live('created', 'started');
      for (let n = 0; n < migrations; n += 1) chain.migrate(n % 2 === 0 ? world.beta : world.alpha);
      const first = chain.sequence;
      return chain.checkpoint().departing(world.gamma).from(first).length;
    };
    const [some, many] = [sizeAfter(limits.summaryMarksMax), sizeAfter(3 * limits.summaryMarksMax)];
    assert.ok(Math.abs(many - some) < 200, `${some} bytes and ${many} bytes`);
    assert.ok(many < 2 * limits.summaryBytesMax);
  });

  it('have summaries that are read as they were written, and refuse anything else', () => {
    const state = verify(offered().bytes()).head;
    const summary = summaryOf(state)!;
    assert.deepEqual({ ...readSummary(summary), handovers: state.handovers }, state);
    for (const bad of [
      summary.subarray(1),
      Uint8Array.of(...summary, 0),
      encode([2]),
      new Uint8Array(40_000),
    ])
      assert.throws(() => readSummary(bad));
  });

  it('with any one bit changed, are refused or change nothing that was verified', () => {
    const bytes = offered().departing(world.gamma).from(4);
    const genuine = verify(bytes);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(7), (at, bit) => {
        const changed = Uint8Array.from(bytes);
        changed[at]! ^= 1 << bit;
        const judged = verifyProof(changed, trust({ checkpoints: 'any' }));
        if (judged.outcome === 'verified') assert.deepEqual(judged, genuine);
      }),
      { numRuns: 800 },
    );
  });

  it('are put together with the history of earlier hosts, which shows who lied', () => {
    const chain = offered();
    const early = decodeProof(chain.bytes());
    chain.migrate(world.gamma).live('resumed');
    const late = decodeProof(chain.from(4));
    const joined = encodeProof(joinProofs([late, early]));
    assert.deepEqual(Buffer.from(joined), Buffer.from(encodeProof(joinProofs([decodeProof(chain.bytes())]))));
    assert.equal(verify(joined, {}).checkpoint, null);
    assert.throws(() => joinProofs([late]), /entry 0 is in none of them/);
    assert.throws(
      () => joinProofs([late, { ...early, entries: early.entries.slice(0, 2) }]),
      /entry [23] is in none of them/,
    );
    const other = new ChainBuilder(world);
    other.vm = '00000000-0000-4000-8000-000000000000';
    assert.throws(() => joinProofs([early, other.live('created').proof()]), /different VMs/);
    const forked = new ChainBuilder(world).live('created', 'started', 'stopped').proof();
    assert.throws(() => joinProofs([early, forked]), /differ at entry 2/);
    const liar = new ChainBuilder(world)
      .live('created', 'started')
      .checkpoint({ verdict: new Uint8Array(32) });
    assert.match(fault(encodeProof(joinProofs([liar.proof()])), {}), /^checkpoint: .*something else/);
  });

  it('are compared where two proofs overlap, and not beyond', () => {
    const chain = offered().migrate(world.gamma);
    const [whole, short] = [verify(chain.bytes()), verify(chain.from(4))];
    assert.equal(compareProofs(whole, short).relation, 'equal');
    const before = verify(new ChainBuilder(world).live('created', 'started').bytes());
    assert.equal(compareProofs(before, short).relation, 'apart');
    const longer = verify(offered().migrate(world.gamma).live('resumed').bytes());
    assert.equal(compareProofs(short, longer).relation, 'second-is-longer');
    const fork = verify(offered().live('stopped').bytes());
    const found = compareProofs(short, fork);
    assert.deepEqual([found.relation, found.relation === 'forked' && found.sequence], ['forked', 6]);
  });
});
