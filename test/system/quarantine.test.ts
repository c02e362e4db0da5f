/** A host that goes bad between migrations: noticed without any, kept away from VMs, and back after the good boot (SPEC 16). */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { assertRefused, withLab } from '../support/product-lab.ts';
import type { Guest, ProductLab } from '../support/product-lab.ts';

const program = new URL('../../scripts/lab.d/bin/tvmmp', import.meta.url).pathname;
/** What boots on a host that was updated. */
const newKernel = '4:vmlinuz-6.1.0-99';

describe('a host that goes bad between migrations', function () {
  this.timeout(180_000);
  let lab: ProductLab;
  let guest: Guest;
  /** Runs on beta. */
  let resident: Guest;

  withLab({}, async (fresh) => {
    lab = fresh;
    guest = await lab.guest('alpha', 'traveller');
    resident = await lab.guest('beta', 'resident');
    await rule('never');
    await attestsTo('beta', 'alpha:16515');
    for (const host of ['alpha', 'beta']) await trusted(host);
    await found('accepted');
  });

  /** A policy of all approved states, under which hosts appraise themselves every ten seconds, in force on both hosts. */
  async function rule(leave: 'never' | 'trusted', rules: object = {}): Promise<void> {
    const at = (name: string): string => join(lab.directory, name);
    const version = Number(readFileSync(at('policy.version'), 'utf8')) + 1;
    const draft = JSON.parse(readFileSync(at('policy.draft.json'), 'utf8')) as object;
    const quarantine = { everySeconds: 10, leave };
    writeFileSync(at('ruled.json'), JSON.stringify({ ...draft, version, ...rules, quarantine }));
    const sign = ['policy', 'sign', at('authority'), at('ruled.json'), '-o', at('ruled-policy.json')];
    execFileSync(program, sign, { stdio: 'pipe' });
    for (const host of ['alpha', 'beta'])
      await lab.on(host, 'tvmmp', 'policy', 'install', at('ruled-policy.json'));
    writeFileSync(at('policy.version'), `${version}\n`);
  }

  async function trusted(host: string): Promise<void> {
    await lab.eventually(`${host} satisfies its policy`, async () => {
      const { appraised, quarantine } = (await lab.agentStatus(host)).trust;
      return appraised !== null && quarantine === null ? true : null;
    });
  }

  /** The agent of a host runs again, and attests itself to these. */
  async function attestsTo(host: string, ...peers: readonly string[]): Promise<void> {
    await lab.must('stop-agent', host);
    const file = join(lab.hostDirectory(host), 'fs/etc-tvmmp/tvmmpd.json');
    writeFileSync(file, JSON.stringify({ ...(JSON.parse(readFileSync(file, 'utf8')) as object), peers }));
    await lab.must('start-agent', host);
  }

  /** Waits until alpha has found this about beta. */
  async function found(outcome: 'accepted' | 'refused'): Promise<void> {
    await lab.eventually(`beta is ${outcome} by alpha`, async () => {
      const { peers } = (await lab.agentStatus('alpha')).trust;
      return peers.find(({ host }) => host === 'beta')?.outcome === outcome ? true : null;
    });
  }

  /** Waits until a host is quarantined for just these checks. */
  async function quarantined(host: string, ...checks: readonly string[]): Promise<void> {
    await lab.eventually(`${host} is quarantined for ${checks.join()}`, async () => {
      const { quarantine } = (await lab.agentStatus(host)).trust;
      return quarantine?.failed.join() === checks.join() ? true : null;
    });
  }

  it('notices that its PCRs changed, without anybody migrating', async () => {
    await lab.must('tpm-extend', 'beta', '4', '5a'.repeat(32));
    await quarantined('beta', 'pcr-state');
    await lab.endsWith('beta', resident, 'quarantined');
    const [row] = JSON.parse(await lab.on('beta', 'tvmmp', 'explain', '--json')) as {
      operation: string;
      reason: string;
    }[];
    assert.equal(row?.operation, 'quarantine');
    assert.match(row.reason, /^host-quarantined: pcr-state: PCR 4 /);
    const doctor = await lab.exec('beta', 'tvmmp', 'doctor');
    assert.match(doctor.stdout, /^bad +trust +quarantined since .* pcr-state: /m);
    await found('refused');
    await trusted('alpha');
  });

  it('receives no VM, and its own stays and runs on', async () => {
    assertRefused(
      await lab.migrate('alpha', 'beta', guest),
      /host-quarantined: beta does not satisfy its policy \(pcr-state\): it receives no VM/,
    );
    await lab.ticksOn('alpha', guest, 1);
    await rule('trusted');
    const leaves = await lab.migrate('beta', 'alpha', resident);
    assert.notEqual(leaves.status, 0);
    await lab.ticksOn('beta', resident, 1);
    await lab.unbroken(resident);
    await rule('never');
  });

  it('is still refused by its peer when root boots it well, and hides that it was quarantined', async () => {
    await lab.must('reboot', '--hard', 'beta');
    const journal = new Database(join(lab.hostDirectory('beta'), 'fs/var-lib-tvmmp/journal.sqlite'));
    assert.equal(journal.prepare("DELETE FROM setting WHERE key = 'quarantine'").run().changes, 1);
    journal.close();
    await attestsTo('beta');
    await trusted('beta');
    assertRefused(await lab.migrate('alpha', 'beta', guest), /alpha does not trust beta with this VM/);
    const [row] = JSON.parse(await lab.on('alpha', 'tvmmp', 'explain', '--json')) as { reason: string }[];
    assert.match(
      row?.reason ?? '',
      /^host-quarantined: beta attested itself here, and was refused since .* \(pcr-state\)/,
    );
    await lab.ticksOn('alpha', guest, 1);
  });

  it('is trusted again when it has attested itself well, and the proof of its VM says since when', async () => {
    await attestsTo('beta', 'alpha:16515');
    await found('accepted');
    await trusted('beta');
    await lab.endsWith('beta', resident, 'quarantined', 'stopped', 'released');
    await lab.moved('alpha', 'beta', guest);
    await lab.ticksOn('beta', guest, 1);
    await lab.moved('beta', 'alpha', guest);
  });

  it('keeps its VMs, or lets them go to a host that is trusted, as the policy says', async () => {
    await lab.must('reboot', 'beta', '--measure', newKernel);
    await lab.must('start-agent', 'beta');
    await lab.must('approve', 'beta', 'patched');
    const forward = { states: ['patched'] };
    await rule('never', { forward });
    await quarantined('alpha', 'rule-states');
    await trusted('beta');
    assertRefused(await lab.migrate('alpha', 'beta', guest), /alpha does not trust beta with this VM/);
    const [row] = JSON.parse(await lab.on('alpha', 'tvmmp', 'explain', '--json')) as { reason: string }[];
    assert.match(row?.reason ?? '', /^host-quarantined: alpha .* its policy lets no VM leave it/);
    await lab.ticksOn('alpha', guest, 1);
    await rule('trusted', { forward });
    await lab.moved('alpha', 'beta', guest);
    await lab.ticksOn('beta', guest, 1);
    await lab.unbroken(guest);
    const kinds = await lab.kinds('beta', guest);
    assert.deepEqual(kinds.slice(-3), ['quarantined', 'departing', 'arrived']);
  });
});
