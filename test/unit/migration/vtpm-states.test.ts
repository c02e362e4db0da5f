import { strict as assert } from 'node:assert';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Journal } from '../../../lib/ledger/journal.ts';
import { limits } from '../../../lib/limits.ts';
import { diskFiles } from '../../../lib/migration/files.ts';
import type { HostFiles } from '../../../lib/migration/files.ts';
import { Refused } from '../../../lib/migration/refused.ts';
import { VtpmStates } from '../../../lib/migration/vtpm-states.ts';
import { vmRecord } from '../../support/vm-record.ts';

const vm = vmRecord({ name: 'web' });
const { uuid } = vm;

describe('the vTPM state that a VM starts with (SPEC 8.4)', () => {
  let directory: string;
  let files: HostFiles;
  let journal: Journal;
  let states: VtpmStates;
  let time = 0;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-vtpm-states-'));
    journal = new Journal(':memory:');
    journal.putVm(vm);
    files = diskFiles({
      vtpmState: directory,
      libvirtStatus: directory,
      libvirtDefinitions: directory,
      state: directory,
      migrationTls: directory,
    });
    const anchor = { settle: () => Promise.resolve(), settleOrOwe: () => Promise.resolve() };
    states = new VtpmStates({ journal, files, now: () => (time += 1000), self: 'alpha', anchor });
    mkdirSync(join(directory, uuid, 'tpm2'), { recursive: true });
  });
  afterEach(() => {
    journal.close();
    rmSync(directory, { recursive: true, force: true });
  });

  /** As swtpm writes: a new file over the old one. */
  function write(state: string): void {
    const file = join(directory, uuid, 'tpm2', 'tpm2-00.permall');
    writeFileSync(`${file}.new`, state);
    renameSync(`${file}.new`, file);
  }

  /** A run that ends with this state, and whose end is seen. */
  async function run(state: string): Promise<void> {
    await states.begin(vm);
    write(state);
    await states.ended(uuid);
  }

  const refused = (reason: RegExp) => (error: unknown) => {
    assert.ok(error instanceof Refused);
    assert.match(error.message, reason);
    return true;
  };
  const older = refused(
    /^vtpm-state-changed: the vTPM state of web is an older one than its last, of 1970-.*: a copy was put back; put back/,
  );
  const other = refused(
    /^vtpm-state-changed: the vTPM state of web is not the one that it stopped with, of 1970-/,
  );

  it('is the one that it stopped with', async () => {
    write('made');
    await states.made(uuid);
    await run('first');
    await run('second');
    await states.require(vm);
    await run('second');
    await states.require(vm);
  });

  it('is no other one', async () => {
    write('made');
    await states.made(uuid);
    write('changed');
    await assert.rejects(states.require(vm), other);
    await assert.rejects(states.begin(vm), other);
    write('made');
    await states.require(vm);
    rmSync(join(directory, uuid), { recursive: true });
    await assert.rejects(states.require(vm), refused(/^the vTPM state of web is gone from this host/));
  });

  it('refuses every earlier state, whether the end of the last run was seen or not', async () => {
    write('made');
    await states.made(uuid);
    await run('first');
    await run('second');
    for (const state of ['made', 'first']) {
      write(state);
      await assert.rejects(states.begin(vm), older, state);
    }
    write('second');
    await states.begin(vm);
    // The host loses its power: nobody sees the end.
    for (const state of ['made', 'first']) {
      write(state);
      await assert.rejects(states.begin(vm), older, state);
    }
  });

  it('is any that was never seen before, after an end that was not seen', async () => {
    write('made');
    await states.made(uuid);
    await states.begin(vm);
    write('written since');
    await states.begin(vm);
    write('and since then');
    await states.begin(vm);
    await states.ended(uuid);
    write('later');
    await assert.rejects(states.begin(vm), other);
  });

  it('may be the one that it started with, after an end that was not seen, unless it was seen to be another', async () => {
    write('made');
    await states.made(uuid);
    await states.begin(vm);
    await states.look(uuid);
    await states.begin(vm);
    write('written since');
    await states.look(uuid);
    write('made');
    await assert.rejects(states.begin(vm), older);
    write('written since');
    await states.begin(vm);
  });

  it('takes nothing that lay there at a refused start for the state of a stop', async () => {
    write('made');
    await states.made(uuid);
    await run('first');
    write('made');
    for (let again = 0; again < 2; again += 1) {
      await assert.rejects(states.begin(vm), older);
      await states.ended(uuid); // libvirt tells the end of what never began
    }
    write('first');
    await states.begin(vm);
    write('made');
    for (let again = 0; again < 2; again += 1) {
      await assert.rejects(states.begin(vm), older);
      await states.ended(uuid);
      await states.look(uuid);
    }
  });

  it('is nobody’s business while another host holds the VM, and new when it comes back', async () => {
    write('made');
    await states.made(uuid);
    await run('first');
    journal.putVm({ ...vm, state: 'gone', sealed: null, holder: 'beta' });
    journal.removeVtpmState(uuid);
    write('left behind');
    await states.ended(uuid);
    assert.equal(journal.vtpmState(uuid), null);
    journal.putVm({ ...vm, state: 'running', epoch: 2 });
    write('came back');
    await states.look(uuid);
    write('made');
    await assert.rejects(states.begin(vm), older);
    write('first');
    await assert.rejects(states.begin(vm), older);
    write('went on');
    await states.begin(vm);
    await states.ended(uuid);
    await states.require(vm);
  });

  it('does not go with disks that went back to a snapshot, until an administrator says so', async () => {
    write('made');
    await states.made(uuid);
    await run('first');
    await states.reverted(uuid);
    const disks = refused(
      /^vtpm-state-changed: the vTPM state of web is its last, and its disks are those of a snapshot/,
    );
    await assert.rejects(states.begin(vm), disks);
    await states.ended(uuid);
    const digest = await states.refusedState(vm);
    assert.ok(digest !== null);
    journal.putVtpmState({ vm: uuid, standing: 'adopted', digest, time: 0 });
    await states.reverted(uuid); // libvirt goes on saying it until the VM starts
    await states.require(vm);
    await states.reverted(uuid, { now: true });
    await assert.rejects(states.begin(vm), disks);
    journal.putVtpmState({ vm: uuid, standing: 'adopted', digest, time: 0 });
    await run('second');
    await states.require(vm);
  });

  it('is remembered for so many earlier states', () => {
    const digest = (number: number): Uint8Array => Buffer.alloc(32, `${number};`);
    for (let number = 0; number <= limits.vtpmStatesRememberedMax + 1; number += 1)
      journal.putVtpmState({ vm: uuid, standing: 'at-rest', digest: digest(number), time: number });
    assert.equal(journal.wasVtpmState(uuid, digest(0)), false, 'the oldest is forgotten');
    assert.ok(journal.wasVtpmState(uuid, digest(1)));
    assert.ok(journal.wasVtpmState(uuid, digest(limits.vtpmStatesRememberedMax)));
    assert.equal(journal.wasVtpmState(uuid, digest(limits.vtpmStatesRememberedMax + 1)), false);
  });

  it('is kept for good when it has come here, and must be there', async () => {
    await assert.rejects(files.keepArrived(uuid), { code: 'vtpm-read-failed' });
    write('came');
    await files.keepArrived(uuid);
  });
});
