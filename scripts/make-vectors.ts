/**
 * Writes the test vectors of proofs (test/vectors/proof) anew, with new keys: `npx tsx scripts/make-vectors.ts`. Each file is one proof with
 * one property; `expect` is `verified` or the check of SPEC 4 that must fail first. With `--missing` it writes only those that are not there yet.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { proofCases } from '../test/support/proof-cases.ts';
import { makeWorld } from '../test/support/proof-world.ts';

const directory = new URL('../test/vectors/proof/', import.meta.url);
await mkdir(directory, { recursive: true });
const onlyMissing = process.argv.includes('--missing');
for (const file of await readdir(directory)) {
  if (file.endsWith('.json') && !onlyMissing) await rm(new URL(file, directory));
}
const world = await makeWorld();
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
for (const { name, why, expect, at, build, known } of proofCases) {
  const file = new URL(`${name}.json`, directory);
  if (onlyMissing && existsSync(file)) continue;
  const proof = await build(world);
  const vector = {
    why,
    expect,
    at: at ?? null,
    root: base64(world.authority.root.der),
    proof: base64(proof),
    ...(known === undefined ? {} : { known: base64(known(world, proof)) }),
  };
  await writeFile(file, `${JSON.stringify(vector, null, 1)}\n`);
}
process.stdout.write(`${proofCases.length} vectors\n`);
