/** Who has root on an enrolled host, or its files: another machine's journal, another's certificate, a hypervisor that does not ask. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { attackLab, victim, victimUuid } from '../support/attacker-lab.ts';

describe('attacks: insiders', function () {
  this.timeout(180_000);
  const world = attackLab();
  const stateOf = (host: string): string => join(world().lab.directory, 'hosts', host, 'fs/var-lib-tvmmp');

  afterEach(async () => {
    await world().becomes('alpha', 'running');
    await world().ticksOn('alpha');
  });

  it('opens no key from a stolen journal at another host’s TPM', async () => {
    const { lab, relayDirectory } = world();
    const definition = join(relayDirectory, 'stolen.xml');
    writeFileSync(definition, await lab.on('alpha', 'virsh', '-q', 'dumpxml', '--inactive', victim));
    const journal = join(stateOf('mallory'), 'journal.sqlite');
    const honest = join(relayDirectory, 'mallory.sqlite');
    for (const end of ['', '-wal', '-shm'])
      if (existsSync(journal + end)) renameSync(journal + end, honest + end);
    const stolen = new Database(join(stateOf('alpha'), 'journal.sqlite'), { readonly: true });
    await stolen.backup(journal);
    stolen.close();
    const forged = new Database(journal);
    forged.prepare("UPDATE vm SET holder = 'mallory', state = 'stopped' WHERE uuid = ?").run(victimUuid);
    assert.ok(
      forged.prepare('SELECT sealed FROM vm WHERE uuid = ?').pluck().get(victimUuid) instanceof Buffer,
    );
    // Who forges a journal gives it the anchor of its own TPM, too (SPEC 8.8).
    const own = new Database(honest, { readonly: true });
    const anchor = own.prepare("SELECT value FROM setting WHERE key = 'anchor'").pluck().get();
    own.close();
    assert.ok(typeof anchor === 'string');
    forged.prepare("INSERT OR REPLACE INTO setting VALUES ('anchor', ?)").run(anchor);
    forged.close();
    cpSync(world().vtpm('alpha'), world().vtpm('mallory'), { recursive: true });
    try {
      await world().withHonestMallory(async () => {
        await lab.on('mallory', 'virsh', '-q', 'define', definition);
        const { status, stderr } = await world().exec('mallory', 'virsh', '-q', 'start', victim);
        assert.equal(status, 1, 'the stolen VM started');
        assert.match(stderr, /tvmmp: refused: .*(seal|key)/);
        assert.doesNotMatch(await lab.on('mallory', 'virsh', '-q', 'secret-list'), /tvmmp/);
        await lab.on('mallory', 'virsh', '-q', 'undefine', victim);
      });
    } finally {
      rmSync(world().vtpm('mallory'), { recursive: true, force: true });
      for (const end of ['', '-wal', '-shm']) {
        rmSync(journal + end, { force: true });
        if (existsSync(honest + end)) renameSync(honest + end, journal + end);
      }
    }
  });

  it('does not serve with the certificate of another host’s AK', async () => {
    const { lab } = world();
    const [own, others] = [join(world().etc('mallory'), 'ak.pem'), join(world().etc('beta'), 'ak.pem')];
    const before = readFileSync(own);
    await world().mallory.close();
    try {
      cpSync(others, own);
      const { status, stderr } = await lab.run(['start-agent', 'mallory']);
      assert.notEqual(status, 0);
      assert.match(stderr, /this host's TPM does not hold the keys of its certificate/);
    } finally {
      writeFileSync(own, before);
      await world().reloadMallory();
    }
  });

  /** Root at mallory takes the hook away, and has libvirt believe that it has the vTPM's key. */
  async function withoutHook(work: () => Promise<void>): Promise<void> {
    const { lab, relayDirectory } = world();
    const hook = '/etc/libvirt/hooks/qemu.d/50-tvmmp';
    const xml = await lab.on('alpha', 'virsh', '-q', 'dumpxml', '--security-info', victim);
    const secret = /<encryption secret=.([0-9a-f-]{36})/.exec(xml)?.[1] ?? '';
    const file = join(relayDirectory, 'bait.xml');
    writeFileSync(
      file,
      `<secret ephemeral='no' private='no'><uuid>${secret}</uuid><usage type='vtpm'><name>bait</name></usage></secret>`,
    );
    await lab.on('mallory', 'mv', hook, '/run/hook.away');
    await lab.on('mallory', 'virsh', '-q', 'secret-define', file);
    const value = Buffer.from('a'.repeat(64)).toString('base64');
    await lab.on('mallory', 'virsh', '-q', 'secret-set-value', secret, '--base64', value);
    try {
      await work();
      assert.equal((await world().exec('mallory', 'virsh', 'domstate', victim)).status, 1);
    } finally {
      await lab.on('mallory', 'virsh', '-q', 'secret-undefine', secret);
      await lab.on('mallory', 'mv', '/run/hook.away', hook);
    }
  }

  it('sends no memory to another host than the one that attested itself', async () => {
    await withoutHook(async () => {
      const { status, stderr } = await world().tvmmpMigrate('mallory', 'beta:16515');
      assert.notEqual(status, 0);
      assert.match(stderr, /TLS|certificate/);
      await world().becomes('alpha', 'running');
      assert.equal((await world().vm('beta'))?.state ?? 'gone', 'gone');
    });
  });

  it('starts nothing at a host that took its hook away: it has no key for the vTPM', async () => {
    await withoutHook(async () => {
      const { status } = await world().virshMigrate('mallory');
      assert.equal(status, 1, 'the VM went to a host that nobody appraised');
      await world().becomes('alpha', 'running');
    });
  });
});
