/** The certificate of a vTPM beside the proof of its VM (SPEC 4.5): which chains are believed, and by which name the others are refused. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RevocationDocument } from '../../../lib/appraisal/revocation.ts';
import { certificateToPem } from '../../../lib/certificates/pem.ts';
import { formatVtpmChain } from '../../../lib/certificates/vtpm-chain.ts';
import type { VtpmChain } from '../../../lib/certificates/vtpm-chain.ts';
import { verifyProof } from '../../../lib/proof/verify.ts';
import type { VerifiedProof } from '../../../lib/proof/verify.ts';
import { verifyVtpmBirth } from '../../../lib/proof/vtpm-birth.ts';
import { nameOf } from '../../../lib/tpm/public-area.ts';
import { endorsementKeyOf } from '../../../lib/tpm/templates.ts';
import { ChainBuilder, makeWorld, worldStart, worldVm } from '../../support/proof-world.ts';
import type { World, WorldHost } from '../../support/proof-world.ts';
import { makeVtpmCa, makeVtpmChain, makeVtpmRoot } from '../../support/vtpm-chain.ts';
import type { TestVtpmRoot } from '../../support/vtpm-chain.ts';
import { json, tvmmp } from '../cli/run-cli.ts';

const rsa = (): ReturnType<typeof generateKeyPairSync>['publicKey'] =>
  generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;

describe('the certificate of a vTPM beside the proof of its VM (SPEC 4.5)', () => {
  const ek = rsa();
  let world: World;
  let root: TestVtpmRoot;
  let proof: VerifiedProof;
  let bytes: Uint8Array;
  let chain: VtpmChain;
  before(async () => {
    world = await makeWorld();
    root = await makeVtpmRoot(world.authority);
    bytes = built().migrate(world.beta).bytes();
    proof = holds(bytes);
    chain = await chainOf(world.alpha);
  });

  function built(): ChainBuilder {
    const builder = new ChainBuilder(world);
    builder.vtpm = nameOf(endorsementKeyOf(ek) ?? new Uint8Array());
    return builder.live('created', 'started');
  }
  function holds(file: Uint8Array): VerifiedProof {
    const judged = verifyProof(file, { root: world.authority.root, checkpoints: 'any' });
    assert.ok(judged.outcome === 'verified', JSON.stringify(judged));
    return judged;
  }
  async function chainOf(
    { id, tpm }: WorldHost,
    subject: Partial<Parameters<typeof makeVtpmChain>[1]> = {},
    validity?: Parameters<typeof makeVtpmChain>[2],
  ): Promise<VtpmChain> {
    const made = await makeVtpmCa(root, { name: id.name, akName: tpm.akName });
    return makeVtpmChain(made, { uuid: worldVm, publicKey: ek, ...subject }, validity);
  }
  /** What the verifier finds: `verified`, or the check that failed. */
  function judge(
    told: VtpmChain,
    {
      of = proof,
      now = new Date(),
      list = null,
    }: { of?: VerifiedProof; now?: Date; list?: RevocationDocument | null } = {},
  ): string {
    const result = verifyVtpmBirth(of, told, { root: world.authority.root, now, revocations: list });
    return result.outcome === 'verified' ? 'verified' : result.check;
  }
  const listOf = ({ id }: WorldHost, since: number): RevocationDocument => ({
    version: 1,
    issuedAt: new Date(since),
    hosts: [{ host: id.name, akName: id.akName, since: new Date(since), reason: 'lost' }],
  });

  it('holds where the host that signed the birth certified the vTPM of the proof, for this VM', () => {
    const result = verifyVtpmBirth(proof, chain, {
      root: world.authority.root,
      now: new Date(),
      revocations: null,
    });
    assert.ok(result.outcome === 'verified');
    assert.equal(result.fromBirth, true);
    assert.equal(result.certificate.issuer.host, world.alpha.id.name);
  });

  it('does not hold for another VM', async () => {
    assert.equal(judge(await chainOf(world.alpha, { uuid: randomUUID() })), 'vtpm-vm');
  });

  it('does not hold for another key than the proof names', async () => {
    assert.equal(judge(await chainOf(world.alpha, { publicKey: rsa() })), 'vtpm-key');
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    assert.equal(judge(await chainOf(world.alpha, { publicKey })), 'vtpm-key');
  });

  it('does not hold where another host of the authority certified it, or one of that name with another key', async () => {
    assert.equal(judge(await chainOf(world.beta)), 'vtpm-issuer');
    const namesake = { ...world.alpha, tpm: world.beta.tpm };
    assert.equal(judge(await chainOf(namesake)), 'vtpm-issuer');
  });

  it('does not hold where the chain does not: expired, of another authority, with another certificate in it', async () => {
    const early = { notBefore: new Date('2020-01-01'), notAfter: new Date('2021-01-01') };
    assert.equal(judge(await chainOf(world.alpha, {}, early)), 'vtpm-chain');
    assert.equal(judge(chain, { now: new Date('2100-01-01') }), 'vtpm-chain');
    const other = (await makeWorld()).authority;
    const strange = await makeVtpmRoot(other);
    assert.equal(judge({ ...chain, root: strange.der, voucher: strange.voucher }), 'vtpm-chain');
    assert.equal(judge({ ...chain, ca: (await chainOf(world.alpha)).ca }), 'vtpm-chain');
    assert.equal(judge({ ...chain, certificate: Uint8Array.of(0x30, 0) }), 'vtpm-chain');
  });

  it('does not hold where its host is revoked, unless a host that is not vouches that it is older', () => {
    // Beta signed an entry after alpha's, before alpha was revoked.
    const later = worldStart + 365 * 24 * 3600 * 1000;
    assert.equal(judge(chain, { list: listOf(world.alpha, later) }), 'verified');
    assert.equal(judge(chain, { list: listOf(world.alpha, worldStart - 1) }), 'revocation');
    const alone = holds(built().bytes());
    assert.equal(judge(chain, { of: alone, list: listOf(world.alpha, later) }), 'revocation');
    assert.equal(judge(chain, { of: alone, list: listOf(world.beta, worldStart) }), 'verified');
  });

  it('holds from a checkpoint on, and says that nobody compared who signed the birth; a revoked host is not believed then', async () => {
    const from = holds(built().checkpoint().live('suspended').from(2));
    const theirs = await chainOf(world.beta);
    const result = verifyVtpmBirth(from, theirs, {
      root: world.authority.root,
      now: new Date(),
      revocations: null,
    });
    assert.ok(result.outcome === 'verified' && !result.fromBirth);
    const later = worldStart + 365 * 24 * 3600 * 1000;
    assert.equal(judge(theirs, { of: from, list: listOf(world.beta, later) }), 'revocation');
  });

  it('is judged by tvmmp proof verify, whose exit code and JSON say the same', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tvmmp-birth-'));
    try {
      const file = (name: string, contents: string | Uint8Array): string => {
        writeFileSync(join(directory, name), contents);
        return join(directory, name);
      };
      const verify = (pem: string, ...more: string[]): ReturnType<typeof tvmmp> =>
        tvmmp([
          ...['proof', 'verify', file('web.tvmmp-proof', bytes)],
          ...['--authority', file('root.pem', certificateToPem(world.authority.root.der))],
          ...['--vtpm-certificate', file('ek.pem', pem), ...more],
        ]);
      const good = await verify(formatVtpmChain(chain));
      assert.equal(good.code, 0, good.stderr);
      assert.match(
        good.stdout,
        /^the vTPM was made at alpha\.test, for this VM, and has a certificate of the authority$/m,
      );
      const told = json(await verify(formatVtpmChain(chain), '--json'));
      assert.equal((told['vtpmCertificate'] as Record<string, unknown>)['madeAt'], 'alpha.test');
      const bad = await verify(formatVtpmChain(await chainOf(world.beta)));
      assert.equal(bad.code, 1);
      assert.match(
        bad.stderr,
        /the vTPM's certificate does not hold: vtpm-issuer: .* by beta\.test, .* born at alpha\.test/,
      );
      const badJson = await verify(formatVtpmChain(await chainOf(world.beta)), '--json');
      assert.deepEqual(
        [json(badJson)['outcome'], json(badJson)['check'], badJson.code],
        ['fault', 'vtpm-issuer', 1],
      );
      const alone = await verify(certificateToPem(chain.certificate));
      assert.equal(alone.code, 2);
      assert.match(alone.stderr, /it has no issuer of this authority/);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
