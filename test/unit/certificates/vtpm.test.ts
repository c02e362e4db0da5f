/** Certificates of vTPMs and of those who issue them (SPEC 1.1). OpenSSL, an implementation that is not ours, does the counter-checks. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CertificateReason } from '../../../lib/certificates/certificate-error.ts';
import { verifyAgentCertificate, verifyHostCertificate } from '../../../lib/certificates/host-certificate.ts';
import { issueMigrationCertificate } from '../../../lib/certificates/issue.ts';
import { certificateToPem } from '../../../lib/certificates/pem.ts';
import { parseRootCertificate } from '../../../lib/certificates/root-certificate.ts';
import {
  formatVtpmChain,
  formatVtpmIssuers,
  parseVtpmChain,
  parseVtpmIssuers,
  verifyVtpmChain,
} from '../../../lib/certificates/vtpm-chain.ts';
import type { VtpmChain } from '../../../lib/certificates/vtpm-chain.ts';
import { verifyVtpmCa } from '../../../lib/certificates/vtpm-ca.ts';
import { issueVtpmCertificate } from '../../../lib/certificates/vtpm-certificate.ts';
import { parseVtpmRoot } from '../../../lib/certificates/vtpm-root.ts';
import { failsWith } from '../../support/failures.ts';
import { makeTestAuthority, testKeyPair, testValidity } from '../../support/test-authority.ts';
import type { TestAuthority } from '../../support/test-authority.ts';
import {
  makeVtpmCa,
  makeVtpmChain,
  makeVtpmRoot,
  softwareSigner,
  testNow,
} from '../../support/vtpm-chain.ts';
import type { TestVtpmRoot } from '../../support/vtpm-chain.ts';

const tpmName = (): Uint8Array => Uint8Array.of(0, 11, ...randomBytes(32));

const refused = (reason: CertificateReason, says?: RegExp) => failsWith('certificate-invalid', reason, says);

describe("the certificate of a vTPM's endorsement key (SPEC 1.1)", () => {
  const uuid = randomUUID();
  const host = { name: 'alpha.example', akName: tpmName() };
  let authority: TestAuthority;
  let root: TestVtpmRoot;
  let made: Awaited<ReturnType<typeof makeVtpmCa>>;
  let chain: VtpmChain;
  let directory: string;
  before(async () => {
    authority = await makeTestAuthority();
    root = await makeVtpmRoot(authority);
    made = await makeVtpmCa(root, host);
    chain = await makeVtpmChain(made, { uuid });
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-vtpm-'));
    for (const [name, der] of Object.entries({ ...chain, authority: authority.root.der }))
      writeFileSync(join(directory, `${name}.pem`), certificateToPem(der));
  });
  after(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  const verify = (changed: Partial<VtpmChain> = {}, at = testNow): unknown =>
    verifyVtpmChain({ ...chain, ...changed }, authority.root, at);
  const openssl = (...args: string[]): string =>
    execFileSync('openssl', args, { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] }).toString();
  const opensslVerify = (...args: string[]): number | null =>
    spawnSync('openssl', ['verify', '-x509_strict', ...args], { cwd: directory }).status;

  it('verifies from the authority’s root, and says which VM it is of and which host made the vTPM', () => {
    const verified = verifyVtpmChain(chain, authority.root, testNow);
    assert.equal(verified.uuid, uuid);
    assert.equal(verified.issuer.host, host.name);
    assert.deepEqual(verified.issuer.akName, host.akName);
  });

  it('has the fields of the EK Credential Profile, for RSA and for P-384 keys', async () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    const ecc = await makeVtpmChain(made, { uuid, publicKey });
    writeFileSync(join(directory, 'ecc.pem'), certificateToPem(ecc.certificate));
    verifyVtpmChain(ecc, authority.root, testNow);
    for (const [file, usage] of [
      ['certificate.pem', 'Key Encipherment'],
      ['ecc.pem', 'Key Agreement'],
    ] as const) {
      const text = openssl('x509', '-in', file, '-noout', '-text', '-nameopt', 'utf8');
      for (const expected of [
        new RegExp(`Key Usage: critical\\s+${usage}\\s`),
        /Extended Key Usage: *\n *(?:Endorsement Key Certificate|2\.23\.133\.8\.1)/,
        /2\.23\.133\.2\.1 *= *id:00001014/,
        /2\.23\.133\.2\.2 *= *swtpm/,
        /2\.23\.133\.2\.3 *= *id:20191023/,
        new RegExp(`URI:urn:uuid:${uuid}`),
        new RegExp(`Subject: CN *= *web:${uuid}`),
        /X509v3 Subject Directory Attributes/,
        /CA:FALSE/,
      ])
        assert.match(text, expected);
    }
    const asn1 = openssl('asn1parse', '-in', 'certificate.pem');
    const at = /X509v3 Subject Directory Attributes\n\s+\d+:.*OCTET STRING\s+\[HEX DUMP\]:([0-9A-F]+)/.exec(
      asn1,
    );
    // SEQUENCE { 2.23.133.2.16, SET { SEQUENCE { "2.0", 0, 164 } } }
    assert.equal(at?.[1], '301930170605678105021031' + '0E300C0C03322E30020100020200A4');
  });

  it('is what OpenSSL verifies with the root of vTPMs, and takes for no server, client or CA of the authority', () => {
    const issuers = ['-untrusted', 'ca.pem', 'certificate.pem'];
    assert.equal(opensslVerify('-CAfile', 'root.pem', ...issuers), 0);
    assert.equal(opensslVerify('-CAfile', 'root.pem', '-purpose', 'any', ...issuers), 0);
    for (const purpose of ['sslserver', 'sslclient'])
      assert.notEqual(opensslVerify('-CAfile', 'root.pem', '-purpose', purpose, ...issuers), 0);
    for (const purpose of ['any', 'sslserver'])
      assert.notEqual(
        opensslVerify('-CAfile', 'authority.pem', '-purpose', purpose, '-untrusted', 'root.pem', ...issuers),
        0,
      );
    // The voucher certifies the root's key, and yet no chain runs through it.
    assert.notEqual(
      opensslVerify('-CAfile', 'authority.pem', '-purpose', 'any', '-untrusted', 'voucher.pem', ...issuers),
      0,
    );
  });

  it('cannot be a server’s: what a vTPM CA signs for a DNS name is believed by nobody, even with its root trusted', async () => {
    const keys = testKeyPair();
    const issuer = {
      certificate: {
        ...parseRootCertificate(chain.root),
        subject: caOf().subject,
        publicKey: made.keys.publicKey,
      },
      privateKey: made.keys.privateKey,
    };
    const forged = await issueMigrationCertificate(
      issuer,
      { name: 'beta.example', addresses: [] },
      keys.publicKey,
      testValidity,
    );
    writeFileSync(join(directory, 'forged.pem'), certificateToPem(forged));
    for (const purpose of ['sslserver', 'any'])
      assert.notEqual(
        opensslVerify('-CAfile', 'root.pem', '-purpose', purpose, '-untrusted', 'ca.pem', 'forged.pem'),
        0,
      );
    assert.throws(() => verify({ certificate: forged }), refused('wrong-usage'));
  });

  it('and its issuers are no certificates of hosts', () => {
    for (const der of [chain.certificate, chain.ca, chain.root])
      assert.throws(() => verifyAgentCertificate(der, authority.root, testNow), refused('wrong-issuer'));
    assert.throws(
      () => verifyHostCertificate(chain.voucher, authority.root, testNow),
      refused('wrong-usage'),
    );
    assert.throws(() => parseVtpmRoot(authority.root.der), refused('wrong-usage'));
  });

  it('survives the way to PEM and back, and is not read with a part missing or too many', () => {
    assert.deepEqual(parseVtpmChain(formatVtpmChain(chain)), chain);
    assert.deepEqual(parseVtpmIssuers(formatVtpmIssuers(made.issuers)), made.issuers);
    for (const text of [formatVtpmIssuers(chain), formatVtpmChain(chain) + certificateToPem(chain.root)])
      assert.throws(() => parseVtpmChain(text), refused('malformed'));
    for (const text of [certificateToPem(chain.ca), formatVtpmChain(chain)])
      assert.throws(() => parseVtpmIssuers(text), refused('malformed'));
  });

  it('is refused after its end, and before its beginning; and so is each certificate above it', async () => {
    const early = { notBefore: testValidity.notBefore, notAfter: new Date('2026-06-01T00:00:00Z') };
    const late = { notBefore: new Date('2027-06-01T00:00:00Z'), notAfter: testValidity.notAfter };
    for (const [validity, reason] of [
      [early, 'expired'],
      [late, 'not-yet-valid'],
    ] as const) {
      const own = await makeVtpmChain(made, { uuid }, validity);
      assert.throws(() => verify(own), refused(reason, /vTPM's certificate/));
      const ca = await makeVtpmCa(root, host, { keys: made.keys, validity });
      assert.throws(() => verify(ca.issuers), refused(reason, /vTPM CA's certificate/));
      const oldRoot = await makeVtpmRoot(authority, { validity });
      const under = await makeVtpmCa(oldRoot, host, { keys: made.keys });
      assert.throws(() => verify(under.issuers), refused(reason, /vTPM root/));
    }
    assert.throws(() => verify({}, new Date('2050-01-01T00:00:00Z')), refused('expired'));
  });

  it('goes on under the renewed certificate of the CA that issued it', async () => {
    const renewed = await makeVtpmCa(root, host, { keys: made.keys });
    assert.notDeepEqual(renewed.issuers.ca, chain.ca);
    verify(renewed.issuers);
  });

  it('is refused under another CA, also one with the same name, another root, and another authority’s voucher', async () => {
    const other = await makeVtpmCa(root, { name: 'beta.example', akName: tpmName() });
    assert.throws(() => verify(other.issuers), refused('wrong-issuer', /vTPM CA of beta\.example/));
    const impostor = await makeVtpmCa(root, host);
    assert.throws(() => verify(impostor.issuers), refused('bad-signature'));
    const otherRoot = await makeVtpmRoot(authority);
    assert.throws(() => verify({ root: otherRoot.der }), refused('wrong-issuer', /vouches for another/));
    assert.throws(
      () => verify({ root: otherRoot.der, voucher: otherRoot.voucher }),
      refused('bad-signature', /vTPM CA/),
    );
    const stranger = await makeTestAuthority();
    const strange = await makeVtpmRoot(stranger);
    assert.throws(() => verify({ root: strange.der, voucher: strange.voucher }), refused('bad-signature'));
  });

  it('is refused where another kind of certificate stands in its place, or in that of one above it', () => {
    const policySigner = authority.policySigner;
    assert.throws(() => verify({ voucher: policySigner }), refused('wrong-usage', /voucher/));
    assert.throws(() => verify({ root: authority.root.der }), refused('wrong-usage', /not one of vTPMs/));
    assert.throws(() => verify({ ca: chain.root }), refused('wrong-usage', /vTPM CA/));
    assert.throws(() => verify({ certificate: chain.ca }), refused('wrong-issuer'));
    assert.throws(() => verify({ certificate: Uint8Array.of(0x30, 0) }), refused('malformed'));
  });

  it('is refused where it does not name one VM by its UUID', async () => {
    const odd = await makeVtpmChain(made, { uuid: 'no-uuid' });
    assert.throws(() => verify(odd), refused('wrong-name'));
  });

  it('is not issued with a signature of another key', async () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const subject = {
      uuid,
      name: 'web',
      publicKey,
      vtpm: (await import('../../support/vtpm-chain.ts')).testVtpm,
    };
    await assert.rejects(
      issueVtpmCertificate(caOf(), subject, testValidity, softwareSigner(testKeyPair())),
      refused('bad-signature'),
    );
  });

  const caOf = (): ReturnType<typeof verifyVtpmCa> =>
    verifyVtpmCa(chain.ca, parseVtpmRoot(chain.root), testNow);
});
