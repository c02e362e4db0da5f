import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Extension, KeyUsageFlags } from '@peculiar/x509';
import { loadEndorsementTrust, verifyEkCertificate } from '../../../lib/authority/endorsement.ts';
import type { EndorsementTrust } from '../../../lib/authority/endorsement.ts';
import type { CertificateReason } from '../../../lib/certificates/certificate-error.ts';
import { EK_USAGE, SERVER_USAGE } from '../../../lib/certificates/identifiers.ts';
import { importKeyPair } from '../../../lib/certificates/issue.ts';
import type { KeyPair } from '../../../lib/certificates/issue.ts';
import { certificateToPem } from '../../../lib/certificates/pem.ts';
import { x509 } from '../../../lib/certificates/x509-library.ts';
import { TvmmpError } from '../../../lib/errors.ts';
import { failsWith } from '../../support/failures.ts';
import { testKeyPair } from '../../support/test-authority.ts';

const at = new Date('2027-01-01T00:00:00Z');

/** One certificate of a test, with whatever is to be odd about it. */
interface Recipe {
  readonly subject?: string;
  readonly ca?: boolean;
  readonly pathLength?: number;
  readonly keyUsage?: KeyUsageFlags | null;
  readonly extendedUsages?: string[];
  readonly notBefore?: string;
  readonly notAfter?: string;
  readonly hash?: string;
  readonly extensions?: readonly Extension[];
}

/** A certificate and its key; `issuer` null makes it self-signed. */
interface Made {
  readonly der: Uint8Array;
  readonly subject: string;
  readonly keys: KeyPair;
}

async function make(issuer: Made | null, recipe: Recipe = {}): Promise<Made> {
  const library = x509();
  const { ca = false, subject = ca ? 'CN=TPM CA' : '', keyUsage } = recipe;
  const keys = testKeyPair();
  const signer = await importKeyPair((issuer ?? { keys }).keys);
  const usage =
    keyUsage === undefined
      ? ca
        ? library.KeyUsageFlags.keyCertSign
        : library.KeyUsageFlags.keyAgreement
      : keyUsage;
  const certificate = await library.X509CertificateGenerator.create({
    subject,
    issuer: issuer?.subject ?? subject,
    publicKey: Uint8Array.from(keys.publicKey.export({ type: 'spki', format: 'der' })),
    signingKey: signer.privateKey,
    signingAlgorithm: { name: 'ECDSA', hash: recipe.hash ?? 'SHA-256' },
    notBefore: new Date(recipe.notBefore ?? '2020-01-01T00:00:00Z'),
    notAfter: new Date(recipe.notAfter ?? '2040-01-01T00:00:00Z'),
    extensions: [
      new library.BasicConstraintsExtension(ca, recipe.pathLength, true),
      ...(usage === null ? [] : [new library.KeyUsagesExtension(usage, true)]),
      ...(recipe.extendedUsages === undefined
        ? []
        : [new library.ExtendedKeyUsageExtension(recipe.extendedUsages)]),
      ...(recipe.extensions ?? []),
    ],
  });
  return { der: new Uint8Array(certificate.rawData), subject, keys };
}

const refused = (reason: CertificateReason) => failsWith('certificate-invalid', reason);

