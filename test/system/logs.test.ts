/** Hosts that measured real boots, under a policy about Secure Boot, command line and files: who is another host is refused for it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BootEvidence } from '../support/boot-evidence.ts';
import { Booted } from '../support/booted.ts';
import { assertRefused, withLab } from '../support/product-lab.ts';
import type { Guest, ProductLab } from '../support/product-lab.ts';

const program = new URL('../../scripts/lab.d/bin/tvmmp', import.meta.url).pathname;
const recorded = new BootEvidence('debian-secure-boot');

describe('rules about logs', function () {
  this.timeout(240_000);
  let lab: ProductLab;
  let guest: Guest;
  let version = 100;

  withLab({}, async (fresh) => {
    lab = fresh;
    for (const host of ['alpha', 'beta']) await boots(host, new Booted());
    guest = await lab.guest('alpha', 'logged');
    await rule();
  });

  /** A host boots as recorded; its state is approved, and its agent runs again. */
  async function boots(host: string, { eventLog, ima }: Booted): Promise<void> {
    const directory = join(lab.directory, `boot-of-${host}`);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'event-log'), eventLog ?? '');
    writeFileSync(join(directory, 'ima'), ima ?? '');
    await lab.must('stop-agent', host);
    await lab.must('reboot', host, '--recorded', directory);
    await lab.must('start-agent', host);
    version += 1;
    await lab.must('approve', host, `state${version}`);
  }

  /** A policy of all approved states, with all rules that the good boot gives, in force on both hosts. */
  async function rule(): Promise<void> {
    const at = (name: string): string => join(lab.directory, name);
    const draft = JSON.parse(readFileSync(at('policy.draft.json'), 'utf8')) as object;
    const rules = { eventLog: recorded.eventLogRules(), ima: recorded.imaRules() };
    version += 1;
    writeFileSync(at('ruled.json'), JSON.stringify({ ...draft, version, ...rules }));
    const sign = ['policy', 'sign', at('authority'), at('ruled.json'), '-o', at('ruled-policy.json')];
    execFileSync(program, sign, { stdio: 'pipe' });
    for (const host of ['alpha', 'beta'])
      await lab.on(host, 'tvmmp', 'policy', 'install', at('ruled-policy.json'));
    writeFileSync(at('policy.version'), `${version}\n`);
  }

  /** Bytes of its logs that a host told last. */
  function told(host: string): unknown {
    const log = readFileSync(join(lab.hostDirectory(host), 'fs/var-log-tvmmp/tvmmpd.log'), 'utf8');
    const line = log
      .trimEnd()
      .split('\n')
      .findLast((one) => one.includes('told a peer what it lacked'));
    return (JSON.parse(line ?? '{}') as { bytes?: unknown }).bytes;
  }

  /** The last refusal of a host: its reason and the checks that failed. */
  async function explained(host: string): Promise<{ reason: string; failed: readonly string[] }> {
    const [row] = JSON.parse(await lab.on(host, 'tvmmp', 'explain', '--json')) as {
      reason: string;
      verdict: { checks: { name: string; outcome: string }[] };
    }[];
    const failed = row?.verdict.checks.filter(({ outcome }) => outcome === 'fail').map(({ name }) => name);
    return { reason: row?.reason ?? '', failed: failed ?? [] };
  }

  it('let a VM move between hosts that booted and run what is approved, and both tell their logs', async () => {
    const before = await lab.cost('beta');
    await lab.moved('alpha', 'beta', guest);
    const after = await lab.cost('beta');
    const { eventLog, ima } = new Booted();
    const whole = { 'event-log': eventLog?.byteLength, 'ima-list': ima?.byteLength };
    assert.deepEqual([told('alpha'), told('beta')], [whole, whole]);
    assert.equal(after.roundTrips - before.roundTrips, 3);
  });

  it('have them tell what is new alone the next time', async () => {
    const file = join(lab.hostDirectory('beta'), 'fs/var-lib-tvmmp/boot/binary_runtime_measurements');
    const length = readFileSync(file).byteLength;
    await lab.must('run-file', 'beta', '/tmp/new', 'a file that the policy leaves out');
    await lab.moved('beta', 'alpha', guest);
    const grown = readFileSync(file).byteLength - length;
    assert.ok(grown > 0);
    assert.deepEqual(told('alpha'), { 'event-log': 0, 'ima-list': 0 });
    assert.deepEqual(told('beta'), { 'event-log': 0, 'ima-list': grown });
  });

  it('refuse a host on which a file was changed', async () => {
    await lab.must('run-file', 'beta', '/usr/bin/qemu-system-x86_64', 'changed');
    assertRefused(await lab.migrate('alpha', 'beta', guest), /alpha does not trust beta with this VM/);
    const { reason, failed } = await explained('alpha');
    assert.match(reason, /ima-files: 1 others: \/usr\/bin\/qemu-system-x86_64 is not listed \(sha256:/);
    assert.deepEqual(failed, ['ima-files']);
  });

  it('refuse a host whose kernel was booted with another command line', async () => {
    const other = new Booted();
    const line = recorded.eventLogRemeasured('kernel_cmdline: ', (text) =>
      text.replace('\0', ' init=/bin/sh\0'),
    );
    await boots('beta', other.measuring(line));
    await rule();
    assertRefused(await lab.migrate('alpha', 'beta', guest), /alpha does not trust beta with this VM/);
    const { reason, failed } = await explained('alpha');
    assert.match(
      reason,
      /command-lines: "\/boot\/vmlinuz .* init=\/bin\/sh", expected a kernel command line of the policy/,
    );
    assert.deepEqual(failed, ['command-lines', 'ima-boot-aggregate']);
  });

  it('refuse a host that was booted with Secure Boot off', async () => {
    await boots('beta', new Booted('secure-boot-off'));
    await rule();
    assertRefused(await lab.migrate('alpha', 'beta', guest), /alpha does not trust beta with this VM/);
    const { reason, failed } = await explained('alpha');
    assert.match(reason, /secure-boot: off, expected Secure Boot on/);
    assert.ok(!failed.includes('pcr-state') && !failed.includes('pcr-values'), failed.join());
  });

  it('take the host again after it has booted as approved', async () => {
    await boots('beta', new Booted());
    await rule();
    await lab.moved('alpha', 'beta', guest);
    await lab.ticksOn('beta', guest, 1);
  });
});
