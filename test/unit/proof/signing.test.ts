import { strict as assert } from 'node:assert';
import { sha256 } from '../../../lib/encoding/hash.ts';
import { leafHash, rootFromPath } from '../../../lib/evidence/merkle.ts';
import {
  decodeEntry,
  decodeSignedEntry,
  encodeEntry,
  encodeSignedEntry,
  entryLeaf,
} from '../../../lib/proof/entry.ts';
import { prepareBatch } from '../../../lib/proof/signing.ts';
import { ChainBuilder, makeWorld, worldSelection } from '../../support/proof-world.ts';
import type { World } from '../../support/proof-world.ts';

describe('signing entries by a quote', () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
  });

  it('makes one quote serve a statement and several entries', () => {
    const c = new ChainBuilder(world);
    const entries = [encodeEntry(c.draft('created')), encodeEntry(c.draft('started'))];
    const statement = sha256(Buffer.from('statement'));
    const batch = prepareBatch(entries, [statement]);
    const { attest, signature } = world.alpha.tpm.quote(batch.qualifyingData, worldSelection);
    const signed = batch.finish(attest, signature);
    assert.equal(signed.entries.length, 2);
    for (const { entry, path } of signed.entries) {
      assert.deepEqual(rootFromPath(entryLeaf(entry), path), batch.qualifyingData);
    }
    const [path] = signed.statementPaths;
    assert.deepEqual(rootFromPath(leafHash(statement), path!), batch.qualifyingData);
  });

  it('quotes the leaf itself where an entry is alone', () => {
    const entry = encodeEntry(new ChainBuilder(world).draft('created'));
    assert.deepEqual(prepareBatch([entry]).qualifyingData, entryLeaf(entry));
  });

  it('refuses a quote of something else, and an attestation of another kind', () => {
    const c = new ChainBuilder(world);
    const batch = prepareBatch([encodeEntry(c.draft('created'))]);
    const { tpm } = world.alpha;
    const other = tpm.quote(sha256(Buffer.from('other')), worldSelection);
    const certify = tpm.quote(batch.qualifyingData, worldSelection, { type: 'certify' });
    for (const { attest, signature } of [other, certify]) {
      assert.throws(() => batch.finish(attest, signature), { code: 'tpm-structure-invalid' });
    }
  });

  it('reads entries and signed entries as they were written', () => {
    const c = new ChainBuilder(world).live('created', 'started').departing(world.beta);
    for (const signed of c.entries) {
      assert.deepEqual(decodeSignedEntry(encodeSignedEntry(signed)), signed);
      assert.deepEqual(encodeEntry(decodeEntry(signed.entry)), signed.entry);
    }
  });
});
