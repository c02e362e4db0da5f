/** State at rest: what a vTPM keeps is taken away, replaced, copied, put back; and the VM is cloned from its files. */
import assert from 'node:assert/strict';
import { appendFileSync, cpSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { attackLab, victim } from '../support/attacker-lab.ts';

const ward = { name: 'ward', uuid: '7b1f4a52-91d3-4c0e-8a56-0d3c2e9f1a01' };
const neighbour = { name: 'neighbour', uuid: '7b1f4a52-91d3-4c0e-8a56-0d3c2e9f1a02' };
const plain = { name: 'plain', uuid: '7b1f4a52-91d3-4c0e-8a56-0d3c2e9f1a03' };
const clone = { name: 'clone', uuid: '7b1f4a52-91d3-4c0e-8a56-0d3c2e9f1a04' };

const notTheLast =
  /tvmmp: refused: vtpm-state-changed: the vTPM state of ward is not the one that it stopped with/;
const older = /tvmmp: refused: vtpm-state-changed: the vTPM state of ward is an older one than its last/;

describe('attacks: state at rest', function () {
  this.timeout(180_000);
  const world = attackLab();
  /** The ward's own vTPM state, as it was at its last stop. */
  let own = '';

  before(async () => {
    const { lab } = world();
    for (const { name, uuid } of [ward, neighbour, plain])
      await lab.must('guest-define', 'alpha', name, '--uuid', uuid);
    for (const { name } of [ward, neighbour]) await lab.on('alpha', 'tvmmp', 'vm', 'protect', name);
    await lab.on('alpha', 'virsh', '-q', 'start', plain.name);
    own = join(world().relayDirectory, 'ward.vtpm');
    cpSync(world().vtpm('alpha', ward.uuid), own, { recursive: true });
  });

  afterEach(async () => {
    await world().exec('alpha', 'virsh', '-q', 'destroy', ward.name);
    replaceState(own);
    assert.doesNotMatch(await world().lab.on('alpha', 'virsh', '-q', 'secret-list'), /tvmmp/);
    await world().ticksOn('alpha');
  });

  after(async () => {
    for (const { name } of [plain]) await world().exec('alpha', 'virsh', '-q', 'destroy', name);
    for (const { name } of [ward, neighbour, plain])
      await world().exec('alpha', 'virsh', '-q', 'undefine', name);
  });

  function replaceState(by: string): void {
    const directory = world().vtpm('alpha', ward.uuid);
    rmSync(directory, { recursive: true, force: true });
    cpSync(by, directory, { recursive: true });
  }

  /** What virsh says of a start that must fail. */
  async function startFails(name: string): Promise<string> {
    const { status, stderr } = await world().exec('alpha', 'virsh', '-q', 'start', name);
    assert.equal(status, 1, `${name} started`);
    return stderr;
  }

  it('does not start a VM whose vTPM state was taken away', async () => {
    rmSync(world().vtpm('alpha', ward.uuid), { recursive: true });
    assert.match(
      await startFails(ward.name),
      /tvmmp: refused: the vTPM state of ward is gone from this host/,
    );
  });

  it('does not start a VM with vTPM state in clear in the place of its own', async () => {
    replaceState(world().vtpm('alpha', plain.uuid));
    assert.match(await startFails(ward.name), notTheLast);
  });

  it('does not start a VM with the vTPM state of another protected VM', async () => {
    replaceState(world().vtpm('alpha', neighbour.uuid));
    assert.match(await startFails(ward.name), notTheLast);
    // An administrator's word does not make it the VM's own.
    const adopted = await world().exec('alpha', 'tvmmp', 'vm', 'adopt', ward.name, '--i-accept-rollback');
    assert.notEqual(adopted.status, 0);
    assert.match(adopted.stderr, /vtpm-read-failed/);
    assert.match(await startFails(ward.name), notTheLast);
  });

  it('does not start a VM with vTPM state that was changed while it was off', async () => {
    appendFileSync(join(world().vtpm('alpha', ward.uuid), 'tpm2/tpm2-00.permall'), '\0');
    assert.match(await startFails(ward.name), notTheLast);
    // What was refused is not taken for the state of a stop.
    assert.match(await startFails(ward.name), notTheLast);
  });

  it('does not start a VM with an older state of its vTPM in the place of the last one', async () => {
    const kept = join(world().relayDirectory, 'ward.kept');
    const last = join(world().relayDirectory, 'ward.last');
    const virsh = (...words: readonly string[]): Promise<string> =>
      world().lab.on('alpha', 'virsh', '-q', ...words);
    cpSync(own, kept, { recursive: true });
    await virsh('start', ward.name);
    await world().lab.ticked(ward.name, 'alpha', 1);
    await virsh('destroy', ward.name);
    cpSync(world().vtpm('alpha', ward.uuid), last, { recursive: true });
    own = last;
    replaceState(kept);
    assert.match(await startFails(ward.name), older);
    assert.match(await startFails(ward.name), older);
    replaceState(last);
    await virsh('start', ward.name);
    await virsh('destroy', ward.name);
    own = join(world().relayDirectory, 'ward.own');
    cpSync(world().vtpm('alpha', ward.uuid), own, { recursive: true });
  });

  it('does not start a clone of a VM and its vTPM under another UUID', async () => {
    const { lab, relayDirectory } = world();
    const file = join(relayDirectory, 'clone.xml');
    const xml = (await lab.on('alpha', 'virsh', '-q', 'dumpxml', '--inactive', ward.name))
      .replaceAll(ward.uuid, clone.uuid)
      .replace('<name>ward<', '<name>clone<');
    cpSync(own, world().vtpm('alpha', clone.uuid), { recursive: true });
    try {
      writeFileSync(file, xml);
      await lab.on('alpha', 'virsh', '-q', 'define', file);
      assert.match(
        await startFails(clone.name),
        /tvmmp: refused: clone is protected, and this host has never held it/,
      );
      // Without our mark it is a VM like any other, and one without its key.
      writeFileSync(file, xml.replace(/<metadata>[^]*<\/metadata>/, ''));
      await lab.on('alpha', 'virsh', '-q', 'define', file);
      assert.match(await startFails(clone.name), /Secret not found/);
    } finally {
      await world().exec('alpha', 'virsh', '-q', 'undefine', clone.name);
    }
  });

  it('does not restore a saved state once the VM has gone on', async () => {
    const { lab, relayDirectory } = world();
    const virsh = (...words: readonly string[]): Promise<string> => lab.on('alpha', 'virsh', '-q', ...words);
    const [saved, kept] = [join(relayDirectory, 'ward.save'), join(relayDirectory, 'ward.save.kept')];
    await virsh('start', ward.name);
    await virsh('save', ward.name, saved);
    await world().becomes('alpha', 'saved', ward.uuid);
    cpSync(saved, kept);
    await virsh('restore', saved);
    await virsh('destroy', ward.name);
    await world().becomes('alpha', 'stopped', ward.uuid);
    const { status, stderr } = await world().exec('alpha', 'virsh', '-q', 'restore', kept);
    assert.equal(status, 1, 'the old saved state was restored');
    assert.match(stderr, /tvmmp: refused: the last entry of ward is not saved: this is an old saved state/);
    own = join(relayDirectory, 'ward.restored');
    cpSync(world().vtpm('alpha', ward.uuid), own, { recursive: true });
  });

  it('opens vTPM state to nobody who has the files and not the key', async () => {
    const files = join(world().relayDirectory, 'stolen.vtpm');
    cpSync(world().vtpm('alpha'), files, { recursive: true });
    rmSync(join(files, 'tpm2/.lock'));
    assert.match(await swtpm(files), /Error: Could not initialize libtpms/);
    const wrong = join(world().relayDirectory, 'wrong.key');
    writeFileSync(wrong, 'a'.repeat(64));
    const said = await swtpm(files, '--key', `pwdfile=${wrong},mode=aes-256-cbc`);
    assert.match(said, /Verification of HMAC failed/);
    // The same call opens state that is in clear: what keeps it shut is the key.
    const open = join(world().relayDirectory, 'plain.vtpm');
    cpSync(world().vtpm('alpha', plain.uuid), open, { recursive: true });
    rmSync(join(open, 'tpm2/.lock'));
    assert.doesNotMatch(await swtpm(open), /Could not initialize/);
  });

  it('lets no second swtpm work on the vTPM of a VM that runs', async () => {
    const said = await swtpm(`/var/lib/libvirt/swtpm/${plain.uuid}`);
    assert.match(said, /Could not lock access to lockfile/);
    const protect = await world().exec('alpha', 'tvmmp', 'vm', 'protect', plain.name);
    assert.equal(protect.status, 1);
    assert.match(protect.stderr, /plain runs; shut it down first/);
    const again = await world().exec('alpha', 'virsh', '-q', 'start', victim);
    assert.match(again.stderr, /Domain is already active/);
  });

  /** What swtpm says when it is started by hand on a state directory; it ends by itself as soon as it is up. */
  async function swtpm(directory: string, ...more: readonly string[]): Promise<string> {
    const paths = [`/run/thief.ctrl`, '/run/thief.sock'];
    const words = [
      ...[
        'socket',
        '--tpm2',
        '--tpmstate',
        `dir=${directory}/tpm2`,
        '--flags',
        'startup-clear,not-need-init',
      ],
      ...[
        '--ctrl',
        `type=unixio,path=${paths[0] ?? ''}`,
        '--server',
        `type=unixio,path=${paths[1] ?? ''},disconnect`,
      ],
    ];
    const { stderr } = await world().exec('alpha', 'timeout', '3', 'swtpm', ...words, ...more);
    return stderr;
  }
});