describe('certificates of endorsement keys', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-ek-'));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  const trusting = (...certificates: Made[]): EndorsementTrust => {
    writeFileSync(
      join(directory, 'all.pem'),
      certificates.map(({ der }) => certificateToPem(der)).join('text\n'),
    );
    return loadEndorsementTrust(directory);
  };

  it('chain to a root directly, or through intermediates of the directory', async () => {
    const root = await make(null, { ca: true });
    const middle = await make(root, { ca: true, subject: 'CN=Middle' });
    for (const issuer of [root, middle]) {
      const ek = await make(issuer, { extendedUsages: [EK_USAGE] });
      const verified = verifyEkCertificate(ek.der, trusting(root, middle), at);
      assert.ok(verified.publicKey.equals(ek.keys.publicKey));
    }
    const ek = await make(middle);
    assert.throws(() => verifyEkCertificate(ek.der, trusting(root), at), refused('wrong-issuer'));
  });

  it('an intermediate alone is no root, and a namesake root is not the issuer', async () => {
    const root = await make(null, { ca: true });
    const namesake = await make(null, { ca: true });
    const middle = await make(root, { ca: true, subject: 'CN=Middle' });
    const ek = await make(middle);
    assert.throws(() => trusting(middle), TvmmpError);
    assert.throws(() => verifyEkCertificate(ek.der, trusting(namesake, middle), at), refused('wrong-issuer'));
    verifyEkCertificate(ek.der, trusting(namesake, root, middle), at);
  });

  it('of two intermediates with one key name the one that is good is found', async () => {
    const root = await make(null, { ca: true });
    const lost = await make(null, { ca: true, subject: 'CN=Lost' });
    const middle = await make(root, { ca: true, subject: 'CN=Middle' });
    const ek = await make(middle);
    const crossed = await make(lost, { ca: true, subject: 'CN=Middle' });
    verifyEkCertificate(ek.der, trusting(crossed, middle, root), at);
  });

  it('an expired certificate anywhere on the way is refused', async () => {
    const past = { notAfter: '2026-01-01T00:00:00Z' };
    const future = { notBefore: '2028-01-01T00:00:00Z' };
    const root = await make(null, { ca: true });
    for (const [change, reason] of [
      [past, 'expired'],
      [future, 'not-yet-valid'],
    ] as const) {
      const ek = await make(root, change);
      assert.throws(() => verifyEkCertificate(ek.der, trusting(root), at), refused(reason));
      const middle = await make(root, { ca: true, subject: 'CN=Middle', ...change });
      const below = await make(middle);
      assert.throws(() => verifyEkCertificate(below.der, trusting(root, middle), at), refused(reason));
      const oldRoot = await make(null, { ca: true, ...change });
      const ofOld = await make(oldRoot);
      assert.throws(() => verifyEkCertificate(ofOld.der, trusting(oldRoot), at), refused(reason));
    }
  });

  it('an issuer that is no authority, may not sign certificates, or has too many below it is refused', async () => {
    const root = await make(null, { ca: true });
    const shortRoot = await make(null, { ca: true, pathLength: 0, subject: 'CN=Short' });
    const leaf = await make(root, { subject: 'CN=Leaf' });
    const noSigning = await make(root, {
      ca: true,
      subject: 'CN=No',
      keyUsage: x509().KeyUsageFlags.cRLSign,
    });
    const middle = await make(shortRoot, { ca: true, subject: 'CN=Middle' });
    const pretender = await make(root, {
      subject: 'CN=Pretender',
      keyUsage: x509().KeyUsageFlags.keyCertSign,
    });
    for (const issuer of [leaf, noSigning, middle, pretender]) {
      const ek = await make(issuer);
      const trust = trusting(root, shortRoot, leaf, noSigning, middle, pretender);
      assert.throws(() => verifyEkCertificate(ek.der, trust, at), refused('wrong-issuer'));
    }
    const direct = await make(shortRoot);
    verifyEkCertificate(direct.der, trusting(shortRoot), at);
  });

  it('a chain that is too long is refused', async () => {
    const root = await make(null, { ca: true });
    const chain = [root];
    for (let i = 0; i < 5; i += 1) {
      chain.push(await make(chain.at(-1) ?? root, { ca: true, subject: `CN=Middle ${i}` }));
    }
    const ek = await make(chain.at(-1) ?? root);
    assert.throws(() => verifyEkCertificate(ek.der, trusting(...chain), at), refused('wrong-issuer'));
  });

  it('SHA-1 signatures are refused', async () => {
    const root = await make(null, { ca: true });
    const ek = await make(root, { hash: 'SHA-1' });
    assert.throws(() => verifyEkCertificate(ek.der, trusting(root), at), refused('wrong-issuer'));
    const strong = await make(root, { hash: 'SHA-384' });
    verifyEkCertificate(strong.der, trusting(root), at);
  });

  it('certificates of other kinds, and unknown critical extensions, are refused', async () => {
    const library = x509();
    const root = await make(null, { ca: true });
    const odd = (critical: boolean): Extension =>
      new library.Extension('1.2.3.4', critical, Uint8Array.of(5, 0));
    const cases: [Recipe, CertificateReason][] = [
      [{ extendedUsages: [SERVER_USAGE] }, 'wrong-usage'],
      [{ keyUsage: library.KeyUsageFlags.digitalSignature }, 'wrong-usage'],
      [{ ca: true, subject: 'CN=x' }, 'wrong-usage'],
      [{ extensions: [odd(true)] }, 'unknown-critical-extension'],
    ];
    for (const [recipe, reason] of cases) {
      const { der } = await make(root, recipe);
      assert.throws(() => verifyEkCertificate(der, trusting(root), at), refused(reason));
    }
    for (const recipe of [{ keyUsage: null }, { extensions: [odd(false)] }]) {
      verifyEkCertificate((await make(root, recipe)).der, trusting(root), at);
    }
    const middle = await make(root, { ca: true, subject: 'CN=Middle', extensions: [odd(true)] });
    const below = await make(middle);
    const verify = (): unknown => verifyEkCertificate(below.der, trusting(root, middle), at);
    assert.throws(verify, refused('unknown-critical-extension'));
  });

  it('directories may hold DER files and private keys beside the certificates', async () => {
    const root = await make(null, { ca: true });
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    writeFileSync(join(directory, 'root.crt'), root.der);
    writeFileSync(join(directory, 'signkey.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }));
    writeFileSync(join(directory, 'serial'), '01');
    assert.equal(loadEndorsementTrust(directory).roots.length, 1);
    writeFileSync(join(directory, 'broken.cer'), root.der.subarray(0, 50));
    assert.throws(() => loadEndorsementTrust(directory), TvmmpError);
  });
});
