/** Destinations in a state that nobody approved, before and during a session, and one without a TPM. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { stageAt } from '../support/attacker-stage.ts';
import { attackLab, surprise, victim } from '../support/attacker-lab.ts';

describe('attacks: the destination’s platform', function () {
  this.timeout(180_000);
  const world = attackLab();

  const resident = 'resident';

  before(async () => {
    await world().lab.must('guest-define', 'beta', resident);
    await world().lab.on('beta', 'tvmmp', 'vm', 'protect', resident);
  });

  after(async () => {
    await world().exec('beta', 'virsh', '-q', 'undefine', resident);
  });

  afterEach(async () => {
    await world().becomes('alpha', 'running');
    await world().ticksOn('alpha');
  });

  it('lets no key out that a slow TPM opened ahead, once PCRs have changed', async () => {
    const { lab, mallory } = world();
    const model = await lab.on('alpha', 'virsh', '-q', 'dumpxml', '--migratable', '--security-info', victim);
    await lab.must('tpm', 'beta', 'delay', '60');
    const good = await stageAt(mallory, 'beta', model);
    const opened = await world().hook('beta', 'migrate', good.xml);
    assert.equal(opened.status, 0, opened.stderr);
    await good.abort();

    const caught = await stageAt(mallory, 'beta', model);
    // The TPM opens it meanwhile.
    await sleep(1_500);
    await lab.must('tpm-extend', 'beta', '4', surprise);
    const { status, stderr } = await world().hook('beta', 'migrate', caught.xml);
    assert.equal(status, 1);
    assert.match(stderr, /tvmmp: refused: .*in no approved state/);
    assert.doesNotMatch(await lab.on('beta', 'virsh', '-q', 'secret-list'), /tvmmp/);
    await caught.abort();
    await lab.must('tpm', 'beta', 'ok');
    await lab.must('reboot', '--hard', 'beta');
    await lab.must('start-agent', 'beta');
  });

  it('keeps the key shut when PCRs change between the appraisal and the unsealing', async () => {
    const { lab, mallory } = world();
    const model = await lab.on('alpha', 'virsh', '-q', 'dumpxml', '--migratable', '--security-info', victim);
    const good = await stageAt(mallory, 'beta', model);
    const opened = await world().hook('beta', 'migrate', good.xml);
    assert.equal(opened.status, 0, opened.stderr);
    await good.abort();

    const caught = await stageAt(mallory, 'beta', model);
    await lab.must('tpm-extend', 'beta', '4', surprise);
    const { status, stderr } = await world().hook('beta', 'migrate', caught.xml);
    assert.equal(status, 1);
    assert.match(stderr, /tvmmp: refused: .*in no approved state/);
    const secrets = await lab.on('beta', 'virsh', '-q', 'secret-list');
    assert.doesNotMatch(secrets, /tvmmp/);
    await caught.abort();
  });

  it('refuses a destination whose PCRs changed before the session', async () => {
    const { status, stderr } = await world().virshMigrate('beta');
    assert.equal(status, 1);
    assert.match(stderr, /tvmmp: refused: .*beta: pcr-state: beta is in no approved state of policy lab/);
    const [row] = await world().refusals('alpha');
    assert.match(row!.reason, /target beta is not trusted: pcr-state: /);
    const failed = row!.verdict!.checks.filter(({ outcome }) => outcome === 'fail').map(({ name }) => name);
    assert.deepEqual(failed, ['pcr-state']);
  });

  it('starts none of its own VMs in a state that nobody approved', async () => {
    const { status, stderr } = await world().exec('beta', 'virsh', '-q', 'start', resident);
    assert.equal(status, 1);
    assert.match(stderr, /tvmmp: refused: .*in no approved state/);
    assert.doesNotMatch(await world().lab.on('beta', 'virsh', '-q', 'secret-list'), /tvmmp/);
  });

  it('refuses a destination without a TPM', async () => {
    const { lab } = world();
    await lab.on('beta', 'bash', '-c', 'kill "$(</run/host-tpm.pid)"');
    const { status, stderr } = await world().virshMigrate('beta');
    assert.equal(status, 1);
    assert.match(stderr, /tvmmp: refused: .*TPM/i);
    await lab.must('stop-agent', 'beta');
    const start = await lab.run(['start-agent', 'beta']);
    assert.notEqual(start.status, 0);
    assert.match(start.stderr, /tpm-unreachable/);
    const again = await world().virshMigrate('beta');
    assert.equal(again.status, 1);
    assert.match(again.stderr, /tvmmp: refused: /);
  });

  it('trusts the destination again when it has booted what was approved', async () => {
    await world().lab.must('reboot', '--hard', 'beta');
    await world().lab.must('start-agent', 'beta');
    await world().lab.on('beta', 'virsh', '-q', 'start', resident);
    await world().lab.on('beta', 'virsh', '-q', 'destroy', resident);
    await world().roundTrip();
  });
});
