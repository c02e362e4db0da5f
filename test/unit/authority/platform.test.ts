/** Platform certificates (SPEC 1.4): a manufacturer's word on the machine, about this TPM's EK certificate, or refused by name. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadEndorsementTrust } from '../../../lib/authority/endorsement.ts';
import type { EndorsementTrust } from '../../../lib/authority/endorsement.ts';
import { platformAttributes, verifyPlatformCertificate } from '../../../lib/authority/platform.ts';
import type { CertificateReason } from '../../../lib/certificates/certificate-error.ts';
import { attributeCertificateFrom } from '../../../lib/certificates/pem.ts';
import { failsWith } from '../../support/failures.ts';
import { goodNames, makePlatformCertificate } from '../../support/platform-certificate.ts';
import type { PlatformRecipe } from '../../support/platform-certificate.ts';

const at = new Date('2030-01-01T00:00:00Z');
const refused = (reason: CertificateReason) => failsWith('certificate-invalid', reason);

describe('platform certificates', function () {
  this.timeout(60_000);
  let directory: string;
  let trust: EndorsementTrust;
  let recipe: PlatformRecipe;
  let otherEk: Uint8Array;
  let otherKey: KeyObject;
  let caKey: KeyObject;
  let ca: Uint8Array;

  const file = (name: string): string => join(directory, name);
  const openssl = (...words: readonly string[]): Buffer =>
    execFileSync('openssl', words, { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] });
  const key = (name: string): KeyObject => createPrivateKey(readFileSync(file(`${name}.key`)));
  const der = (name: string): Uint8Array =>
    Uint8Array.from(openssl('x509', '-in', `${name}.pem`, '-outform', 'der'));

  /** A certificate by OpenSSL, self-signed without an issuer, for 30 years from now on. */
  function certificate(name: string, issuer: string | null, ...extensions: readonly string[]): void {
    openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', `${name}.key`);
    const by = issuer === null ? [] : ['-CA', `${issuer}.pem`, '-CAkey', `${issuer}.key`];
    const more = extensions.flatMap((text) => ['-addext', text]);
    openssl(
      ...['req', '-x509', '-new', '-key', `${name}.key`, '-subj', `/O=Makers/CN=${name}`, '-days', '10950'],
      ...['-out', `${name}.pem`, ...by, ...more],
    );
  }

  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-platform-'));
    const signs = 'keyUsage=critical,digitalSignature';
    const certifies = 'keyUsage=critical,keyCertSign';
    certificate('root', null, certifies);
    certificate('signer', 'root', 'basicConstraints=critical,CA:false', signs);
    certificate('keys-only', 'root', 'basicConstraints=critical,CA:false', 'keyUsage=critical,keyAgreement');
    certificate('stranger', null, 'keyUsage=critical,keyCertSign,digitalSignature');
    for (const name of ['ek', 'other-ek']) certificate(name, 'root', 'basicConstraints=critical,CA:false');
    const folder = file('roots');
    execFileSync('mkdir', [folder]);
    for (const name of ['root', 'signer', 'keys-only'])
      writeFileSync(join(folder, `${name}.pem`), readFileSync(file(`${name}.pem`)));
    trust = loadEndorsementTrust(folder);
    otherEk = der('other-ek');
    otherKey = key('stranger');
    caKey = key('keys-only');
    ca = der('keys-only');
    recipe = { ekCertificate: der('ek'), signer: der('signer'), key: key('signer') };
  });
  after(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  const verified = (change: Partial<PlatformRecipe> = {}, ek = recipe.ekCertificate, when = at) =>
    verifyPlatformCertificate(makePlatformCertificate({ ...recipe, ...change }), ek, trust, when);

  it('say in which machine the TPM is', () => {
    assert.deepEqual(verified(), {
      manufacturer: 'Example Corp',
      model: 'RackServer 9',
      version: 'rev 2',
      serial: 'SN-123',
    });
    const unnumbered = Object.fromEntries(Object.entries(goodNames).slice(0, 3));
    assert.equal(verified({ names: unnumbered, usages: null, type: null }).serial, null);
  });

  it('are read from DER and from PEM, and are structures that OpenSSL reads too', () => {
    const made = makePlatformCertificate(recipe);
    const pem = `-----BEGIN ATTRIBUTE CERTIFICATE-----\n${Buffer.from(made).toString('base64')}\n-----END ATTRIBUTE CERTIFICATE-----\n`;
    assert.deepEqual(attributeCertificateFrom(made), made);
    assert.deepEqual(attributeCertificateFrom(Buffer.from(pem)), made);
    assert.throws(() => attributeCertificateFrom(Buffer.from(pem + pem)), refused('malformed'));
    assert.throws(() => attributeCertificateFrom(Buffer.from('none')), refused('malformed'));
    writeFileSync(file('made.der'), made);
    assert.match(openssl('asn1parse', '-inform', 'der', '-in', 'made.der').toString(), /ecdsa-with-SHA256/);
  });

  it('are refused when they have expired, and before they are good', () => {
    assert.throws(() => verified({ notAfter: new Date('2029-12-31T00:00:00Z') }), refused('expired'));
    assert.throws(() => verified({ notBefore: new Date('2030-01-02T00:00:00Z') }), refused('not-yet-valid'));
    const late = new Date('2080-01-01T00:00:00Z');
    assert.throws(
      () => verified({}, recipe.ekCertificate, late),
      refused('expired'),
      'the signer is no more',
    );
  });

  it('are refused when they are about another TPM', () => {
    assert.throws(() => verified({}, otherEk), refused('wrong-holder'));
    assert.throws(() => verified({ ekCertificate: otherEk }), refused('wrong-holder'));
    assert.throws(() => verified({ holder: 'digest' }), refused('malformed'));
  });

  it('are refused when somebody else signed them, or one who may not', () => {
    assert.throws(() => verified({ key: otherKey }), refused('bad-signature'));
    assert.throws(() => verified({ signer: der('stranger'), key: otherKey }), refused('wrong-issuer'));
    assert.throws(() => verified({ signer: ca, key: caKey }), refused('wrong-usage'));
    assert.throws(() => verified({ hash: 'sha1' }), refused('bad-signature'));
    assert.throws(() => verified({ innerAlgorithm: '1.2.840.10045.4.3.4' }), refused('malformed'));
  });

  it('are refused when they are of another kind, or say what nobody here understands', () => {
    assert.throws(() => verified({ usages: ['2.23.133.8.1'] }), refused('wrong-usage'));
    assert.throws(() => verified({ type: '2.23.133.8.5' }), refused('wrong-usage'), 'a delta');
    assert.throws(() => verified({ critical: '2.5.29.55' }), refused('unknown-critical-extension'));
    for (const missing of Object.keys(goodNames).slice(0, 3)) {
      const names = Object.fromEntries(Object.entries(goodNames).filter(([oid]) => oid !== missing));
      assert.throws(() => verified({ names }), refused('malformed'), missing);
    }
    const names = { ...goodNames, '2.23.133.5.1.4': 'Rack\u001b[31mServer' };
    assert.throws(() => verified({ names }), refused('malformed'));
  });

  it('are refused when a byte follows, one is missing, or another certificate stands in the place of one', () => {
    const made = makePlatformCertificate(recipe);
    const judge = (bytes: Uint8Array) => () =>
      verifyPlatformCertificate(bytes, recipe.ekCertificate, trust, at);
    assert.throws(judge(Buffer.concat([made, Buffer.of(0)])), refused('malformed'));
    assert.throws(judge(made.subarray(0, -1)), refused('malformed'));
    assert.throws(judge(new Uint8Array()), refused('malformed'));
    assert.throws(judge(recipe.ekCertificate), refused('malformed'));
    assert.throws(judge(new Uint8Array(20_000)), refused('malformed'));
  });

  it('are not accepted with any one bit of them changed', () => {
    const made = makePlatformCertificate(recipe);
    for (let at8 = 0; at8 < made.byteLength; at8 += 1) {
      const changed = Uint8Array.from(made);
      changed[at8] = (changed[at8] ?? 0) ^ (1 << (at8 % 8));
      assert.throws(
        () => verifyPlatformCertificate(changed, recipe.ekCertificate, trust, at),
        { code: 'certificate-invalid' },
        `byte ${at8}`,
      );
    }
  });

  it('become attributes of the host, where these can hold what they say', () => {
    assert.deepEqual(
      [...platformAttributes(verified())],
      [
        ['platform_manufacturer', 'Example Corp'],
        ['platform_model', 'RackServer 9'],
        ['platform_version', 'rev 2'],
      ],
    );
    const names = { ...goodNames, '2.23.133.5.1.4': 'a "quoted" model' };
    assert.throws(
      () => platformAttributes(verified({ names })),
      failsWith('enrolment-refused', 'platform-untrusted'),
    );
  });
});
