import { strict as assert } from 'node:assert';
import fc from 'fast-check';
import { decode, encode } from '../../lib/encoding/cbor.ts';
import type { CborValue } from '../../lib/encoding/cbor.ts';
import { TvmmpError } from '../../lib/errors.ts';
import { leafHash, merkle, rootFromPath } from '../../lib/evidence/merkle.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 20 });
const bytes = (length: { minLength?: number; maxLength: number }): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array(length);
const scalar = fc.oneof(
  fc.maxSafeNat(),
  text,
  bytes({ maxLength: 40 }),
  fc.constant(null),
  fc
    .uniqueArray(fc.tuple(text, text), { maxLength: 5, selector: ([key]) => key })
    .map((entries) => new Map(entries)),
);
const value: fc.Arbitrary<CborValue> = fc.letrec<{ tree: CborValue }>((tie) => ({
  tree: fc.oneof({ maxDepth: 5 }, scalar, fc.array(tie('tree'), { maxLength: 5 })),
})).tree;

describe('properties of the encoding', () => {
  it('decodes what it encoded', () => {
    fc.assert(
      fc.property(value, (original) => {
        assert.deepEqual(decode(encode(original)), original);
      }),
    );
  });

  it('accepts no bytes but those that it would write', () => {
    fc.assert(
      fc.property(
        fc.oneof(bytes({ maxLength: 64 }), value.map(encode)),
        fc.nat(),
        fc.nat(7),
        (base, at, bit) => {
          const changed = Uint8Array.from(base);
          if (changed.length > 0) changed[at % changed.length]! ^= 1 << bit;
          let decoded: CborValue;
          try {
            decoded = decode(changed);
          } catch (error) {
            assert.ok(error instanceof TvmmpError);
            return;
          }
          assert.deepEqual(encode(decoded), changed);
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe('properties of Merkle trees', () => {
  it('lead from each leaf to the root, and from no other leaf', () => {
    const statements = fc.array(bytes({ minLength: 32, maxLength: 32 }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(statements, bytes({ minLength: 32, maxLength: 32 }), (list, other) => {
        const leaves = list.map(leafHash);
        const { root, paths } = merkle(leaves);
        leaves.forEach((leaf, index) => {
          assert.deepEqual(rootFromPath(leaf, paths[index]!), root);
          if (!list.some((statement) => Buffer.compare(statement, other) === 0)) {
            assert.notDeepEqual(rootFromPath(leafHash(other), paths[index]!), root);
          }
        });
      }),
    );
  });
});
