/**
 * One quote for many statements (SPEC 4, *Signing*): a Merkle tree of RFC 9162 2.1.1 whose root is the quote's
 * qualifying data, and for each leaf the path that leads from it to the root.
 */
import { TvmmpError } from '../errors.ts';
import { bytesOf, listOf, numbered, record } from '../encoding/shape.ts';
import type { Of } from '../encoding/shape.ts';
import { sha256 } from '../encoding/hash.ts';
import { limits } from '../limits.ts';

/** `path-step = [ side: 0 / 1, hash ]`: the sibling, and on which side of us it is. */
export const pathStep = record({ side: numbered({ left: 0, right: 1 }), sibling: bytesOf(32) });
export type PathStep = Of<typeof pathStep>;

/** From a leaf (first step) to the root (last step). */
export type MerklePath = readonly PathStep[];
export const merklePath = listOf(pathStep, { max: limits.merkleDepthMax });

/** A tree's root and, in the order of the leaves, their paths. */
export interface MerkleTree {
  readonly root: Uint8Array;
  readonly paths: readonly MerklePath[];
}

const leafTag = Uint8Array.of(0);
const nodeTag = Uint8Array.of(1);

/** The leaf that stands for a statement, itself a hash of 32 bytes: `SHA-256(0x00 || statement)`. */
export function leafHash(statement: Uint8Array): Uint8Array {
  if (statement.byteLength !== 32)
    throw new TvmmpError('encoding-invalid', 'merkle: a statement has 32 bytes');
  return sha256(leafTag, statement);
}

/** Builds the tree over leaves (from `leafHash`), at least one and at most 2^16. A single leaf is its own root. */
export function merkle(leaves: readonly Uint8Array[]): MerkleTree {
  if (leaves.length === 0) throw new TvmmpError('encoding-invalid', 'merkle: no leaves');
  if (leaves.length > 2 ** limits.merkleDepthMax)
    throw new TvmmpError('limit-exceeded', 'merkle: too many leaves');
  const paths: PathStep[][] = leaves.map(() => []);
  const root = subtree(leaves, 0, leaves.length, paths);
  return { root, paths };
}

/** The root that a leaf and its path lead to. The side is stated by each step and covered by the root. */
export function rootFromPath(leaf: Uint8Array, path: MerklePath): Uint8Array {
  if (path.length > limits.merkleDepthMax) throw new TvmmpError('limit-exceeded', 'merkle: path too long');
  return path.reduce(
    (node, { side, sibling }) =>
      side === 'left' ? sha256(nodeTag, sibling, node) : sha256(nodeTag, node, sibling),
    leaf,
  );
}

/** Root of leaves[start, end): split at the largest power of two below their number (RFC 9162 2.1.1). */
function subtree(leaves: readonly Uint8Array[], start: number, end: number, paths: PathStep[][]): Uint8Array {
  const count = end - start;
  if (count === 1) return leaves[start] ?? new Uint8Array();
  const middle = start + 2 ** (Math.ceil(Math.log2(count)) - 1);
  const left = subtree(leaves, start, middle, paths);
  const right = subtree(leaves, middle, end, paths);
  paths.slice(start, middle).forEach((path) => path.push({ side: 'right', sibling: right }));
  paths.slice(middle, end).forEach((path) => path.push({ side: 'left', sibling: left }));
  return sha256(nodeTag, left, right);
}
