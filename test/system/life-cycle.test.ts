/** What libvirt does with a protected VM between migrations, and what its proof says of it. */
import assert from 'node:assert/strict';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CommandResult, Tick } from '../../scripts/lab.d/lab.ts';
import { assertRefused, withLab } from '../support/product-lab.ts';
import type { Guest, ProductLab } from '../support/product-lab.ts';

describe('life of a protected VM', function () {
  this.timeout(180_000);
  let lab: ProductLab;
  let guest: Guest;
  let secret: string | null;

  withLab({}, async (fresh) => {
    lab = fresh;
    guest = await lab.guest('alpha', 'guest', { start: false });
  });

  const virsh = (...command: readonly string[]): Promise<string> =>
    lab.on('alpha', 'virsh', '-q', ...command);

  it('begins with created, and started follows when it starts', async () => {
    assert.deepEqual(await lab.kinds('alpha', guest), ['created']);
    ({ secret } = await lab.boot('alpha', guest));
    await lab.endsWith('alpha', guest, 'created', 'started');
  });

  it('runs without its key in libvirt', async () => {
    assert.equal((await virsh('secret-list')).trim(), '');
  });

  it('writes suspended and resumed', async () => {
    await virsh('suspend', guest.name);
    await lab.endsWith('alpha', guest, 'suspended');
    await virsh('resume', guest.name);
    await lab.endsWith('alpha', guest, 'suspended', 'resumed');
    await lab.unbroken(guest);
  });

  it('writes nothing for a reset', async () => {
    const before = await lab.vm('alpha', guest);
    await virsh('reset', guest.name);
    const tick = await lab.ticksOn('alpha', guest);
    assert.equal(tick.secret, secret);
    assert.deepEqual(await lab.vm('alpha', guest), before);
  });

  it('writes stopped and started, and the vTPM keeps its secret', async () => {
    await lab.halt('alpha', guest);
    await lab.endsWith('alpha', guest, 'stopped');
    assert.equal((await lab.boot('alpha', guest)).secret, secret);
    await lab.endsWith('alpha', guest, 'stopped', 'started');
    assert.equal((await virsh('secret-list')).trim(), '');
  });

  it('starts at once after it was stopped', async () => {
    const ticked = await lab.countTicks('alpha', guest);
    await virsh('destroy', guest.name);
    await virsh('start', guest.name);
    await lab.ticksTo('alpha', guest, ticked + 1);
    await lab.endsWith('alpha', guest, 'stopped', 'started');
  });

  it('writes saved and restored for virsh save, and goes on where it was', async () => {
    const file = join(lab.directory, 'guest.save');
    const before = await lab.ticksOn('alpha', guest);
    await virsh('save', guest.name, file);
    await lab.endsWith('alpha', guest, 'saved');
    await virsh('restore', file);
    const after = await lab.ticksOn('alpha', guest);
    assert.deepEqual([after.pcr, after.secret], [before.pcr, before.secret]);
    await lab.endsWith('alpha', guest, 'saved', 'restored');
    assert.equal((await virsh('secret-list')).trim(), '');
  });

  it('refuses a saved state that is not the last one, or not the last thing that happened', async () => {
    const [older, last] = [join(lab.directory, 'older.save'), join(lab.directory, 'last.save')];
    await virsh('save', guest.name, older);
    await virsh('restore', older);
    await lab.endsWith('alpha', guest, 'saved', 'restored');
    const before = await lab.ticksOn('alpha', guest);
    await virsh('save', guest.name, last);
    await lab.endsWith('alpha', guest, 'saved');
    assertRefused(
      await lab.exec('alpha', 'virsh', 'restore', older),
      /vtpm-state-changed: this memory of guest is an old one/,
    );
    await virsh('restore', last);
    const after = await lab.ticksOn('alpha', guest);
    assert.deepEqual([after.pcr, after.secret], [before.pcr, before.secret]);
    await lab.halt('alpha', guest);
    assertRefused(await lab.exec('alpha', 'virsh', 'restore', last), /the last entry of guest is not saved/);
    await lab.boot('alpha', guest);
  });

  it('writes saved and restored for a managed save', async () => {
    const before = await lab.ticksOn('alpha', guest);
    await virsh('managedsave', guest.name);
    await lab.endsWith('alpha', guest, 'saved');
    await virsh('start', guest.name);
    const after = await lab.ticksOn('alpha', guest);
    assert.deepEqual([after.pcr, after.secret], [before.pcr, before.secret]);
    await lab.endsWith('alpha', guest, 'saved', 'restored');
  });

  it('writes stopped and started for a managed save that was thrown away', async () => {
    await virsh('managedsave', guest.name);
    await lab.endsWith('alpha', guest, 'saved');
    await virsh('managedsave-remove', guest.name);
    assert.equal((await lab.boot('alpha', guest)).secret, secret);
    await lab.endsWith('alpha', guest, 'saved', 'stopped', 'started');
  });

  it('records what changed while it was off, and migrates so', async () => {
    await lab.halt('alpha', guest);
    const file = join(lab.directory, 'guest.xml');
    const xml = await virsh('dumpxml', '--inactive', guest.name);
    writeFileSync(file, xml.replace(/(<(memory|currentMemory) unit='KiB'>)131072/g, '$1163840'));
    await virsh('define', file);
    await lab.boot('alpha', guest);
    assert.match(await virsh('dominfo', guest.name), /Max memory: +163840 KiB/);
    await lab.moved('alpha', 'beta', guest);
    await lab.moved('beta', 'alpha', guest);
    await lab.ticksOn('alpha', guest);
  });

  it('does not go back to a snapshot of the running VM, nor start with the disks of one, until an administrator says so', async () => {
    const file = join(lab.directory, 'guest.xml');
    const disk = join(lab.directory, 'shared/guest.qcow2');
    await lab.halt('alpha', guest);
    const xml = await virsh('dumpxml', '--inactive', guest.name);
    await lab.on('alpha', 'qemu-img', 'create', '-q', '-f', 'qcow2', disk, '64M');
    writeFileSync(
      file,
      xml
        .replace("type='raw'", "type='qcow2'")
        .replace('<readonly/>', '')
        .replace(/<source file='[^']*'/, `<source file='${disk}'`),
    );
    await virsh('define', file);
    await virsh('snapshot-create-as', guest.name, 'off');
    const adopt = ['tvmmp', 'vm', 'adopt', guest.name, '--i-accept-rollback'];
    await lab.boot('alpha', guest);
    await lab.endsWith('alpha', guest, 'started');
    const run = (await lab.proof('alpha', guest)).entries.at(-1)?.sequence;
    await lab.eventually('the run has its number', async () =>
      (await virsh('dumpxml', guest.name)).includes(`run="${run}"`) ? true : null,
    );
    assert.ok(!(await virsh('dumpxml', '--inactive', guest.name)).includes('run='));
    await virsh('snapshot-create-as', guest.name, 'on');
    const kept = await lab.ticksOn('alpha', guest);
    await lab.halt('alpha', guest);
    await lab.boot('alpha', guest);
    const back = ['virsh', 'snapshot-revert', guest.name, 'on'];
    assertRefused(
      await lab.exec('alpha', ...back),
      new RegExp(`is an old one, that of run ${run}: .* --run ${run}`),
    );
    await lab.state('alpha', guest, 'stopped');
    await lab.boot('alpha', guest);
    await lab.halt('alpha', guest);
    await lab.on('alpha', ...adopt, '--run', String(run));
    const ticked = await ticksOfRun(kept);
    await lab.on('alpha', ...back);
    await lab.eventually('the guest goes on where the snapshot was', async () =>
      (await ticksOfRun(kept)) > ticked ? true : null,
    );
    await lab.eventually('the proof has the adoption and the start', async () => {
      // libvirt starts it paused, which the agent may see.
      const kinds = (await lab.kinds('alpha', guest)).filter((kind) => !/suspended|resumed/.test(kind));
      return kinds.slice(-2).join() === 'adopted,started' ? true : null;
    });
    await lab.halt('alpha', guest);
    await virsh('snapshot-revert', guest.name, 'off');
    await lab.eventually('the agent knows of the revert', () =>
      Promise.resolve(lab.vtpmStanding('alpha', guest) === 'reverted' ? true : null),
    );
    assertRefused(
      await lab.exec('alpha', 'virsh', 'start', guest.name),
      /vtpm-state-changed: .* its disks are those of a snapshot/,
    );
    await lab.on('alpha', ...adopt);
    assert.equal((await lab.boot('alpha', guest)).secret, secret);
    await lab.endsWith('alpha', guest, 'stopped', 'adopted', 'started');
    await lab.halt('alpha', guest);
    for (const name of ['on', 'off']) await virsh('snapshot-delete', guest.name, name);
    writeFileSync(file, xml);
    await virsh('define', file);
    await lab.boot('alpha', guest);
  });

  it('is known by its new name after it was renamed', async () => {
    await lab.halt('alpha', guest);
    await virsh('domrename', guest.name, 'renamed');
    const renamed = { ...guest, name: 'renamed' };
    await called('renamed');
    await virsh('start', renamed.name);
    assert.equal((await lab.ticksOn('alpha', guest)).secret, secret); // its console's log keeps the old name
    await lab.moved('alpha', 'beta', renamed);
    assert.equal((await lab.vm('beta', renamed))?.name, 'renamed');
    await lab.on('beta', 'tvmmp', 'migrate', 'renamed', 'alpha');
    await lab.settled('alpha', 'beta');
    assert.equal((await lab.vm('alpha', renamed))?.name, 'renamed');
    await lab.halt('alpha', renamed);
    await virsh('domrename', 'renamed', guest.name);
    await called(guest.name);
  });

  it('starts after the host was rebooted while it was off', async () => {
    await reboot();
    assert.equal((await lab.boot('alpha', guest)).secret, secret);
    await lab.proof('alpha', guest);
  });

  it('starts after the host lost its power while it ran', async () => {
    await lab.must('reboot', 'alpha', '--hard');
    await lab.must('start-agent', 'alpha');
    await lab.endsWith('alpha', guest, 'stopped');
    assert.equal((await lab.boot('alpha', guest)).secret, secret);
    await lab.endsWith('alpha', guest, 'stopped', 'started');
  });

  it('does not start with an older vTPM after the host lost its power', async () => {
    const directory = lab.vtpmDirectory('alpha', guest);
    const [older, last] = [join(lab.directory, 'older.vtpm'), join(lab.directory, 'last.vtpm')];
    await lab.halt('alpha', guest);
    cpSync(directory, older, { recursive: true });
    await lab.boot('alpha', guest);
    await lab.halt('alpha', guest);
    await lab.boot('alpha', guest);
    await lab.must('reboot', 'alpha', '--hard');
    await lab.must('start-agent', 'alpha');
    await lab.endsWith('alpha', guest, 'stopped');
    cpSync(directory, last, { recursive: true });
    cpSync(older, directory, { recursive: true });
    assertRefused(
      await lab.exec('alpha', 'virsh', 'start', guest.name),
      /vtpm-state-changed: .* is an older one/,
    );
    cpSync(last, directory, { recursive: true });
    assert.equal((await lab.boot('alpha', guest)).secret, secret);
  });

  it('starts with an older vTPM where an administrator adopts it, and the proof says so', async () => {
    const directory = lab.vtpmDirectory('alpha', guest);
    await lab.halt('alpha', guest);
    const adopt = (...more: readonly string[]): Promise<CommandResult> =>
      lab.exec('alpha', 'tvmmp', 'vm', 'adopt', guest.name, ...more);
    const needless = await adopt('--i-accept-rollback');
    assert.equal(needless.status, 1);
    assert.match(needless.stderr, /there is nothing to adopt/);
    cpSync(join(lab.directory, 'older.vtpm'), directory, { recursive: true });
    assertRefused(
      await lab.exec('alpha', 'virsh', 'start', guest.name),
      /vtpm-state-changed: .*tvmmp vm adopt/,
    );
    const unasked = await adopt();
    assert.equal(unasked.status, 2);
    assert.match(unasked.stderr, /--i-accept-rollback/);
    await lab.on('alpha', 'tvmmp', 'vm', 'adopt', guest.name, '--i-accept-rollback');
    assert.equal((await lab.boot('alpha', guest)).secret, secret);
    await lab.endsWith('alpha', guest, 'stopped', 'adopted', 'started');
    await lab.moved('alpha', 'beta', guest);
    const elsewhere = await adopt('--i-accept-rollback');
    assert.equal(elsewhere.status, 1);
    assert.match(elsewhere.stderr, /is held by beta: .* only its holder can adopt/);
    await lab.moved('beta', 'alpha', guest);
  });

  it('does not start while the agent is down, and starts when it is back', async () => {
    await lab.halt('alpha', guest);
    await lab.must('stop-agent', 'alpha');
    const result = await lab.exec('alpha', 'virsh', 'start', guest.name);
    assert.notEqual(result.status, 0);
    assert.match(result.stderr, /tvmmp: /);
    await lab.must('start-agent', 'alpha');
    assert.equal((await lab.boot('alpha', guest)).secret, secret);
  });

  it('is caught up with when it was paused and stopped while the agent was down', async () => {
    await lab.must('stop-agent', 'alpha');
    await virsh('suspend', guest.name);
    await lab.must('start-agent', 'alpha');
    await lab.endsWith('alpha', guest, 'suspended');
    await lab.must('stop-agent', 'alpha');
    await virsh('destroy', guest.name);
    await lab.must('start-agent', 'alpha');
    await lab.endsWith('alpha', guest, 'suspended', 'stopped');
  });

  it('starts after it was undefined with its vTPM kept, and defined again', async () => {
    const file = join(lab.directory, 'guest.xml');
    writeFileSync(file, await virsh('dumpxml', '--inactive', guest.name));
    await virsh('undefine', '--keep-tpm', guest.name);
    await virsh('define', file);
    assert.equal((await lab.boot('alpha', guest)).secret, secret);
    await lab.halt('alpha', guest);
  });

  it('does not start with a vTPM made anew after it was undefined with its vTPM', async () => {
    const file = join(lab.directory, 'guest.xml');
    await virsh('undefine', guest.name);
    await virsh('define', file);
    assertRefused(await lab.exec('alpha', 'virsh', 'start', guest.name), /vTPM/);
    assert.equal((await lab.remains('alpha', guest)).secret, false);
    await lab.on('alpha', 'tvmmp', 'vm', 'unprotect', guest.name);
    const anew = await lab.boot('alpha', guest);
    assert.notEqual(anew.secret, secret);
  });

  /** Waits until alpha's agent has it by this name. */
  async function called(name: string): Promise<void> {
    await lab.eventually(`the guest is called ${name}`, async () =>
      (await lab.vm('alpha', guest))?.name === name ? true : null,
    );
  }

  /** Ticks of the boot that this one is of. */
  async function ticksOfRun({ pcr, secret: sealed }: Tick): Promise<number> {
    return (await lab.ticks(guest.name)).filter((tick) => tick.pcr === pcr && tick.secret === sealed).length;
  }

  async function reboot(): Promise<void> {
    await lab.halt('alpha', guest).catch(() => undefined);
    await lab.must('stop-agent', 'alpha');
    await lab.must('reboot', 'alpha');
    await lab.must('start-agent', 'alpha');
  }
});
