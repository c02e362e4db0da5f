/** A host is updated: refused until the authority has approved its new state, and then again what it was; no key is lost on the way. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { assertRefused, withLab } from '../support/product-lab.ts';
import type { Guest, ProductLab } from '../support/product-lab.ts';

const program = new URL('../../scripts/lab.d/bin/tvmmp', import.meta.url).pathname;

/** What boots after the update: PCR 4 holds boot loader and kernel. */
const newKernel = '4:vmlinuz-6.1.0-99';

describe('an update of a host', function () {
  this.timeout(180_000);
  let lab: ProductLab;
  /** On beta, shut off while beta is updated. */
  let resident: Guest;
  /** On alpha, about to come to beta. */
  let traveller: Guest;
  /** What the vTPM of `resident` held before. */
  let secret: string | null = null;

  withLab({}, async (fresh) => {
    lab = fresh;
    resident = await lab.guest('beta', 'resident', { start: false });
    ({ secret } = await lab.boot('beta', resident));
    await lab.halt('beta', resident);
    traveller = await lab.guest('alpha', 'traveller');
  });

  async function boots(host: string, ...measure: readonly string[]): Promise<void> {
    await lab.must('reboot', host, ...measure.flatMap((line) => ['--measure', line]));
    await lab.must('start-agent', host);
  }

  async function refusesToStart(): Promise<void> {
    const start = await lab.exec('beta', 'virsh', '-q', 'start', resident.name);
    assertRefused(start, /in no approved state of policy lab/);
    assert.equal((await lab.remains('beta', resident)).sealedKey, true, 'its key is kept');
  }

  it('makes it a host that nobody trusts, and that has no key of its own VMs either', async () => {
    await boots('beta', newKernel);
    await refusesToStart();
    const move = await lab.migrate('alpha', 'beta', traveller);
    assertRefused(move, /beta: pcr-state: beta is in no approved state of policy lab/);
    await lab.ticksOn('alpha', traveller, 1);
    const status = await lab.exec('beta', 'tvmmp', 'host', 'status');
    assert.equal(status.status, 1);
    assert.match(status.stdout, /PCR 4/);
  });

  it('needs the approval of the new state and nothing else: every key opens, and VMs come again', async () => {
    await lab.must('approve', 'beta', 'beta-updated');
    const tick = await lab.boot('beta', resident);
    assert.ok(secret, 'it had a secret');
    assert.equal(tick.secret, secret, 'what the vTPM held before the update');
    await lab.moved('alpha', 'beta', traveller);
    await lab.ticksOn('beta', traveller, 1);
    await lab.unbroken(traveller);
  });

  it('holds for hosts that are updated one after another, as long as both states are approved', async () => {
    await lab.moved('beta', 'alpha', traveller);
    await boots('beta');
    assert.equal((await lab.boot('beta', resident)).secret, secret);
    await lab.halt('beta', resident);
    await boots('beta', newKernel);
    assert.equal((await lab.boot('beta', resident)).secret, secret);
    await lab.halt('beta', resident);
  });

  it('is final once a policy without the old state is in force: who boots the old kernel is refused', async () => {
    const at = (name: string): string => join(lab.directory, name);
    const draft = JSON.parse(readFileSync(at('policy.draft.json'), 'utf8')) as {
      version: number;
      states: { name: string }[];
    };
    const states = draft.states.filter(({ name }) => name === 'beta-updated');
    writeFileSync(at('final.json'), JSON.stringify({ ...draft, version: draft.version + 1, states }));
    const sign = ['policy', 'sign', at('authority'), at('final.json'), '-o', at('final-policy.json')];
    execFileSync(program, sign, { stdio: 'pipe' });
    await lab.halt('alpha', traveller);
    await boots('alpha', newKernel);
    for (const host of ['alpha', 'beta'])
      await lab.on(host, 'tvmmp', 'policy', 'install', at('final-policy.json'));
    await lab.boot('alpha', traveller);
    await lab.moved('alpha', 'beta', traveller);
    await lab.moved('beta', 'alpha', traveller);
    await boots('beta');
    await refusesToStart();
    const back = await lab.migrate('alpha', 'beta', traveller);
    assertRefused(back, /beta: pcr-state/);
    await lab.ticksOn('alpha', traveller, 1);
  });
});
