/** Checkpoints on real hosts: a VM with a long life comes to a host that never saw it, with a proof of bounded size. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { statSync } from 'node:fs';
import { limits } from '../../lib/limits.ts';
import { withLab } from '../support/product-lab.ts';
import type { Guest, ProductLab } from '../support/product-lab.ts';

interface Verified {
  readonly outcome: string;
  readonly from: { readonly kind: string; readonly host?: string };
  readonly entries: readonly { readonly kind: string; readonly host: string; readonly beside: boolean }[];
}

describe('a VM with a long life', function () {
  this.timeout(400_000);
  let lab: ProductLab;
  let guest: Guest;
  let root: string;

  withLab({ hosts: ['alpha', 'beta', 'gamma'] }, async (fresh) => {
    lab = fresh;
    guest = await lab.guest('alpha', 'guest');
    root = join(lab.hostDirectory('alpha'), 'fs/etc-tvmmp/authority.pem');
  });

  /** Pauses and resumes until the proof has so many entries. */
  async function live(host: string, entries: number): Promise<void> {
    await lab.eventually(`${entries} entries`, async () => {
      await lab.on(
        host,
        'bash',
        '-c',
        `for n in {1..10}; do virsh -q suspend ${guest.name}; sleep 0.3; virsh -q resume ${guest.name}; sleep 0.3; done`,
      );
      return ((await lab.vm(host, guest))?.entries ?? 0) >= entries ? true : null;
    });
    await lab.state(host, guest, 'running');
  }

  async function exported(host: string): Promise<string> {
    const file = join(lab.directory, `part-${host}.tvmmp-proof`);
    await lab.on(host, 'tvmmp', 'proof', 'export', guest.uuid, '-o', file);
    return file;
  }

  async function verified(file: string, ...options: readonly string[]): Promise<Verified> {
    const result = await lab.exec(
      'alpha',
      'tvmmp',
      'proof',
      'verify',
      file,
      '--authority',
      root,
      '--json',
      ...options,
    );
    assert.equal(result.status, 0, result.stderr);
    return JSON.parse(result.stdout) as Verified;
  }

  const checkpoints = ({ entries }: Verified): readonly string[] =>
    entries.filter(({ kind }) => kind === 'checkpoint').map(({ host }) => host);

  it('takes its whole proof along while no other host has summarised it', async () => {
    await live('alpha', limits.checkpointEntries + 2);
    await lab.moved('alpha', 'beta', guest);
    const report = await verified(await exported('beta'), '--from-birth');
    assert.deepEqual([report.from, checkpoints(report)], [{ kind: 'birth' }, ['alpha']]);
  });

  it('comes back with a proof from the checkpoint on, and is recognised', async () => {
    const before = statSync(await exported('beta')).size;
    await lab.moved('beta', 'alpha', guest);
    const report = await verified(await exported('alpha'), '--from-birth');
    assert.deepEqual(checkpoints(report), ['alpha', 'beta']);
    await lab.moved('alpha', 'gamma', guest);
    const file = await exported('gamma');
    assert.deepEqual((await verified(file)).from.kind, 'checkpoint');
    assert.deepEqual((await verified(file)).from.host, 'beta');
    assert.ok(statSync(file).size < before, `${statSync(file).size} bytes`);
  });

  it('says at a new host that it is verified from a checkpoint on, and refuses to call that the whole', async () => {
    const file = join(lab.directory, 'part-gamma.tvmmp-proof');
    const { stdout } = await lab.exec('gamma', 'tvmmp', 'proof', 'show', guest.name);
    assert.match(stdout, /^verified +from checkpoint by beta at /m);
    const birth = await lab.exec(
      'gamma',
      'tvmmp',
      'proof',
      'verify',
      file,
      '--authority',
      root,
      '--from-birth',
    );
    assert.equal(birth.status, 1);
    assert.match(birth.stderr, /checkpoint: it begins with a checkpoint/);
    const full = await lab.exec('gamma', 'tvmmp', 'proof', 'export', guest.name, '--full');
    assert.equal(full.status, 1);
    assert.match(full.stderr, /export from the hosts that held guest before/);
  });

  it('goes on living there: it starts, moves and survives a restart of the agent', async () => {
    await lab.restartAgent('gamma');
    await lab.halt('gamma', guest);
    await lab.boot('gamma', guest);
    await lab.endsWith('gamma', guest, 'arrived', 'stopped', 'started');
    await lab.moved('gamma', 'beta', guest);
    await lab.ticksOn('beta', guest);
    await lab.nothingLeft('gamma', guest);
  });

  it('is verified from birth when the parts of its hosts are put together', async () => {
    const parts = [await exported('alpha'), await exported('beta'), await exported('gamma')];
    const whole = join(lab.directory, 'whole.tvmmp-proof');
    await lab.on('alpha', 'tvmmp', 'proof', 'join', ...parts, '--authority', root, '-o', whole);
    const report = await verified(whole, '--from-birth');
    assert.equal(report.from.kind, 'birth');
    const { entries } = (await lab.vm('beta', guest)) ?? { entries: 0 };
    assert.equal(report.entries.filter(({ beside }) => !beside).length, entries);
    assert.deepEqual([...new Set(checkpoints(report))].sort(), ['alpha', 'beta', 'gamma']);
  });
});
