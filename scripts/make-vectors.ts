/**
 * Writes the test vectors of proofs (test/vectors/proof), disclaimers (test/vectors/disclaimer) and attestations (test/vectors/attestation) anew, with new keys: `npx tsx scripts/make-vectors.ts`. Each
 * file is one proof or one *aborted* or attestation with one property; `expect` is `verified` or the check of SPEC 4, 4.3 and 6.10 that must fail first. With `--missing` it writes
 * only those that are not there yet.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { base64 } from '../lib/encoding/base64.ts';
import { attestationCases, caseNonce } from '../test/support/attestation-cases.ts';
import { abortedBytes, disclaimerCases } from '../test/support/disclaimer-cases.ts';
import { proofCases } from '../test/support/proof-cases.ts';
import { makeWorld } from '../test/support/proof-world.ts';

const onlyMissing = process.argv.includes('--missing');
const world = await makeWorld();
const root = base64(world.authority.root.der);

/** One file a case, in its folder of test/vectors. */
async function write<Case extends { readonly name: string }>(
  folder: string,
  cases: readonly Case[],
  vectorOf: (one: Case) => Promise<object>,
): Promise<void> {
  const directory = new URL(`../test/vectors/${folder}/`, import.meta.url);
  await mkdir(directory, { recursive: true });
  for (const file of await readdir(directory)) {
    if (file.endsWith('.json') && !onlyMissing) await rm(new URL(file, directory));
  }
  for (const one of cases) {
    const file = new URL(`${one.name}.json`, directory);
    if (onlyMissing && existsSync(file)) continue;
    await writeFile(file, `${JSON.stringify(await vectorOf(one), null, 1)}\n`);
  }
  process.stdout.write(`${cases.length} vectors in ${folder}\n`);
}

await write('proof', proofCases, async ({ why, expect, at, build, known, others }) => {
  const proof = await build(world);
  return {
    why,
    expect,
    at: at ?? null,
    root,
    proof: base64(proof),
    ...(known === undefined ? {} : { known: base64(known(world, proof)) }),
    ...(others === undefined ? {} : { others: (await others(world)).map(base64) }),
  };
});
await write('disclaimer', disclaimerCases, async ({ why, expect, build }) => {
  const built = await build(world);
  return { why, expect, root, proof: base64(built.chain.bytes()), aborted: base64(abortedBytes(built)) };
});
await write('attestation', attestationCases, async ({ why, expect, build }) => {
  const { chain, attestation, now } = await build(world);
  return {
    why,
    expect,
    root,
    proof: base64(chain.bytes()),
    attestation: base64(attestation),
    nonce: base64(caseNonce),
    now: now ?? chain.time,
  };
});
