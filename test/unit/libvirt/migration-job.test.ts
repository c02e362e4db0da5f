import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  MIGRATION_FLAGS,
  migrationFlagsNumber,
  migrationFlagsOf,
} from '../../../lib/libvirt/migration-flags.ts';
import { outgoingMigration, readOutgoingMigration } from '../../../lib/libvirt/migration-job.ts';
import { fixture } from './fixtures.ts';

const status = fixture('status-migrating-tls');
const job = (attributes: string): string => status.replace(/<job [^>]*>/, `<job ${attributes}/>`);

describe('libvirt’s record of an outgoing migration', () => {
  it('names the phase and the flags of a real one with TLS', () => {
    const migration = outgoingMigration(status);
    assert.ok(migration !== null);
    assert.equal(migration.uuid, '6f2a4c1e-0000-4000-8000-00000000abcd');
    assert.equal(migration.phase, 'begin3');
    assert.deepEqual(
      [...migration.flags].sort(),
      ['live', 'peer2peer', 'persistDest', 'tls', 'undefineSource'].sort(),
    );
    assert.equal(migration.unknownFlags, 0);
  });

  it('shows no TLS where it was not asked for', () => {
    const migration = outgoingMigration(job(`type='none' async='migration out' phase='begin3' flags='0x1b'`));
    assert.equal(migration?.flags.has('tls'), false);
    assert.equal(migration.flags.has('live'), true);
  });

  it('is null where another job or none is under way', () => {
    assert.equal(outgoingMigration(job(`type='none' async='save' flags='0x0'`)), null);
    assert.equal(outgoingMigration(job(`type='none' async='migration in' flags='0x10000'`)), null);
    assert.equal(outgoingMigration(status.replace(/<job [^>]*>/, '')), null);
  });

  it('is null until the migration has reached its first phase, for libvirt writes its flags only then', () => {
    // Seen on 9.0.0, some milliseconds before phase='begin3' flags='0x1b'.
    const first = job(`type='none' async='migration out' flags='0x0' asyncStarted='1795433686051'`);
    assert.equal(outgoingMigration(first), null);
  });

  it('reports bits that it does not know instead of dropping them', () => {
    const migration = outgoingMigration(job(`async='migration out' phase='perform3' flags='0x80000001'`));
    assert.deepEqual([...(migration?.flags ?? [])], ['live']);
    assert.equal(migration?.unknownFlags, 0x8000_0000);
  });

  it('is refused, not taken for no migration, when it cannot be understood', () => {
    for (const xml of [
      job(`async='migration out' phase='begin3'`),
      job(`async='migration out' phase='begin3' flags='17'`),
      job(`async='migration out' phase='begin3' flags='0x'`),
      job(`async='migration out' phase='begin3' flags='0x111111111'`),
      '<domain/>',
      status.slice(0, 4000),
    ]) {
      assert.throws(() => outgoingMigration(xml), { code: 'domain-xml-invalid' });
    }
  });

  it('is read by the VM’s name, and only by a name that can be a file’s', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tvmmp-status-'));
    try {
      writeFileSync(join(directory, 'vm.xml'), status);
      assert.equal((await readOutgoingMigration('vm', directory))?.flags.has('tls'), true);
      assert.equal(await readOutgoingMigration('other', directory), null);
      for (const name of ['', '../vm', '.', '..', 'a/b', 'a\0']) {
        await assert.rejects(readOutgoingMigration(name, directory), { code: 'domain-xml-invalid' });
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('migration flags', () => {
  it('are libvirt’s bits', () => {
    assert.equal(migrationFlagsNumber(['live', 'peer2peer', 'persistDest', 'undefineSource']), 0x1b);
    assert.equal(migrationFlagsNumber(['tls']), 1 << 16);
    assert.equal(migrationFlagsNumber(['zerocopy']), 1 << 20);
  });

  it('survive the way to a number and back, each alone and all together', () => {
    for (const flags of [...MIGRATION_FLAGS.map((flag) => [flag]), MIGRATION_FLAGS, []]) {
      const back = migrationFlagsOf(migrationFlagsNumber(flags));
      assert.deepEqual([...back.flags], [...flags]);
      assert.equal(back.unknown, 0);
    }
  });
});
