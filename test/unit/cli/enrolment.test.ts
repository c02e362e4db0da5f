/** From a new authority to an enrolled host with a policy in force, by the commands that operators type, on a real swtpm. */
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { trimDer } from '../../../lib/bytes/der-value.ts';
import { certificateFromPem } from '../../../lib/certificates/pem.ts';
import type { Finding } from '../../../lib/cli/finding.ts';
import { makePlatformCertificate } from '../../support/platform-certificate.ts';
import { Swtpm, swtpmMissing } from '../../support/swtpm.ts';
import { cliCommand, json, tvmmp } from './run-cli.ts';
import type { CliRun } from './run-cli.ts';
import { skipWithout } from '../../support/skip.ts';

describe('from authority to enrolled host, by tvmmp', function () {
  this.timeout(240_000);
  let directory: string;
  let swtpm: Swtpm;
  let config: string;
  const path = (name: string): string => join(directory, name);
  const good = async (...args: string[]): Promise<CliRun> => {
    const run = await tvmmp(args);
    assert.equal(run.code, 0, `${args.join(' ')}: ${run.stderr}`);
    return run;
  };
  const onHost = (...args: string[]): Promise<CliRun> => tvmmp([...args, '--config', config]);
  const via = (name: string, more = ''): string =>
    `${cliCommand} authority enroll ${path('authority')} --name ${name} --address 192.0.2.1 --ek-roots ${path('roots')} ` +
    `--passphrase-file ${path('passphrase')} ${more}`;

  /** Findings by their checks; the doctor's exit code and summary agree with them. */
  const doctor = async (): Promise<ReadonlyMap<string, Finding>> => {
    const run = await onHost('doctor', '--json');
    const { healthy, findings } = json(run) as { healthy: boolean; findings: Finding[] };
    const bad = findings.filter(({ outcome }) => outcome === 'bad').map(({ check }) => check);
    assert.deepEqual([run.code, healthy], bad.length === 0 ? [0, true] : [1, false]);
    if (bad.length > 0) assert.match(run.stderr, new RegExp(`not well: ${bad.join(', ')} `));
    assert.deepEqual(
      findings.filter(({ outcome, remedy }) => (outcome === 'good') !== (remedy === '')),
      [],
    );
    return new Map(findings.map((finding) => [finding.check, finding]));
  };

  before(async function () {
    skipWithout(this, swtpmMissing());
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-enrol-'));
    swtpm = await Swtpm.start({ manufacture: true });
    mkdirSync(path('roots'));
    for (const name of readdirSync(join(swtpm.directory, 'ca')).filter((file) => file.endsWith('cert.pem')))
      cpSync(join(swtpm.directory, 'ca', name), path(`roots/${name}`));
    writeFileSync(path('passphrase'), 'correct horse\n', { mode: 0o600 });
    config = path('tvmmpd.json');
    const directories = {
      identity: path('etc'),
      run: path('run'),
      state: path('state'),
      migrationTls: path('etc/tls'),
    };
    writeFileSync(config, JSON.stringify({ name: 'alpha', tpm: { tcti: swtpm.tcti }, directories }));
  });
  after(async () => {
    await (swtpm as Swtpm | undefined)?.close();
    if ((directory as string | undefined) !== undefined) rmSync(directory, { recursive: true, force: true });
  });

  it('makes an authority, once', async () => {
    const passphrase = ['--passphrase-file', path('passphrase')];
    const made = json(
      await good('authority', 'init', path('authority'), '--name', 'Test', '--json', ...passphrase),
    );
    assert.match(String(made['rootDigest']), /^[0-9a-f]{64}$/);
    assert.match(readFileSync(path('authority/root-key.pem'), 'utf8'), /BEGIN ENCRYPTED PRIVATE KEY/);
    const again = await tvmmp(['authority', 'init', path('authority')]);
    assert.equal(again.code, 2);
    assert.match(again.stderr, /is not empty \(authority-invalid\)/);
    const bundle = await good('authority', 'bundle', path('authority'));
    writeFileSync(path('bundle.json'), bundle.stdout);
  });

  it('does not enrol a host that has no keys yet', async () => {
    const run = await onHost('host', 'enroll', '--bundle', path('bundle.json'), '--via', via('alpha'));
    assert.equal(run.code, 3);
    assert.match(run.stderr, /run tvmmp host init first \(tpm-not-provisioned\)/);
    const status = await onHost('host', 'status', '--json');
    assert.equal(status.code, 1);
    const parts = json(status)['parts'] as { part: string; ok: boolean }[];
    assert.deepEqual(parts.map(({ part, ok }) => [part, ok]).slice(0, 5), [
      ['TPM', true],
      ['enrolment', false],
      ['policy', false],
      ['revocation', false],
      ['platform state', false],
    ]);
  });

  it('makes the keys of a host, and keeps them when asked again', async () => {
    const init = ['host', 'init', '--bundle', path('bundle.json'), '--json'];
    const first = json(await onHost(...init));
    const second = json(await onHost(...init));
    assert.deepEqual(
      [first['created'], second['created']],
      [['srk', 'ak', 'receive-key', 'vtpm-ca-key'], []],
    );
    assert.equal(first['akName'], second['akName']);
  });

  it('assembles, checks and signs a policy from the measured state', async () => {
    const measured = await onHost('host', 'measure', '--pcrs', '0-7', '--name', 'as shipped', '--json');
    assert.equal(measured.code, 0, measured.stderr);
    writeFileSync(path('state.json'), measured.stdout);
    const draft = [
      '--id',
      'fleet',
      '--pcrs',
      '0,4,7',
      '--state',
      path('state.json'),
      '-o',
      path('draft.json'),
    ];
    await good('policy', 'new', '--version', '1', ...draft);
    const checked = json(await good('policy', 'check', path('draft.json'), '--json'));
    assert.deepEqual(checked, {
      id: 'fleet',
      version: 1,
      pcrs: [0, 4, 7],
      states: ['as shipped'],
      forward: null,
      backward: null,
    });
    const recorded = await onHost('host', 'measure', '--record', path('recorded'), '--name', 'kept');
    assert.equal(recorded.code, 0, recorded.stderr);
    const tried = await good('policy', 'test', path('draft.json'), '--recorded', path('recorded'));
    assert.equal(tried.stdout, 'pass  kept: pcr-state: state as shipped\n');
    const ruled = { ...(JSON.parse(readFileSync(path('draft.json'), 'utf8')) as object), version: 9 };
    const forward = { attributes: 'region == "eu" and level >= 2', versions: { qemu: '7.2' } };
    writeFileSync(path('ruled.json'), JSON.stringify({ ...ruled, forward }));
    const told = await good('policy', 'check', path('ruled.json'));
    assert.match(
      told.stdout,
      /^forward \(to receive a VM\): region == "eu" and level >= 2; qemu 7\.2 or later$/m,
    );
    const differ = await good('policy', 'diff', path('draft.json'), path('ruled.json'));
    assert.match(differ.stdout, /^version {2}1 -> 9$/m);
    assert.match(differ.stdout, /^forward {2}nothing -> region == "eu" and level >= 2; qemu 7\.2 or later$/m);
    writeFileSync(path('wrong.json'), JSON.stringify({ ...ruled, forward: { attributes: 'region = "eu"' } }));
    const wrong = await tvmmp(['policy', 'check', path('wrong.json')]);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /the condition cannot be read: at character 7 of the condition/);
    const sign = ['policy', 'sign', path('authority'), path('draft.json')];
    const without = await tvmmp(sign);
    assert.equal(without.code, 2);
    await good(...sign, '--passphrase-file', path('passphrase'), '-o', path('policy-1.json'));
    const twice = await tvmmp([...sign, '--passphrase-file', path('passphrase')]);
    assert.equal(twice.code, 1);
    assert.match(twice.stderr, /the next one is 2 \(policy-invalid\)/);
  });

  it('refuses a draft that lacks a PCR, or that is none', async () => {
    const draft = [
      'policy',
      'new',
      '--id',
      'x',
      '--version',
      '1',
      '--pcrs',
      '0-9',
      '--state',
      path('state.json'),
    ];
    const short = await tvmmp(draft);
    assert.equal(short.code, 2);
    assert.match(short.stderr, /has no PCR 8; measure it again with --pcrs 0,1,2,3,4,5,6,7,8,9/);
    writeFileSync(path('none.json'), '{}');
    assert.equal((await tvmmp(['policy', 'check', path('none.json')])).code, 2);
    assert.equal((await tvmmp(['policy', 'show', path('none.json')])).code, 2);
  });

  it('enrols the host through a command, with certificates, keys and policy on disk', async () => {
    const run = await onHost('host', 'enroll', '--via', via('alpha'), '--json');
    assert.equal(run.code, 0, run.stderr);
    assert.deepEqual(json(run), { name: 'alpha', identity: path('etc') });
    assert.match(run.stderr, /^tvmmp: alpha is enrolled$/m);
    assert.equal(statSync(path('etc/agent-key.pem')).mode & 0o777, 0o600);
    const parts = json(await onHost('host', 'status', '--json'))['parts'] as { ok: boolean; text: string }[];
    assert.deepEqual(
      parts.slice(0, 6).map(({ ok }) => ok),
      [true, true, true, true, true, true],
    );
    assert.equal(parts[4]?.text, 'approved as as shipped');
    const listed = json(await good('authority', 'list', path('authority'), '--json'));
    assert.deepEqual(
      (listed['hosts'] as { name: string }[]).map(({ name }) => name),
      ['alpha'],
    );
  });

  it('shows a platform certificate from the TPM, and the authority lists the machine', async () => {
    const index = '0x01c08000';
    const shows = (more: string): Promise<CliRun> =>
      onHost('host', 'enroll', '--platform-certificate', 'nv', '--via', via('alpha', `--renew ${more}`));
    mkdirSync(path('machines'));
    const [key, pem] = [path('maker.key'), path('machines/maker.pem')];
    execFileSync('openssl', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key]);
    const usage = ['-addext', 'keyUsage=critical,keyCertSign,digitalSignature'];
    execFileSync('openssl', [
      'req',
      '-x509',
      '-new',
      '-key',
      key,
      '-subj',
      '/CN=Maker',
      ...usage,
      '-out',
      pem,
    ]);
    const roots = `--platform-roots ${path('machines')} --platform-attributes`;
    const holds = (bytes: Uint8Array): void => {
      swtpm.tryTool('nvundefine', index, '-C', 'p');
      const attributes = 'ppwrite|ppread|ownerread|authread|platformcreate';
      swtpm.tool('nvdefine', index, '-C', 'p', '-s', String(bytes.byteLength), '-a', attributes);
      writeFileSync(path('held.der'), bytes);
      swtpm.tool('nvwrite', index, '-C', 'p', '-i', path('held.der'));
    };
    swtpm.tool('nvread', '0x01c00016', '-C', 'o', '-o', path('ek.der'));
    const ekCertificate = trimDer(Uint8Array.from(readFileSync(path('ek.der'))));
    holds(ekCertificate);
    const other = await shows(roots);
    assert.equal(other.code, 1, other.stderr);
    assert.match(
      other.stderr,
      /the platform certificate is not accepted: the platform certificate cannot be read/,
    );
    const made = makePlatformCertificate({
      ekCertificate,
      signer: certificateFromPem(readFileSync(pem, 'utf8')),
      key: createPrivateKey(readFileSync(key)),
    });
    holds(Buffer.concat([made, Buffer.alloc(40, 0xff)]));
    const run = await shows(roots);
    assert.equal(run.code, 0, run.stderr);
    const { hosts } = json(await good('authority', 'list', path('authority'), '--json'));
    const [listed] = hosts as readonly { readonly platform: string; readonly attributes: string }[];
    assert.ok(listed !== undefined);
    assert.equal(listed.platform, 'Example Corp RackServer 9 (rev 2), serial SN-123');
    assert.match(listed.attributes, /platform_model=RackServer 9/);
  });

  it('passes the refusal of the authority on, and exits 1', async () => {
    const twice = await onHost('host', 'enroll', '--via', via('alpha'));
    assert.equal(twice.code, 1);
    assert.match(
      twice.stderr,
      /the authority refused the enrolment: this TPM is enrolled as alpha: say --renew for new certificates, or --replace/,
    );
    const other = await onHost('host', 'enroll', '--expect-name', 'beta', '--via', via('alpha', '--replace'));
    assert.equal(other.code, 1);
    assert.match(other.stderr, /the authority knows this host as alpha \(enrolment-refused\)/);
    const broken = await onHost('host', 'enroll', '--via', 'exit 7');
    assert.equal(broken.code, 3);
    assert.match(
      broken.stderr,
      /the command to the authority ended \(exit code 7\): exit 7 \(peer-unreachable\)/,
    );
  });

  it('installs a higher version of the policy where no agent runs, and refuses a lower one', async () => {
    const states = ['--state', path('state.json'), '-o', path('draft.json')];
    await good('policy', 'new', '--id', 'fleet', '--version', '2', ...states);
    const passphrase = ['--passphrase-file', path('passphrase')];
    await good(
      'policy',
      'sign',
      path('authority'),
      path('draft.json'),
      '-o',
      path('policy-2.json'),
      ...passphrase,
    );
    const installed = json(await onHost('policy', 'install', path('policy-2.json'), '--json'));
    assert.deepEqual(installed, { id: 'fleet', version: 2, by: 'file' });
    const older = await onHost('policy', 'install', path('policy-1.json'));
    assert.equal(older.code, 1);
    assert.match(older.stderr, /\(policy-invalid\)$/m);
    const shown = json(await onHost('policy', 'show', '--json'));
    assert.deepEqual([shown['version'], shown['signature']], [2, "good, of this host's authority"]);
  });

  it('renews the certificates of a host under the same keys, for as long as is said', async () => {
    const before = readFileSync(path('etc/ak.pem'), 'utf8');
    const attributes = '--attribute region=eu --attribute level=2';
    const run = await onHost('host', 'enroll', '--via', via('alpha', `--renew --days 30 ${attributes}`));
    assert.equal(run.code, 0, run.stderr);
    assert.notEqual(readFileSync(path('etc/ak.pem'), 'utf8'), before);
    const listed = json(await good('authority', 'list', path('authority'), '--json'));
    const [host] = listed['hosts'] as { time: number; expires: number; revoked: null }[];
    assert.ok(host !== undefined && host.expires - host.time <= 30 * 86_400_000);
    assert.equal(host.revoked, null);
    const shown = await onHost('host', 'status');
    assert.match(shown.stdout, /^enrolment .* attributes level=2 region=eu$/m);
    const bad = await onHost('host', 'enroll', '--via', via('alpha', '--renew --attribute Region=eu'));
    assert.match(bad.stderr, /Region=eu is no attribute: names are like region/);
    const kept = await onHost('host', 'enroll', '--via', via('alpha', '--renew'));
    assert.equal(kept.code, 0, kept.stderr);
    const again = await good('authority', 'list', path('authority'));
    assert.match(again.stdout, /^alpha .* level=2 region=eu +- +-$/m);
    const other = await onHost('host', 'enroll', '--via', via('beta', '--renew'));
    assert.equal(other.code, 1);
    assert.match(other.stderr, /alpha is enrolled otherwise: a renewal keeps name and keys/);
  });

  it('revokes a host: the list is installed, shown, does not go back, and keeps the host out', async () => {
    const passphrase = ['--passphrase-file', path('passphrase')];
    const none = json(await onHost('revocation', 'show', '--json'));
    assert.deepEqual(none, { version: 0, hosts: [] });
    const revoke = ['authority', 'revoke', path('authority'), 'alpha', '--reason', 'stolen'];
    const nobody = await tvmmp(['authority', 'revoke', path('authority'), 'gamma', ...passphrase]);
    assert.deepEqual([nobody.code, /no host gamma was ever enrolled/.test(nobody.stderr)], [2, true]);
    const vague = await tvmmp([...revoke, '--since', '2026-06-01', ...passphrase]);
    assert.deepEqual([vague.code, /is no time such as/.test(vague.stderr)], [2, true]);
    await good(...revoke, '--since', '2026-06-01T00:00:00Z', '-o', path('list-1.json'), ...passphrase);
    const installed = json(await onHost('revocation', 'install', path('list-1.json'), '--json'));
    assert.deepEqual(installed, { version: 1, keys: 1, by: 'file' });
    const shown = await onHost('revocation', 'show');
    assert.match(shown.stdout, /signature: good, of this host's authority/);
    assert.match(shown.stdout, /^alpha +[0-9a-f]{8} +2026-06-01 00:00:00Z +stolen$/m);
    const parts = json(await onHost('host', 'status', '--json'))['parts'] as {
      part: string;
      ok: boolean;
      text: string;
    }[];
    const own = parts.find(({ part }) => part === 'revocation');
    assert.deepEqual([own?.ok, /revoked this host since .*: stolen/.test(own?.text ?? '')], [false, true]);
    for (const how of ['', '--renew', '--replace']) {
      const again = await onHost('host', 'enroll', '--via', via('alpha', how));
      assert.equal(again.code, 1, how);
      assert.match(again.stderr, /attestation key is revoked, as that of alpha: stolen/);
    }
    const listed = await good('authority', 'list', path('authority'));
    assert.match(listed.stdout, /^alpha .* REVOKED: stolen$/m);
    assert.match(listed.stdout, /^revocation list signed last: version 1, 1 keys$/m);
    await good(
      'authority',
      'reinstate',
      path('authority'),
      'alpha',
      '-o',
      path('list-2.json'),
      ...passphrase,
    );
    await onHost('revocation', 'install', path('list-2.json'));
    const older = await onHost('revocation', 'install', path('list-1.json'));
    assert.equal(older.code, 1);
    assert.match(older.stderr, /version 1 of the revocation list is below 2, in force \(policy-invalid\)$/m);
    const notOne = await onHost('revocation', 'install', path('policy-2.json'));
    assert.equal(notOne.code, 2);
    const renewed = await onHost('host', 'enroll', '--via', via('alpha', '--renew'));
    assert.equal(renewed.code, 0, renewed.stderr);
  });

  it('says which PCR differs when the host is in a state that nobody approved', async () => {
    swtpm.tool('pcrextend', `4:sha256=${'11'.repeat(32)}`);
    const parts = json(await onHost('host', 'status', '--json'))['parts'] as {
      part: string;
      ok: boolean;
      text: string;
    }[];
    const state = parts.find(({ part }) => part === 'platform state');
    assert.ok(state !== undefined && !state.ok);
    assert.match(state.text, /differs from every state of fleet version 2 \(from as shipped in PCR 4\)/);
  });

  it('is examined by the doctor: what is good, what is wrong, and how to mend it', async () => {
    const examined = await doctor();
    for (const check of [
      'tpm',
      'tpm-keys',
      'certified-keys',
      'policy',
      'revocation',
      'clock',
      'secret-files',
      'node',
    ])
      assert.equal(examined.get(check)?.outcome, 'good', check);
    assert.match(examined.get('platform-state')?.found ?? '', /in PCR 4\)/);
    assert.equal(examined.get('platform-state')?.outcome, 'bad');
    assert.equal(examined.get('agent')?.outcome, 'bad', 'none runs here');
    chmodSync(path('etc/agent-key.pem'), 0o644);
    const opened = (await doctor()).get('secret-files');
    assert.equal(opened?.outcome, 'bad');
    assert.match(opened.remedy, /^chmod 600 .*agent-key\.pem; who could read a key has it/);
    chmodSync(path('etc/agent-key.pem'), 0o600);
  });

  it('has a certificate that ends soon, which the doctor says', async () => {
    const run = await onHost('host', 'enroll', '--via', via('alpha', '--renew --days 7'));
    assert.equal(run.code, 0, run.stderr);
    const found = (await doctor()).get('ak-certificate');
    assert.equal(found?.outcome, 'warning');
    assert.match(found.remedy, /tvmmp host enroll with --renew/);
  });

  it('whose keys were evicted says so, and not a response code', async () => {
    swtpm.tool('evictcontrol', '-C', 'o', '-c', '0x81005401');
    const parts = json(await onHost('host', 'status', '--json'))['parts'] as { part: string; text: string }[];
    const enrolment = parts.find(({ part }) => part === 'enrolment')?.text ?? '';
    assert.match(
      enrolment,
      /^the TPM has no attestation key at 0x81005401: it was never made, or was evicted; run tvmmp host init/,
    );
    const examined = await doctor();
    assert.equal(examined.get('tpm-keys')?.outcome, 'bad');
    assert.match(examined.get('tpm-keys')?.found ?? '', /no attestation key at 0x81005401/);
    assert.match(examined.get('tpm-keys')?.remedy ?? '', /tvmmp host init/);
  });
});
