/** tvmmp hooks, in a hooks directory of the test's own. */
import { strict as assert } from 'node:assert';
import {
  chmodSync,
  existsSync,
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
import { nativePath } from '../../../lib/native/load.ts';
import { json, tvmmp } from './run-cli.ts';
import type { CliRun } from './run-cli.ts';
import { skipWithout } from '../../support/skip.ts';

interface Check {
  readonly name: string;
  readonly outcome: string;
}

describe('tvmmp hooks', function () {
  let hooks: string;
  let entry: string;
  before(function () {
    skipWithout(this, existsSync(nativePath('tvmmp-hook')) ? undefined : 'the hook client is not built');
  });
  beforeEach(() => {
    hooks = mkdtempSync(join(tmpdir(), 'tvmmp-hooks-'));
    entry = join(hooks, 'qemu.d', '50-tvmmp');
  });
  afterEach(() => {
    rmSync(hooks, { recursive: true, force: true });
  });

  const run = (command: string, ...args: string[]): Promise<CliRun> =>
    tvmmp(['hooks', command, '--hooks-dir', hooks, ...args]);
  const outcomes = (result: CliRun): Record<string, string> =>
    Object.fromEntries((json(result)['checks'] as Check[]).map(({ name, outcome }) => [name, outcome]));

  it('installs a copy of the client, executable, and nothing else', async () => {
    const result = await run('install', '--json');
    assert.equal(result.code, 0);
    assert.deepEqual(
      [json(result)['entry'], json(result)['changed'], json(result)['reloaded']],
      [entry, true, null],
    );
    assert.deepEqual(readFileSync(entry), readFileSync(nativePath('tvmmp-hook')));
    assert.equal(statSync(entry).mode & 0o7777, 0o755);
    assert.deepEqual([readdirSync(hooks), readdirSync(join(hooks, 'qemu.d'))], [['qemu.d'], ['50-tvmmp']]);
  });

  it('changes nothing where it is installed already', async () => {
    await run('install');
    const { ino, ctimeMs } = statSync(entry);
    assert.equal(json(await run('install', '--json'))['changed'], false);
    assert.deepEqual([statSync(entry).ino, statSync(entry).ctimeMs], [ino, ctimeMs]);
  });

  it('puts a wrong file right', async () => {
    mkdirSync(join(hooks, 'qemu.d'));
    writeFileSync(entry, 'old', { mode: 0o777 });
    assert.equal(json(await run('install', '--json'))['changed'], true);
    assert.deepEqual(readFileSync(entry), readFileSync(nativePath('tvmmp-hook')));
    chmodSync(entry, 0o644);
    assert.equal(json(await run('install', '--json'))['changed'], true);
    assert.equal(statSync(entry).mode & 0o7777, 0o755);
  });

  it("leaves the operator's own hooks alone", async () => {
    mkdirSync(join(hooks, 'qemu.d'));
    const others = [join(hooks, 'qemu'), join(hooks, 'qemu.d', '10-own'), join(hooks, 'qemu.d', '90-own')];
    for (const file of others) writeFileSync(file, '#!/bin/sh\n', { mode: 0o755 });
    await run('install');
    const later = json(await run('check', '--json'))['checks'] as (Check & { found: string })[];
    assert.match(later.find(({ name }) => name === 'order')?.found ?? '', /^90-own run after it$/);
    assert.equal(json(await run('remove', '--json'))['removed'], true);
    assert.equal(existsSync(entry), false);
    for (const file of others) assert.equal(readFileSync(file, 'utf8'), '#!/bin/sh\n');
    const again = await run('remove');
    assert.deepEqual([again.code, again.stdout], [0, `there was no ${entry}\n`]);
  });

  it('checks a good installation by running it', async () => {
    await run('install');
    const result = await run('check', '--json');
    assert.equal(result.code, 0, result.stderr);
    const { loaded, ...rest } = outcomes(result);
    // Whether a libvirtd runs on this machine is not the test's to say.
    assert.ok(loaded === 'pass' || loaded === 'unknown');
    const names = ['installed', 'executable', 'up-to-date', 'order', 'agent-paths', 'self-test'];
    assert.deepEqual(rest, Object.fromEntries(names.map((name) => [name, 'pass'])));
  });

  it('says what to do where it is missing, and exits 1', async () => {
    const result = await run('check');
    assert.equal(result.code, 1);
    assert.match(
      result.stderr,
      /^tvmmp: the hook is not in force: there is no .*50-tvmmp; run tvmmp hooks install \(refused\)\n$/,
    );
  });

  it('notices that it is not executable, another program, writable by others, or broken', async () => {
    await run('install');
    chmodSync(entry, 0o644);
    const plain = await run('check', '--json');
    assert.equal(plain.code, 1);
    assert.equal(outcomes(plain)['executable'], 'fail');
    chmodSync(entry, 0o757);
    assert.equal(outcomes(await run('check', '--json'))['executable'], 'fail');
    writeFileSync(entry, '#!/bin/sh\necho broken >&2\nexit 1\n');
    chmodSync(entry, 0o755);
    const broken = outcomes(await run('check', '--json'));
    assert.deepEqual([broken['up-to-date'], broken['self-test']], ['fail', 'fail']);
  });

  it('notices an agent that listens where the hook does not look', async () => {
    await run('install');
    const config = join(hooks, 'tvmmpd.json');
    writeFileSync(config, JSON.stringify({ directories: { run: '/run/elsewhere' } }));
    const result = await run('check', '--json', '--config', config);
    assert.equal(result.code, 1);
    assert.equal(outcomes(result)['agent-paths'], 'fail');
  });

  it('exits 2 where the directory cannot be written', async () => {
    writeFileSync(join(hooks, 'file'), '');
    const result = await tvmmp(['hooks', 'install', '--hooks-dir', join(hooks, 'file')]);
    assert.equal(result.code, 2);
    assert.match(result.stderr, /cannot install .*: .* \(usage-invalid\)\n$/);
  });
});
