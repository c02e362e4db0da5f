import assert from 'node:assert/strict';
import { createPublicKey, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import Database from 'better-sqlite3';
import { initAuthority, openAuthority } from '../../../lib/authority/authority.ts';
import type { Authority } from '../../../lib/authority/authority.ts';
import { parseBundle } from '../../../lib/authority/bundle.ts';
import { enrolSession } from '../../../lib/authority/enrol-session.ts';
import { parseMessage } from '../../../lib/authority/enrolment-messages.ts';
import { loadEndorsementTrust } from '../../../lib/authority/endorsement.ts';
import {
  installPolicy,
  installRevocations,
  readRevocations,
  trustOf,
  writeHostDirectories,
} from '../../../lib/authority/host-directory.ts';
import type { HostCredentials } from '../../../lib/authority/host-directory.ts';
import {
  currentRevocations,
  recordEnrolment,
  reinstateHost,
  revokeHost,
} from '../../../lib/authority/revocations.ts';
import { decodeRevocations } from '../../../lib/appraisal/revocation.ts';
import { LineChannel } from '../../../lib/authority/line-channel.ts';
import type { Enrolment } from '../../../lib/authority/registry.ts';
import { certificateToPem } from '../../../lib/certificates/pem.ts';
import { limits } from '../../../lib/limits.ts';
import { failsWith as failed } from '../../support/failures.ts';
import { testKeyPair } from '../../support/test-authority.ts';
import { policyText } from './policy-fixture.ts';

const tpmName = (): Uint8Array => Uint8Array.from([0, 11, ...randomBytes(32)]);
const enrolmentOf = (name: string, ekName: Uint8Array = tpmName()): Enrolment => ({
  name,
  ekName,
  akName: tpmName(),
  receiveKeyName: tpmName(),
  ekCertificate: randomBytes(8),
  akCertificate: randomBytes(8),
  agentCertificate: randomBytes(8),
  migrationCertificate: randomBytes(8),
  vtpmCa: null,
  platformCertificate: null,
  time: 1,
});

/** What a host gets at its enrolment, with certificates that nobody looks at. */
function credentialsOf(authority: Authority, revocations: string | null = null): HostCredentials {
  const keys = testKeyPair().privateKey;
  const { der } = authority.root;
  return {
    name: 'host',
    root: authority.root,
    policySigner: authority.signerCertificate,
    policy: null,
    revocations,
    vtpmIssuers: null,
    akCertificate: der,
    agentCertificate: der,
    agentKey: keys,
    migrationCertificate: der,
    migrationKey: keys,
  };
}

describe("an authority's directory", () => {
  let directory: string;
  let authority: Authority;
  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-authority-'));
    authority = await initAuthority(join(directory, 'a'), { name: 'Example' });
  });
  after(() => {
    authority.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('is for its owner alone, and holds keys that only they can read', () => {
    assert.equal(statSync(join(directory, 'a')).mode & 0o777, 0o700);
    for (const key of ['root-key.pem', 'policy-key.pem', 'vtpm-root-key.pem']) {
      assert.equal(statSync(join(directory, 'a', key)).mode & 0o777, 0o600);
    }
  });

  it('is not made over another one, nor with a name that does not fit', async () => {
    await assert.rejects(
      initAuthority(join(directory, 'a'), { name: 'Example' }),
      failed('authority-invalid'),
    );
    await assert.rejects(initAuthority(join(directory, 'b'), { name: 'x\n' }), failed('authority-invalid'));
    assert.deepEqual(readdirSync(directory), ['a'], 'nothing is left behind');
  });

  it('gives out a bundle that a host can check, and that a changed one fails', () => {
    const text = authority.publicBundle();
    const now = new Date();
    const bundle = parseBundle(text, now);
    assert.deepEqual(bundle.root.digest, authority.root.digest);
    assert.deepEqual(bundle.signer.spki, authority.signer.spki);
    assert.ok(!text.includes('PRIVATE'));
    assert.throws(
      () => parseBundle(text.replace('"format"', '"x":1,"format"'), now),
      failed('authority-invalid'),
    );
    assert.throws(() => parseBundle('{', now), failed('authority-invalid'));
    assert.throws(() => parseBundle(text, new Date('2200-01-01')), failed('certificate-invalid', 'expired'));
  });

  it('refuses the signer of another authority in a bundle', async () => {
    const other = await initAuthority(join(directory, 'c'), { name: 'Other' });
    const mixed = {
      ...(JSON.parse(authority.publicBundle()) as object),
      root: certificateToPem(other.root.der),
    };
    other.close();
    const parse = (): unknown => parseBundle(JSON.stringify(mixed), new Date());
    assert.throws(parse, failed('certificate-invalid', 'wrong-issuer'));
  });

  it('signs policies of rising versions alone, each id for itself, and remembers the last one', () => {
    assert.equal(authority.currentPolicy(), null);
    const first = authority.signPolicyText(policyText(2));
    assert.equal(authority.currentPolicy(), first);
    assert.equal(authority.verifyPolicy(first, new Date()).version, 2);
    assert.throws(() => authority.signPolicyText(policyText(1)), failed('policy-invalid', 'rollback'));
    assert.throws(
      () => authority.signPolicyText(policyText(2)),
      failed('policy-invalid', 'version-conflict'),
    );
    assert.throws(() => authority.signPolicyText('{}'), failed('policy-invalid', 'malformed'));
    assert.equal(authority.currentPolicy(), first);
    const other = authority.signPolicyText(policyText(1, 'lab'));
    assert.equal(authority.currentPolicy(), other);
    const again = openAuthority(join(directory, 'a'));
    assert.throws(() => again.signPolicyText(policyText(2)), failed('policy-invalid', 'version-conflict'));
    assert.equal(again.verifyPolicy(again.signPolicyText(policyText(3)), new Date()).version, 3);
    again.close();
  });

  it('with encrypted keys needs the passphrase to sign, and nothing to be read', async () => {
    const path = join(directory, 'd');
    (await initAuthority(path, { name: 'Example', passphrase: 'correct horse' })).close();
    assert.match(readFileSync(join(path, 'root-key.pem'), 'utf8'), /ENCRYPTED PRIVATE KEY/);
    for (const options of [{}, { passphrase: 'wrong' }]) {
      const opened = openAuthority(path, options);
      parseBundle(opened.publicBundle(), new Date());
      assert.throws(() => opened.signPolicyText(policyText(1)), failed('authority-invalid'));
      assert.throws(() => opened.issuer(), failed('authority-invalid'));
      opened.close();
    }
    const opened = openAuthority(path, { passphrase: 'correct horse' });
    opened.signPolicyText(policyText(1));
    opened.issuer();
    opened.close();
  });

  it('whose key is not that of its certificate does not sign', async () => {
    const path = join(directory, 'e');
    (await initAuthority(path, { name: 'Example' })).close();
    const { privateKey } = testKeyPair();
    writeFileSync(join(path, 'policy-key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const opened = openAuthority(path);
    assert.throws(() => opened.signPolicyText(policyText(1)), failed('authority-invalid'));
    opened.close();
  });

  it('that is none cannot be opened', () => {
    assert.throws(() => openAuthority(join(directory, 'nowhere')), failed('authority-invalid'));
  });

  it('records one enrolment for each name and each TPM, even where the check at the request was passed', () => {
    const { registry } = authority;
    const first = enrolmentOf('one');
    registry.enrol(first, { replace: false });
    const again = (enrolment: Enrolment) => () => {
      registry.enrol(enrolment, { replace: false });
    };
    assert.throws(again(enrolmentOf('one')), failed('enrolment-refused', 'already-enrolled'));
    assert.throws(again(enrolmentOf('two', first.ekName)), failed('enrolment-refused', 'already-enrolled'));
    registry.enrol(enrolmentOf('two'), { replace: false });
    registry.enrol(enrolmentOf('one', authority.hosts()[1]?.ekName), { replace: true });
    assert.deepEqual(
      authority.hosts().map(({ name }) => name),
      ['one'],
    );
  });

  it('revokes every key that a name ever had, in lists of rising versions, and takes it back', () => {
    const now = new Date('2026-06-02T00:00:00.000Z');
    const terms = { since: new Date('2026-06-01T00:00:00.000Z'), reason: 'stolen' };
    assert.equal(currentRevocations(authority), null);
    const revoke = (host: string, change: Partial<typeof terms> = {}): string =>
      revokeHost(authority, host, { ...terms, ...change }, now);
    const [first, second] = [enrolmentOf('old'), enrolmentOf('old')];
    recordEnrolment(authority, first, { replace: false });
    const envelope = revoke('old');
    assert.equal(currentRevocations(authority), envelope);
    const list = decodeRevocations(envelope);
    assert.equal(list.version, 1);
    assert.deepEqual(list.hosts, [{ host: 'old', akName: Uint8Array.from(first.akName), ...terms }]);
    assert.throws(() => revoke('old'), failed('usage-invalid'));
    assert.throws(() => revoke('nobody'), failed('usage-invalid'));
    assert.throws(() => revoke('old', { reason: 'two\nlines' }), failed('usage-invalid'));
    assert.throws(() => revoke('old', { since: new Date(NaN) }), failed('usage-invalid'));
    const enrol = (enrolment: Enrolment) => () => {
      recordEnrolment(authority, enrolment, { replace: true });
    };
    assert.throws(enrol({ ...second, akName: first.akName }), failed('enrolment-refused', 'revoked'));
    enrol(second)();
    assert.equal(
      decodeRevocations(currentRevocations(authority) ?? '').version,
      2,
      'the key that ended is in it already',
    );
    assert.equal(decodeRevocations(revoke('old')).hosts.length, 2);
    const empty = decodeRevocations(reinstateHost(authority, 'old', now));
    assert.deepEqual([empty.version, empty.hosts], [4, []]);
    assert.throws(() => reinstateHost(authority, 'old', now), failed('usage-invalid'));
    assert.equal(decodeRevocations(revoke('old')).hosts.length, 2, 'both keys in one list');
    reinstateHost(authority, 'old', now);
  });

  it('revokes the keys that another enrolment replaces by others, and those alone', () => {
    const first = { ...enrolmentOf('machine'), time: 5_000 };
    recordEnrolment(authority, first, { replace: false });
    const before = currentRevocations(authority);
    recordEnrolment(authority, { ...first, time: 6_000 }, { replace: true });
    assert.equal(currentRevocations(authority), before, 'the same key goes on');
    recordEnrolment(authority, { ...enrolmentOf('machine'), time: 7_000 }, { replace: true });
    const { hosts } = decodeRevocations(currentRevocations(authority) ?? '');
    assert.deepEqual(
      hosts.map(({ host, akName, since }) => [host, akName, since.getTime()]),
      [['machine', Uint8Array.from(first.akName), 7_000]],
    );
    assert.equal(authority.hosts().filter(({ name }) => name === 'machine').length, 1);
  });

  it('takes a renewal for what it is only where name and keys are those of the enrolment', () => {
    const { registry } = authority;
    const first = enrolmentOf('renewing');
    assert.throws(
      () => {
        registry.assertRenewal(first);
      },
      failed('enrolment-refused', 'not-a-renewal'),
    );
    registry.enrol(first, { replace: false });
    registry.enrol(enrolmentOf('bystander'), { replace: false });
    registry.assertRenewal(first);
    for (const change of [
      { name: 'other' },
      { name: 'bystander' },
      { ekName: tpmName() },
      { akName: tpmName() },
      { receiveKeyName: tpmName() },
    ])
      assert.throws(
        () => {
          registry.assertRenewal({ ...first, ...change });
        },
        failed('enrolment-refused', 'not-a-renewal'),
      );
  });

  it('without its policy key revokes nobody', async () => {
    const path = join(directory, 'f');
    (await initAuthority(path, { name: 'Example', passphrase: 'correct horse' })).close();
    const opened = openAuthority(path);
    opened.registry.enrol(enrolmentOf('one'), { replace: false });
    const terms = { since: new Date(0), reason: 'x' };
    assert.throws(() => revokeHost(opened, 'one', terms, new Date(0)), failed('authority-invalid'));
    assert.deepEqual(opened.registry.revocations.all(), [], 'all or nothing');
    opened.close();
  });

  it('of the first version of the register goes on', async () => {
    const path = join(directory, 'g');
    (await initAuthority(path, { name: 'Example' })).close();
    const register = new Database(join(path, 'registry.sqlite'));
    register.exec(
      'DROP TABLE revocation; DROP TABLE revocation_list; DROP TABLE rescue; ALTER TABLE enrolment DROP COLUMN vtpmCa; ' +
        'ALTER TABLE enrolment DROP COLUMN platformCertificate; PRAGMA user_version = 1',
    );
    register.close();
    const opened = openAuthority(path);
    opened.registry.enrol(enrolmentOf('one'), { replace: false });
    revokeHost(opened, 'one', { since: new Date(0), reason: 'x' }, new Date(0));
    opened.close();
    const again = openAuthority(path);
    assert.equal(again.registry.revocations.all().length, 1);
    assert.equal(again.hosts()[0]?.vtpmCa, null);
    again.registry.enrol({ ...enrolmentOf('two'), vtpmCa: randomBytes(8) }, { replace: false });
    assert.equal(again.hosts()[1]?.vtpmCa?.byteLength, 8);
    assert.equal(again.hosts()[1]?.platformCertificate, null);
    again.close();
  });

  it('of a register that knows no rescues goes on', async () => {
    const path = join(directory, 'rescues');
    (await initAuthority(path, { name: 'Example' })).close();
    const register = new Database(join(path, 'registry.sqlite'));
    register.exec(
      'DROP TABLE rescue; ALTER TABLE enrolment DROP COLUMN platformCertificate; PRAGMA user_version = 3',
    );
    register.close();
    const { registry } = openAuthority(path);
    const about = { vm: '6b1a6f4e-0f1d-4c64-9d0a-3f5b8c1e2a77', birth: tpmName(), epoch: 2 };
    assert.equal(registry.rescues.of(about.vm, about.birth, 2), null);
    const to = { toAk: tpmName(), toName: 'two', statement: '{}', time: 1 };
    registry.rescues.add({ ...about, head: tpmName(), ...to });
    assert.equal(registry.rescues.of(about.vm, about.birth, 2)?.toName, 'two');
    assert.equal(registry.rescues.of(about.vm, about.birth, 1), null);
    registry.close();
  });

  it('has a root of vTPMs of its own, which one that is older gets when it is asked for first, and then keeps', async () => {
    const path = join(directory, 'vtpm');
    const passphrase = 'correct horse';
    const made = await initAuthority(path, { name: 'Example', passphrase });
    const first = made.vtpmRoot();
    assert.ok(first !== null && !first.certificate.publicKey.equals(made.root.publicKey));
    assert.deepEqual((await made.vtpmIssuer()).certificate.der, first.certificate.der);
    made.close();
    for (const file of ['vtpm-root.pem', 'vtpm-root-voucher.pem', 'vtpm-root-key.pem'])
      rmSync(join(path, file));
    const locked = openAuthority(path);
    assert.equal(locked.vtpmRoot(), null);
    await assert.rejects(locked.vtpmIssuer(), failed('authority-invalid'));
    assert.equal(locked.vtpmRoot(), null, 'nothing is left behind');
    locked.close();
    const opened = openAuthority(path, { passphrase });
    const { certificate, privateKey } = await opened.vtpmIssuer();
    assert.ok(createPublicKey(privateKey).equals(certificate.publicKey));
    assert.match(readFileSync(join(path, 'vtpm-root-key.pem'), 'utf8'), /ENCRYPTED PRIVATE KEY/);
    assert.deepEqual((await opened.vtpmIssuer()).certificate.der, certificate.der);
    opened.close();
    // A root that the authority does not vouch for is not used.
    writeFileSync(join(path, 'vtpm-root.pem'), certificateToPem(first.certificate.der));
    const changed = openAuthority(path, { passphrase });
    assert.throws(() => changed.vtpmRoot(), failed('certificate-invalid', 'wrong-issuer'));
    changed.close();
  });

  it('enrols only hosts with a proper name and addresses, by roots that can be read', async () => {
    const run = (hostName: string, addresses: string[], ekRoots: string): Promise<void> =>
      enrolSession(authority, new PassThrough(), new PassThrough(), { hostName, addresses, ekRoots });
    await assert.rejects(run('Not A Name', [], directory), failed('usage-invalid'));
    await assert.rejects(run('host', ['10.0.0.256'], directory), failed('usage-invalid'));
    await assert.rejects(run('host', [], join(directory, 'nowhere')), failed('config-invalid'));
    const empty = join(directory, 'empty');
    mkdirSync(empty);
    await assert.rejects(run('host', [], empty), failed('config-invalid'));
    writeFileSync(
      join(empty, 'broken.pem'),
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
    );
    assert.throws(() => loadEndorsementTrust(empty), failed('config-invalid'));
  });

  it('tells the host why it refuses, and no more than one line of it', async () => {
    const roots = join(directory, 'roots');
    mkdirSync(roots);
    writeFileSync(join(roots, 'root.pem'), certificateToPem(authority.root.der));
    const [input, output] = [new PassThrough(), new PassThrough()];
    input.write('{"type":"hello"}\n');
    const session = enrolSession(authority, input, output, {
      hostName: 'host',
      addresses: [],
      ekRoots: roots,
    });
    await assert.rejects(session, failed('enrolment-refused', 'malformed'));
    const reply = parseMessage(String(output.read()).trimEnd());
    assert.equal(reply.type, 'refused');
  });
});

describe("a host's policy", () => {
  it('is replaced by a later version of its authority alone', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tvmmp-host-'));
    const authority = await initAuthority(join(directory, 'a'), { name: 'One' });
    const other = await initAuthority(join(directory, 'b'), { name: 'Two' });
    try {
      const identity = join(directory, 'host');
      const directories = { identity, migrationTls: join(identity, 'tls') };
      writeHostDirectories(directories, credentialsOf(authority), new Date());
      const now = new Date();
      const [first, second] = [1, 2].map((version) => authority.signPolicyText(policyText(version)));
      assert.ok(first !== undefined && second !== undefined);
      assert.equal(installPolicy(identity, first, now).version, 1);
      assert.equal(installPolicy(identity, second, now).version, 2);
      assert.equal(installPolicy(identity, second, now).version, 2);
      assert.throws(() => installPolicy(identity, first, now), failed('policy-invalid', 'rollback'));
      const foreign = other.signPolicyText(policyText(3));
      assert.throws(() => installPolicy(identity, foreign, now), failed('policy-invalid', 'bad-signature'));
      assert.equal(readFileSync(join(identity, 'policy.json'), 'utf8'), second);
      assert.throws(() => installPolicy(join(directory, 'nowhere'), second, now), failed('config-invalid'));
      assert.ok(!readdirSync(identity).some((name) => name.startsWith('.')), 'nothing is left behind');
    } finally {
      authority.close();
      other.close();
      rmSync(directory, { recursive: true });
    }
  });
});

describe("a host's revocation list", () => {
  it('is replaced by a later one of its authority alone, also at another enrolment', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tvmmp-host-'));
    const authority = await initAuthority(join(directory, 'a'), { name: 'One' });
    const other = await initAuthority(join(directory, 'b'), { name: 'Two' });
    try {
      const identity = join(directory, 'host');
      const directories = { identity, migrationTls: join(identity, 'tls') };
      const now = new Date();
      const enrolled = (from: Authority, revocations: string | null): void => {
        writeHostDirectories(directories, credentialsOf(from, revocations), now);
      };
      const revoked = (from: Authority, host: string): string => {
        from.registry.enrol(enrolmentOf(host), { replace: false });
        return revokeHost(from, host, { since: now, reason: 'x' }, now);
      };
      const inForce = (): number | undefined =>
        readRevocations(identity, trustOf(identity, now))?.list.version;
      enrolled(authority, null);
      assert.equal(inForce(), undefined);
      const [first, second] = [revoked(authority, 'one'), revoked(authority, 'two')];
      assert.equal(installRevocations(identity, second, now).version, 2);
      assert.throws(() => installRevocations(identity, first, now), failed('policy-invalid', 'rollback'));
      assert.throws(
        () => installRevocations(identity, revoked(other, 'three'), now),
        failed('policy-invalid', 'bad-signature'),
      );
      enrolled(authority, first);
      assert.equal(inForce(), 2, 'an older list that comes with an enrolment');
      enrolled(authority, null);
      assert.equal(inForce(), 2);
      enrolled(other, null);
      assert.equal(inForce(), undefined, 'the list of another authority says nothing here');
    } finally {
      authority.close();
      other.close();
      rmSync(directory, { recursive: true });
    }
  });
});

describe('lines over a pipe', () => {
  it('come out as they went in, however they were cut', async () => {
    const input = new PassThrough();
    const channel = new LineChannel(input, new PassThrough());
    input.write('on');
    setImmediate(() => input.end('e\ntwo\nthré\n'));
    assert.equal(await channel.receive(), 'one');
    assert.equal(await channel.receive(), 'two');
    assert.equal(await channel.receive(), 'thré');
    await assert.rejects(channel.receive(), failed('enrolment-refused', 'ended'));
  });

  it('that are too long, cut off, late or not UTF-8 are refused', async () => {
    const open = (): [PassThrough, LineChannel] => {
      const input = new PassThrough();
      return [input, new LineChannel(input, new PassThrough(), 20)];
    };
    const [long, longChannel] = open();
    const tooLong = assert.rejects(longChannel.receive(), failed('enrolment-refused', 'malformed'));
    long.write(Buffer.alloc(limits.enrolmentLineBytesMax + 1, 0x61));
    await tooLong;
    const [cut, cutChannel] = open();
    cut.end('half');
    await assert.rejects(cutChannel.receive(), failed('enrolment-refused', 'ended'));
    const [, silent] = open();
    await assert.rejects(silent.receive(), failed('enrolment-refused', 'timeout'));
    const [bytes, bytesChannel] = open();
    bytes.end(Uint8Array.of(0xff, 0x0a));
    await assert.rejects(bytesChannel.receive(), failed('enrolment-refused', 'malformed'));
  });

  it('that cannot be sent say that the other side is gone', async () => {
    const output = new PassThrough();
    const channel = new LineChannel(new PassThrough(), output);
    output.destroy(new Error('broken pipe'));
    await assert.rejects(channel.send('x'), failed('enrolment-refused', 'ended'));
  });
});
