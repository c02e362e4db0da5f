/** Protecting a VM, and ending it, without losing the vTPM. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { CommandResult } from '../../scripts/lab.d/lab.ts';
import { withLab } from '../support/product-lab.ts';
import type { Guest, ProductLab } from '../support/product-lab.ts';

const momentMs = 30_000;

describe('protection of a VM', function () {
  this.timeout(180_000);
  let lab: ProductLab;

  withLab({ hosts: ['alpha'] }, (fresh) => {
    lab = fresh;
  });

  const protect = (guest: Guest): Promise<CommandResult> =>
    lab.exec('alpha', 'tvmmp', 'vm', 'protect', guest.name);
  const unprotect = (guest: Guest): Promise<CommandResult> =>
    lab.exec('alpha', 'tvmmp', 'vm', 'unprotect', guest.name);
  const definition = (guest: Guest): Promise<string> =>
    lab.on('alpha', 'virsh', 'dumpxml', '--inactive', guest.name);

  function done(result: CommandResult): void {
    assert.equal(result.status, 0, result.stderr);
  }

  function refused(result: CommandResult, reason: RegExp): void {
    assert.equal(result.status, 1, result.stderr);
    assert.match(result.stderr, reason);
  }

  async function off(guest: Guest): Promise<void> {
    await lab.on('alpha', 'virsh', '-q', 'destroy', guest.name);
    const vm = await lab.vm('alpha', guest);
    if (vm !== null && vm.state !== 'destroyed') await lab.state('alpha', guest, 'stopped');
  }

  /** A guest that has run without us once, and the secret that it sealed in its vTPM then. */
  async function lived(name: string): Promise<{ readonly guest: Guest; readonly secret: string | null }> {
    const guest = await lab.guest('alpha', name, { protect: false, start: false });
    const { secret } = await lab.boot('alpha', guest);
    assert.ok(secret !== null);
    await lab.on('alpha', 'virsh', '-q', 'destroy', name);
    return { guest, secret };
  }

  describe('that has run before', () => {
    let guest: Guest;
    let secret: string | null;

    before(async () => {
      ({ guest, secret } = await lived('lived'));
    });

    after(async () => {
      await off(guest).catch(() => undefined);
    });

    it('keeps what was sealed in its vTPM', async () => {
      const clear = readFileSync(statePath(guest));
      done(await protect(guest));
      assert.notDeepEqual(readFileSync(statePath(guest)), clear);
      const xml = await definition(guest);
      assert.match(xml, /<encryption secret=/);
      assert.match(xml, /tvmmp:vm/);
      assert.equal((await lab.boot('alpha', guest)).secret, secret);
    });

    it('is not protected twice, nor ended, while it runs', async () => {
      assert.notEqual((await protect(guest)).status, 0);
      refused(await unprotect(guest), /shut it down/);
      await lab.ticksOn('alpha', guest);
      await off(guest);
      assert.notEqual((await protect(guest)).status, 0);
    });

    it('is an ordinary VM with the same secret afterwards', async () => {
      done(await unprotect(guest));
      const xml = await definition(guest);
      assert.doesNotMatch(xml, /<encryption|tvmmp:vm|xmlns/);
      assert.doesNotMatch(await lab.on('alpha', 'virsh', '-q', 'secret-list'), /tvmmp/);
      await lab.must('stop-agent', 'alpha');
      try {
        assert.equal((await lab.boot('alpha', guest)).secret, secret);
        await lab.on('alpha', 'virsh', '-q', 'destroy', guest.name);
      } finally {
        await lab.must('start-agent', 'alpha');
      }
      refused(await unprotect(guest), /not protected/);
    });

    it('has a proof that ends with destroyed', async () => {
      const { head, entries } = await lab.proof('alpha', guest);
      assert.equal(head.state, 'destroyed');
      assert.deepEqual(
        entries.map(({ kind }) => kind),
        ['created', 'started', 'stopped', 'destroyed'],
      );
    });

    it('begins another life when it is protected again, with the same secret', async () => {
      done(await protect(guest));
      assert.deepEqual(await lab.kinds('alpha', guest), ['created']);
      assert.equal((await lab.boot('alpha', guest)).secret, secret);
      await off(guest);
      done(await unprotect(guest));
    });
  });

  it('makes the vTPM of a VM that never started', async () => {
    const guest = await lab.guest('alpha', 'fresh', { protect: false, start: false });
    done(await protect(guest));
    assert.ok(existsSync(statePath(guest)));
    const { secret } = await lab.boot('alpha', guest);
    await off(guest);
    done(await unprotect(guest));
    assert.equal((await lab.boot('alpha', guest)).secret, secret);
    await off(guest);
  });

  it('is refused while the VM runs, and changes nothing', async () => {
    const { guest } = await lived('running');
    await lab.boot('alpha', guest);
    const before = await definition(guest);
    refused(await protect(guest), /shut it down first/);
    await lab.ticksOn('alpha', guest);
    await off(guest);
    await untouched(guest, before);
  });

  it('is refused without a vTPM, and changes nothing', async () => {
    const guest = await lab.guest('alpha', 'bare', { protect: false, start: false });
    const file = join(lab.directory, 'bare.xml');
    writeFileSync(file, (await definition(guest)).replace(/<tpm [\s\S]*<\/tpm>/, ''));
    await lab.on('alpha', 'virsh', '-q', 'define', file);
    const before = await definition(guest);
    refused(await protect(guest), /no emulated TPM/);
    await untouched(guest, before);
  });

  it('is refused for a vTPM with an encryption of its own, and changes nothing', async () => {
    const guest = await lab.guest('alpha', 'own', { protect: false, start: false, encrypted: true });
    const before = await definition(guest);
    refused(await protect(guest), /secret of your own/);
    await untouched(guest, before);
  });

  it('is refused for a saved VM, and changes nothing', async () => {
    const { guest } = await lived('saved');
    await lab.boot('alpha', guest);
    await lab.on('alpha', 'virsh', '-q', 'managedsave', guest.name);
    const before = await definition(guest);
    refused(await protect(guest), /saved/);
    await lab.on('alpha', 'virsh', '-q', 'start', guest.name);
    await lab.ticksOn('alpha', guest);
    await off(guest);
    await untouched(guest, before);
  });

  it('names a VM that libvirt does not know', async () => {
    const result = await lab.exec('alpha', 'tvmmp', 'vm', 'protect', 'nobody');
    assert.notEqual(result.status, 0);
    assert.match(result.stderr, /nobody/);
  });

  for (const [when, reached] of [
    ['before the vTPM is encrypted', (guest: Guest) => existsSync(markPath(guest))],
    ['right after the vTPM was encrypted', (guest: Guest, clear: Buffer) => changed(guest, clear)],
  ] as const) {
    it(`is finished when asked again, after the agent was killed ${when}`, async () => {
      const { guest, secret } = await lived(`killed-${when.split(' ')[0] ?? ''}`);
      const clear = readFileSync(statePath(guest));
      const asked = protect(guest);
      const end = Date.now() + momentMs;
      while (!reached(guest, clear)) {
        assert.ok(Date.now() < end, 'that moment never came');
        await nextTurn();
      }
      await lab.killAgent('alpha');
      assert.notEqual((await asked).status, 0);
      await lab.must('start-agent', 'alpha');
      done(await protect(guest));
      assert.equal((await lab.boot('alpha', guest)).secret, secret);
      assert.deepEqual(await lab.kinds('alpha', guest), ['created', 'started']);
      await off(guest);
      done(await unprotect(guest));
      assert.equal((await lab.boot('alpha', guest)).secret, secret);
      await off(guest);
    });
  }

  it('is ended when asked again, after the agent was killed right after the vTPM was decrypted', async () => {
    const { guest, secret } = await lived('ended');
    done(await protect(guest));
    const sealed = readFileSync(statePath(guest));
    const asked = unprotect(guest);
    const end = Date.now() + momentMs;
    while (!changed(guest, sealed)) {
      assert.ok(Date.now() < end, 'the vTPM was never decrypted');
      await nextTurn();
    }
    await lab.killAgent('alpha');
    assert.notEqual((await asked).status, 0);
    await lab.must('start-agent', 'alpha');
    done(await unprotect(guest));
    assert.equal((await lab.boot('alpha', guest)).secret, secret);
    await off(guest);
  });

  async function untouched(guest: Guest, before: string): Promise<void> {
    assert.equal(await definition(guest), before);
    assert.equal(await lab.vm('alpha', guest), null);
    assert.ok(!existsSync(markPath(guest)));
  }

  function statePath(guest: Guest): string {
    return join(lab.vtpmDirectory('alpha', guest), 'tpm2/tpm2-00.permall');
  }

  function markPath(guest: Guest): string {
    return join(lab.hostDirectory('alpha'), 'fs/var-lib-tvmmp/protected', guest.uuid);
  }

  /** Whether the vTPM's state is another than it was; not while it is being replaced. */
  function changed(guest: Guest, before: Buffer): boolean {
    try {
      return !readFileSync(statePath(guest)).equals(before);
    } catch {
      return false;
    }
  }
});
