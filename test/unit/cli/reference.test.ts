/** tvmmp reference: from recorded hosts and real packages to a signed policy that judges by them. */
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { initAuthority } from '../../../lib/authority/authority.ts';
import { BootEvidence, recordedNonce } from '../../support/boot-evidence.ts';
import { json, tvmmp } from './run-cli.ts';
import type { CliRun } from './run-cli.ts';

const boot = new BootEvidence('debian-secure-boot');
const sha256 = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;

describe('tvmmp reference', function () {
  this.timeout(120_000);
  let directory: string;
  let authority: string;
  const at = (name: string): string => join(directory, name);

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-reference-'));
    authority = at('authority');
    await initAuthority(authority, { name: 'test' });
    const { sha256: values } = JSON.parse(readFileSync(boot.file('pcrs.json'), 'utf8')) as { sha256: object };
    writeFileSync(at('state.json'), JSON.stringify({ name: 'alpha', pcrs: { sha256: values } }));
  });
  after(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  async function run(...args: readonly string[]): Promise<CliRun> {
    const found = await tvmmp(args);
    assert.deepEqual([found.code, found.stderr], [0, '']);
    return found;
  }

  const logs = ['--event-log', boot.file('event-log').pathname, '--ima', boot.file('ima').pathname];
  const appraise = (policy: string, ...changed: readonly string[]): Promise<CliRun> =>
    tvmmp([
      ...['evidence', 'appraise', '--policy', policy, '--ak', boot.file('ak.pem').pathname],
      ...[
        '--quote',
        boot.file('quote.attest').pathname,
        '--signature',
        boot.file('quote.signature').pathname,
      ],
      ...(changed.length > 0 ? changed : logs),
      ...['--nonce', Buffer.from(recordedNonce).toString('hex')],
    ]);

  it('takes a recorded host, and the policy that is filled in from it accepts its evidence', async () => {
    const taken = await run(
      ...['reference', 'capture', '--state', at('state.json'), ...logs],
      ...['--exclude', '/tmp/*', '-o', at('alpha.json')],
    );
    assert.match(taken.stdout, /^1 states, 7 rules about event logs, \d+ files: /);
    await run('reference', 'sign', authority, at('alpha.json'), '-o', at('alpha.signed.json'));
    const shown = json(await run('reference', 'show', at('alpha.signed.json'), '--json'));
    assert.deepEqual([shown['signed'], shown['states']], [true, ['alpha']]);
    await run(
      ...[
        'policy',
        'new',
        '--id',
        'fleet',
        '--version',
        '1',
        '--pcrs',
        '0,7',
        '--reference',
        at('alpha.json'),
      ],
      ...['--rules', 'secureBoot,keys,firmware,images,commandLines,bootFiles', '-o', at('draft.json')],
    );
    const signed = ['policy', 'sign', authority, at('draft.json')];
    await run(...signed, '--reference', at('alpha.signed.json'), '-o', at('policy.json'));
    const accepted = await appraise(at('policy.json'));
    assert.equal(accepted.code, 0, accepted.stdout);
  });

  it('refuses a file that is not among the reference values by its name, until the update is approved', async () => {
    const draft = ['policy', 'new', '--id', 'files', '--pcrs', '0,7', '--rules', 'ima'];
    const reference = JSON.parse(readFileSync(at('alpha.json'), 'utf8')) as { ima: { files: object } };
    const [missing = ''] = Object.keys(reference.ima.files).filter((name) => name.startsWith('/usr/'));
    const files = Object.fromEntries(
      Object.entries(reference.ima.files).filter(([name]) => name !== missing),
    );
    writeFileSync(at('short.json'), JSON.stringify({ ...reference, ima: { ...reference.ima, files } }));
    const allow = (file: string): void => {
      const policy = JSON.parse(readFileSync(file, 'utf8')) as { ima: object };
      writeFileSync(file, JSON.stringify({ ...policy, ima: { ...policy.ima, allowViolations: true } }));
    };
    await run(...draft, '--version', '1', '--reference', at('short.json'), '-o', at('before.json'));
    allow(at('before.json'));
    const refused = await appraise(at('before.json'));
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, new RegExp(`ima-files.*${missing} is not listed`));
    await run('reference', 'merge', at('short.json'), at('alpha.json'), '-o', at('both.json'));
    await run(...draft, '--version', '2', '--reference', at('both.json'), '-o', at('after.json'));
    allow(at('after.json'));
    assert.equal((await appraise(at('after.json'))).code, 0);
  });

  it('hashes the files of packages and trees, written as a host measures them', async () => {
    const tree = at('tree');
    for (const folder of ['DEBIAN', 'usr/bin', 'lib/x', 'usr/share/doc'])
      mkdirSync(join(tree, folder), { recursive: true });
    const control = [
      'Package: tried',
      'Version: 1:2-3',
      'Architecture: all',
      'Maintainer: t <t@example>',
      'Description: t',
      '',
    ];
    writeFileSync(join(tree, 'DEBIAN/control'), control.join('\n'));
    writeFileSync(join(tree, 'usr/bin/tried'), 'program');
    writeFileSync(join(tree, 'lib/x/tried.so'), 'library');
    writeFileSync(join(tree, 'usr/share/doc/readme'), 'text');
    symlinkSync('tried', join(tree, 'usr/bin/link'));
    execFileSync('dpkg-deb', ['--root-owner-group', '--build', tree, at('tried.deb')], { stdio: 'ignore' });
    rmSync(join(tree, 'DEBIAN'), { recursive: true });
    const files = { '/usr/bin/tried': [sha256('program')], '/usr/lib/x/tried.so': [sha256('library')] };
    for (const [path, name] of [
      [at('tried.deb'), 'tried 1:2-3 all'],
      [tree, 'tree'],
    ] as const) {
      const read = json(await run('reference', 'files', path, '--except', '/usr/share/**'));
      assert.deepEqual(read['ima'], { files });
      assert.equal((read['sources'] as { name: string }[])[0]?.name, name);
    }
    const only = json(
      await run('reference', 'files', tree, '--only', '/lib/**', '--split-usr', '--hash', 'sha512'),
    );
    const { files: found } = only['ima'] as { files: Record<string, string[]> };
    assert.deepEqual(Object.keys(found), ['/lib/x/tried.so']);
    assert.match(found['/lib/x/tried.so']?.[0] ?? '', /^sha512:[0-9a-f]{128}$/);
  });

  it('says what it cannot use: other logs, no package, values of another authority', async () => {
    writeFileSync(at('log'), boot.eventLogWithout(5));
    const other = await tvmmp([
      'reference',
      'capture',
      '--state',
      at('state.json'),
      '--event-log',
      at('log'),
    ]);
    assert.equal(other.code, 1);
    assert.match(other.stderr, /the event log does not lead to PCR \d+ \(policy-invalid\)/);
    const none = await tvmmp(['reference', 'files', at('state.json')]);
    assert.equal(none.code, 2);
    assert.match(none.stderr, /it is neither a directory nor a \.deb/);
    await initAuthority(at('foreign'), { name: 'foreign' });
    await run('reference', 'sign', at('foreign'), at('alpha.json'), '-o', at('foreign.json'));
    const foreign = await tvmmp([
      'policy',
      'sign',
      authority,
      at('draft.json'),
      '--reference',
      at('foreign.json'),
    ]);
    assert.equal(foreign.code, 1);
    assert.match(foreign.stderr, /no known policy key signed it/);
  });
});
