import { strict as assert } from 'node:assert';
import { sha256 } from '../../../lib/encoding/hash.ts';
import { leafHash, merkle, rootFromPath } from '../../../lib/evidence/merkle.ts';

const statement = (n: number): Uint8Array => sha256(Uint8Array.of(n));
const leavesOf = (count: number): Uint8Array[] =>
  Array.from({ length: count }, (_, n) => leafHash(statement(n)));
const node = (left: Uint8Array, right: Uint8Array): Uint8Array => sha256(Uint8Array.of(1), left, right);
const at = (leaves: readonly Uint8Array[], index: number): Uint8Array => leaves[index]!;

describe('Merkle trees', () => {
  it('have the shape of RFC 9162: seven leaves are four and three', () => {
    const l = leavesOf(7);
    const four = node(node(at(l, 0), at(l, 1)), node(at(l, 2), at(l, 3)));
    const three = node(node(at(l, 4), at(l, 5)), at(l, 6));
    assert.deepEqual(merkle(l).root, node(four, three));
  });

  it('let a single leaf be its own root, with an empty path', () => {
    const [leaf] = leavesOf(1);
    assert.deepEqual(merkle([leaf!]), { root: leaf, paths: [[]] });
  });

  it('lead from every leaf to the root, for every number of leaves to 40', () => {
    for (let count = 1; count <= 40; count += 1) {
      const leaves = leavesOf(count);
      const { root, paths } = merkle(leaves);
      leaves.forEach((leaf, index) => {
        assert.deepEqual(rootFromPath(leaf, paths[index]!), root);
      });
    }
  });

  it('keep leaves and inner nodes apart: an inner node is no leaf of its own', () => {
    const leaves = leavesOf(2);
    const { root } = merkle(leaves);
    assert.notDeepEqual(leafHash(root), root);
    assert.deepEqual(leafHash(statement(3)), sha256(Uint8Array.of(0), statement(3)));
    assert.deepEqual(root, node(at(leaves, 0), at(leaves, 1)));
    assert.throws(() => leafHash(Buffer.concat(leaves)), { code: 'encoding-invalid' });
  });

  it('refuse no leaves, and paths deeper than their bound', () => {
    assert.throws(() => merkle([]), { code: 'encoding-invalid' });
    const path = Array.from({ length: 17 }, () => ({ side: 'left', sibling: statement(0) }) as const);
    assert.throws(() => rootFromPath(statement(1), path), { code: 'limit-exceeded' });
  });
});
