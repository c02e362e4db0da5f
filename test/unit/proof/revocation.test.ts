import { strict as assert } from 'node:assert';
import type { RevocationDocument } from '../../../lib/appraisal/revocation.ts';
import { revocationFault, revokedSigners } from '../../../lib/proof/revocation.ts';
import type { RevokedSigner } from '../../../lib/proof/revocation.ts';
import { verifyProof } from '../../../lib/proof/verify.ts';
import { ChainBuilder, makeWorld, worldStart } from '../../support/proof-world.ts';
import type { World, WorldHost } from '../../support/proof-world.ts';

/** Entries are one second apart, the first at one second. */
const second = (count: number): Date => new Date(worldStart + count * 1000);

describe('a proof and a revocation list (SPEC 4, revocation)', () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
  });

  const list = (...hosts: (readonly [WorldHost, Date])[]): RevocationDocument => ({
    version: 1,
    issuedAt: second(0),
    hosts: hosts.map(([host, since]) => ({
      host: host.id.name,
      akName: host.tpm.akName,
      since,
      reason: 'stolen',
    })),
  });
  const judge = (chain: ChainBuilder, revocations: RevocationDocument | null): readonly RevokedSigner[] => {
    const proof = verifyProof(chain.bytes(), { root: world.authority.root });
    assert.equal(proof.outcome, 'verified', JSON.stringify(proof));
    return revokedSigners(proof, revocations);
  };
  /** alpha: created 1, started 2, departing 3; beta: arrived 4; alpha: departed 5; beta: suspended 6. */
  const moved = (): ChainBuilder =>
    new ChainBuilder(world).live('created', 'started').migrate(world.beta).live('suspended');

  it('have nothing to do with each other where no revoked key signed', () => {
    assert.deepEqual(judge(moved(), null), []);
    assert.deepEqual(judge(moved(), list([world.gamma, second(0)])), []);
  });

  it('leave what was signed before good, and name who vouches for its age', () => {
    const [found, other] = judge(moved(), list([world.alpha, second(100)]));
    assert.ok(found !== undefined && other === undefined);
    assert.deepEqual(found.before, { first: 0, last: 2 });
    assert.equal(found.witness, 'beta.test');
    assert.equal(found.after, null);
    assert.deepEqual(found.destroyedAfter, []);
    assert.equal(revocationFault([found]), null);
  });

  it('say where nobody but revoked hosts vouches for the age', () => {
    const [tail] = judge(moved(), list([world.beta, second(100)]));
    assert.deepEqual([tail?.before, tail?.witness], [{ first: 3, last: 4 }, null]);
    const both = judge(moved(), list([world.alpha, second(100)], [world.beta, second(100)]));
    assert.deepEqual(
      both.map(({ witness }) => witness),
      [null, null],
    );
    const later = judge(moved(), list([world.alpha, second(4)]));
    assert.equal(later[0]?.witness, null, 'beta signed only after it');
  });

  it('do not go together where a revoked key signed at that time or later', () => {
    for (const [since, sequence] of [
      [second(6), 4],
      [second(5), 4],
      [second(4), 3],
    ] as const) {
      const found = judge(moved(), list([world.beta, since]));
      assert.equal(found[0]?.after?.entry.sequence, sequence);
      assert.match(
        revocationFault(found) ?? '',
        new RegExp(
          `^revocation: entry ${sequence} \\((?:arrived|suspended)\\) was signed by beta\\.test, revoked since 2026`,
        ),
      );
    }
  });

  it('make a later statement of destruction worth nothing, and no more than that', () => {
    const found = judge(moved(), list([world.alpha, second(5)]));
    assert.deepEqual(found[0]?.destroyedAfter, [0]);
    assert.equal(revocationFault(found), null);
  });
});
