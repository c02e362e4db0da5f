import assert from 'node:assert/strict';
import type { KeyUsageFlags } from '@peculiar/x509';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes, webcrypto } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createCertificateRequest,
  verifyCertificateRequest,
} from '../../../lib/certificates/certificate-request.ts';
import type { CertificateReason } from '../../../lib/certificates/certificate-error.ts';
import {
  certificateHostName,
  formatHostKeys,
  verifyAgentCertificate,
  verifyHostCertificate,
  verifyMigrationCertificate,
} from '../../../lib/certificates/host-certificate.ts';
import { isHostName } from '../../../lib/certificates/host-name.ts';
import { AK_USAGE, HOST_KEYS_EXTENSION } from '../../../lib/certificates/identifiers.ts';
import { importKeyPair, issueHostCertificate, issueRoot } from '../../../lib/certificates/issue.ts';
import { certificateFromPem, certificateToPem, certificatesFromPem } from '../../../lib/certificates/pem.ts';
import { verifyPolicySignerCertificate } from '../../../lib/certificates/policy-signer-certificate.ts';
import { parseRootCertificate } from '../../../lib/certificates/root-certificate.ts';
import { x509 } from '../../../lib/certificates/x509-library.ts';
import { TvmmpError } from '../../../lib/errors.ts';
import { failsWith } from '../../support/failures.ts';
import { makeTestAuthority, testKeyPair, testValidity } from '../../support/test-authority.ts';
import type { TestAuthority } from '../../support/test-authority.ts';

const at = new Date('2027-01-01T00:00:00Z');
const tpmName = (): Uint8Array => Uint8Array.of(0, 11, ...randomBytes(32));
const hostOf = (
  name = 'host-a.example',
): { name: string; akName: Uint8Array; receiveKeyName: Uint8Array } => ({
  name,
  akName: tpmName(),
  receiveKeyName: tpmName(),
});

const refused = (reason: CertificateReason) => failsWith('certificate-invalid', reason);

/** A self-signed certificate on a curve. */
async function selfSigned(
  namedCurve: 'P-256' | 'P-384',
  { ca, usage }: { ca: boolean; usage: KeyUsageFlags },
): Promise<Uint8Array> {
  const library = x509();
  const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve }, true, ['sign', 'verify']);
  const certificate = await library.X509CertificateGenerator.createSelfSigned({
    name: 'CN=odd root',
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    notBefore: new Date('2020-01-01T00:00:00Z'),
    notAfter: new Date('2040-01-01T00:00:00Z'),
    extensions: [
      new library.BasicConstraintsExtension(ca, 0, true),
      new library.KeyUsagesExtension(usage, true),
    ],
  });
  return new Uint8Array(certificate.rawData);
}

/** A certificate of the authority's root key with whatever extensions a test wants. */
async function oddCertificate(
  authority: TestAuthority,
  extensions: readonly { oid: string; critical: boolean; hex: string }[],
): Promise<Uint8Array> {
  const library = x509();
  const { privateKey } = await importKeyPair(authority.rootKeys);
  const certificate = await library.X509CertificateGenerator.create({
    subject: 'CN=odd',
    issuer: new library.Name(Uint8Array.from(authority.root.subject)),
    publicKey: Uint8Array.from(testKeyPair().publicKey.export({ type: 'spki', format: 'der' })),
    signingKey: privateKey,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    ...testValidity,
    extensions: [
      new library.KeyUsagesExtension(library.KeyUsageFlags.digitalSignature, true),
      new library.ExtendedKeyUsageExtension([AK_USAGE]),
      ...extensions.map(
        ({ oid, critical, hex }) =>
          new library.Extension(oid, critical, Uint8Array.from(Buffer.from(hex, 'hex'))),
      ),
    ],
  });
  return new Uint8Array(certificate.rawData);
}

const names = (...dns: string[]): { oid: string; critical: boolean; hex: string } => {
  const items = dns.map((name) => Buffer.concat([Buffer.from([0x82, name.length]), Buffer.from(name)]));
  const body = Buffer.concat(items);
  return {
    oid: '2.5.29.17',
    critical: false,
    hex: Buffer.concat([Buffer.from([0x30, body.length]), body]).toString('hex'),
  };
};
const hostKeys = (critical = true): { oid: string; critical: boolean; hex: string } => ({
  oid: HOST_KEYS_EXTENSION,
  critical,
  hex: Buffer.from(formatHostKeys(tpmName(), tpmName())).toString('hex'),
});

describe('certificates of the authority', () => {
  let authority: TestAuthority;
  before(async () => {
    authority = await makeTestAuthority();
  });

  it('an AK certificate gives back the name, the TPM names and the key that it was issued for', async () => {
    const host = hostOf();
    const { publicKey } = testKeyPair();
    const der = await authority.hostCertificate(host, publicKey);
    const verified = verifyHostCertificate(der, authority.root, at);
    assert.equal(verified.name, host.name);
    assert.deepEqual(verified.akName, host.akName);
    assert.deepEqual(verified.receiveKeyName, host.receiveKeyName);
    assert.ok(verified.publicKey.equals(publicKey));
    assert.deepEqual(verified.notAfter, testValidity.notAfter);
    assert.equal(certificateHostName(der), host.name);
    assert.equal(verifyHostCertificate(der, authority.root, at).digest, verified.digest, 'remembered');
  });

  it('an RSA AK can be certified', async () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const der = await authority.hostCertificate(hostOf(), publicKey);
    assert.ok(verifyHostCertificate(der, authority.root, at).publicKey.equals(publicKey));
  });

  it('TLS certificates carry the host name and its IP addresses', async () => {
    const { publicKey } = testKeyPair();
    const der = await authority.agentCertificate('host-a', publicKey, ['10.1.2.3', 'fd00::1']);
    const verified = verifyAgentCertificate(der, authority.root, at);
    assert.equal(verified.name, 'host-a');
    assert.deepEqual(verified.addresses, ['10.1.2.3', 'fd00::1']);
  });

  it('no kind of certificate stands in for another', async () => {
    const { publicKey } = testKeyPair();
    const kinds = [
      { der: await authority.hostCertificate(hostOf(), publicKey), verify: verifyHostCertificate },
      { der: await authority.agentCertificate('host-a', publicKey), verify: verifyAgentCertificate },
      { der: await authority.migrationCertificate('host-a', publicKey), verify: verifyMigrationCertificate },
      { der: authority.policySigner, verify: verifyPolicySignerCertificate },
    ];
    for (const { der } of kinds) {
      for (const { verify } of kinds) {
        const check = (): unknown => verify(der, authority.root, at);
        if (kinds.some((kind) => kind.der === der && kind.verify === verify)) check();
        else assert.throws(check, refused('wrong-usage'));
      }
    }
  });

  it('a certificate is refused outside its own time and outside that of the root', async () => {
    const validity = {
      notBefore: new Date('2026-06-01T00:00:00Z'),
      notAfter: new Date('2049-06-01T00:00:00Z'),
    };
    const der = await authority.hostCertificate(hostOf(), testKeyPair().publicKey, validity);
    const verify = (time: string) => () => verifyHostCertificate(der, authority.root, new Date(time));
    assert.throws(verify('2026-05-31T23:59:59Z'), refused('not-yet-valid'));
    verify('2026-06-01T00:00:00Z')();
    assert.throws(verify('2046-01-01T00:00:01Z'), refused('expired'));
    assert.throws(verify('2049-06-01T00:00:01Z'), refused('expired'));
    assert.throws(verify('not a time'), refused('not-yet-valid'));
  });

  it('a certificate of another authority is refused, even one of the same name', async () => {
    const der = await authority.hostCertificate(hostOf(), testKeyPair().publicKey);
    const other = await makeTestAuthority('Other');
    const namesake = await makeTestAuthority();
    assert.throws(() => verifyHostCertificate(der, other.root, at), refused('wrong-issuer'));
    assert.throws(() => verifyHostCertificate(der, namesake.root, at), refused('bad-signature'));
  });

  it('every changed bit of a certificate is refused', async () => {
    const der = await authority.hostCertificate(hostOf(), testKeyPair().publicKey);
    for (let position = 0; position < der.length; position += 1) {
      const changed = Uint8Array.from(der);
      changed[position] = (changed[position] ?? 0) ^ (1 << (position % 8));
      assert.throws(() => verifyHostCertificate(changed, authority.root, at), TvmmpError, `byte ${position}`);
    }
  });

  it('trailing, missing and oversize bytes, PEM in place of DER, and garbage are refused', async () => {
    const der = await authority.hostCertificate(hostOf(), testKeyPair().publicKey);
    const bad = [
      Uint8Array.of(...der, 0),
      der.subarray(0, -1),
      new Uint8Array(),
      randomBytes(300),
      new Uint8Array(20_000),
      Buffer.from(certificateToPem(der)),
    ];
    for (const bytes of bad) {
      assert.throws(() => verifyHostCertificate(bytes, authority.root, at), refused('malformed'));
    }
  });

  it('an unknown critical extension is refused, one that is not critical is not', async () => {
    const odd = { oid: '1.2.3.4.5', hex: '0500' };
    const verify = async (critical: boolean): Promise<unknown> => {
      const der = await oddCertificate(authority, [names('host-a'), hostKeys(), { ...odd, critical }]);
      return verifyHostCertificate(der, authority.root, at);
    };
    await verify(false);
    await assert.rejects(verify(true), refused('unknown-critical-extension'));
  });

  it('an AK certificate needs exactly one host name, and its TPM names as a critical extension', async () => {
    const cases: [Parameters<typeof oddCertificate>[1], CertificateReason][] = [
      [[hostKeys()], 'wrong-name'],
      [[names('host-a', 'host-b'), hostKeys()], 'wrong-name'],
      [[names('Host-A'), hostKeys()], 'wrong-name'],
      [[names('host-a\u0000.evil'), hostKeys()], 'wrong-name'],
      [[names('*.example'), hostKeys()], 'wrong-name'],
      [[names('host-a')], 'malformed'],
      [[names('host-a'), hostKeys(false)], 'malformed'],
      [[names('host-a'), hostKeys(), hostKeys()], 'malformed'],
      [[names('host-a'), { ...hostKeys(), hex: '0500' }], 'malformed'],
      [[names('host-a'), { ...hostKeys(), hex: `${hostKeys().hex}00` }], 'malformed'],
    ];
    for (const [extensions, reason] of cases) {
      const der = await oddCertificate(authority, extensions);
      assert.throws(() => verifyHostCertificate(der, authority.root, at), refused(reason));
    }
  });

  it('an AK certificate with an IP address is refused', async () => {
    const address = { oid: '2.5.29.17', critical: false, hex: '300982016187047f000001' };
    const der = await oddCertificate(authority, [address, hostKeys()]);
    assert.throws(() => verifyHostCertificate(der, authority.root, at), refused('wrong-name'));
  });

  it('a leaf is no root, and a root of another curve or with a broken signature is none', async () => {
    const der = await authority.hostCertificate(hostOf(), testKeyPair().publicKey);
    assert.throws(() => parseRootCertificate(der), refused('wrong-usage'));
    const usage = x509().KeyUsageFlags.keyCertSign;
    const good = await selfSigned('P-256', { ca: true, usage });
    parseRootCertificate(good);
    for (const [curve, ca] of [
      ['P-384', true],
      ['P-256', false],
    ] as const) {
      const odd = await selfSigned(curve, { ca, usage });
      assert.throws(() => parseRootCertificate(odd), refused('wrong-usage'), `${curve} ${String(ca)}`);
    }
    const namesake = await makeTestAuthority();
    const forged = Uint8Array.from(authority.root.der);
    forged.set(namesake.root.der.subarray(-16), forged.length - 16);
    assert.throws(() => parseRootCertificate(forged), refused('bad-signature'));
  });

  it('a root that issued its namesake leaf is not confused by path or name: issuing needs its key', async () => {
    const impostorKeys = testKeyPair();
    const impostor = parseRootCertificate(await issueRoot('Test root', impostorKeys, testValidity));
    const issuer = { certificate: impostor, privateKey: impostorKeys.privateKey };
    const der = await issueHostCertificate(issuer, hostOf(), testKeyPair().publicKey, testValidity);
    verifyHostCertificate(der, impostor, at);
    assert.throws(() => verifyHostCertificate(der, authority.root, at), refused('bad-signature'));
  });

  it('PEM texts go both ways, and one certificate means one', () => {
    const { der } = authority.root;
    const pem = certificateToPem(der);
    assert.deepEqual(certificateFromPem(pem), der);
    assert.equal(certificatesFromPem(`text\n${pem}more\n${pem}`).length, 2);
    assert.throws(() => certificateFromPem(pem + pem), refused('malformed'));
    assert.throws(() => certificateFromPem('none'), refused('malformed'));
    assert.deepEqual(parseRootCertificate(pem).digest, authority.root.digest);
  });

  it('a certificate request proves possession of a P-256 key', async () => {
    const keys = testKeyPair();
    const der = await createCertificateRequest(keys);
    assert.ok((await verifyCertificateRequest(der)).equals(keys.publicKey));
    const forged = Uint8Array.from(der);
    forged.set(randomBytes(8), forged.length - 8);
    await assert.rejects(verifyCertificateRequest(forged), refused('bad-signature'));
    await assert.rejects(verifyCertificateRequest(Uint8Array.of(...der, 0)), refused('malformed'));
    await assert.rejects(verifyCertificateRequest(new Uint8Array(5)), refused('malformed'));
  });

  it('a request for a key on another curve is refused', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tvmmp-request-'));
    try {
      const args =
        'req -new -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -subj /CN=x -outform DER'.split(' ');
      const der = execFileSync('openssl', [...args, '-keyout', join(directory, 'key.pem')], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      await assert.rejects(verifyCertificateRequest(der), refused('wrong-usage'));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('openssl and GnuTLS accept the chains', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tvmmp-chain-'));
    try {
      const file = (name: string, der: Uint8Array): string => {
        writeFileSync(join(directory, name), certificateToPem(der));
        return join(directory, name);
      };
      const { publicKey } = testKeyPair();
      const root = file('root.pem', authority.root.der);
      const tls = await authority.migrationCertificate('host-a', publicKey, ['10.0.0.1']);
      const agent = await authority.agentCertificate('host-a', publicKey);
      const ak = await authority.hostCertificate(hostOf(), publicKey);
      const time = ['-attime', String(at.getTime() / 1000)];
      const openssl = (name: string, der: Uint8Array, ...args: string[]): string =>
        execFileSync('openssl', [
          'verify',
          '-x509_strict',
          ...time,
          '-CAfile',
          root,
          ...args,
          file(name, der),
        ]).toString();
      for (const purpose of ['sslserver', 'sslclient']) {
        assert.match(openssl('tls.pem', tls, '-purpose', purpose, '-verify_hostname', 'host-a'), /OK/);
        assert.match(openssl('agent.pem', agent, '-purpose', purpose), /OK/);
      }
      assert.match(openssl('signer.pem', authority.policySigner), /OK/);
      assert.match(openssl('ak.pem', ak, '-ignore_critical'), /OK/);
      assert.throws(() => openssl('other.pem', tls, '-verify_hostname', 'host-b'));
      const gnutls = execFileSync(
        'certtool',
        [
          '--verify',
          '--load-ca-certificate',
          root,
          '--verify-hostname',
          'host-a',
          '--verify-purpose',
          '1.3.6.1.5.5.7.3.1',
        ],
        { input: certificateToPem(tls) },
      );
      assert.match(gnutls.toString(), /Chain verification output: Verified/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('host names', () => {
  it('are lower-case DNS labels, and no IPv4 address', () => {
    for (const name of ['a', 'host-a', 'h1.example.org', '1.example', 'x'.repeat(63)])
      assert.ok(isHostName(name), name);
    const bad = [
      '',
      'A',
      'a_b',
      '-a',
      'a-',
      'a..b',
      '.a',
      'a.',
      '10.0.0.1',
      'x'.repeat(64),
      'é',
      'a b',
      'a\n',
      `${'a.'.repeat(130)}a`,
    ];
    for (const name of bad) assert.ok(!isHostName(name), name);
  });
});
