/** Domain XML that is changed on the way, and kinds of migration that a protected VM is not for. */
import assert from 'node:assert/strict';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { attackLab } from '../support/attacker-lab.ts';

describe('attacks: the domain on its way', function () {
  this.timeout(180_000);
  const world = attackLab();

  before(async () => {
    if ((await world().vm('beta')) === undefined) await world().roundTrip();
    symlinkSync('/usr/bin/qemu-system-x86_64', join(world().relayDirectory, 'qemu'));
  });

  afterEach(async () => {
    assert.equal((await world().lab.on('alpha', 'virsh', 'domstate', 'victim')).trim(), 'running');
    await world().becomes('alpha', 'running');
    await world().ticksOn('alpha');
  });

  const facts = /tvmmp: refused: facts: the domain XML is not that of the VM that the source attests/;
  for (const [what, change, reason] of [
    ['another disk', (xml: string) => xml.replace(/victim\.img/, 'other.img'), facts],
    [
      'another emulator',
      (xml: string) => xml.replace(/<emulator>[^<]+</, `<emulator>${world().relayDirectory}/qemu<`),
      facts,
    ],
    [
      'no encryption of its vTPM',
      (xml: string) => xml.replace(/<encryption secret=[^>]+>/, ''),
      /tvmmp: refused: facts: the vTPM of victim is not encrypted|TPM/,
    ],
    [
      'another secret for its vTPM',
      (xml: string) => xml.replace(/(<encryption secret=.)[0-9a-f]{8}/, '$100000000'),
      facts,
    ],
    [
      'arguments of its own for QEMU',
      (xml: string) =>
        xml
          .replace(/<domain ([^>]*)>/, "<domain $1 xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>")
          .replace('</domain>', "<qemu:commandline><qemu:arg value='-S'/></qemu:commandline></domain>"),
      facts,
    ],
    [
      'its metadata stripped',
      (xml: string) => xml.replace(/<tvmmp:vm[^>]*>/, ''),
      /tvmmp: refused: facts: victim is protected, and this definition has lost its tvmmp metadata/,
    ],
    [
      'no agent named in its metadata',
      (xml: string) => xml.replace(/(<tvmmp:vm[^>]*) agent=(["'])[^"']*\2/, '$1'),
      /tvmmp: refused: .*names no tvmmp agent/,
    ],
    [
      'the destination’s own agent named in its metadata',
      (xml: string) => xml.replace(/(<tvmmp:vm[^>]* agent=["'])[^:]*:/, '$1beta:'),
      /tvmmp: refused: /,
    ],
    [
      'nobody listening where its metadata points',
      (xml: string) => xml.replace(/(<tvmmp:vm[^>]* agent=["'][^:]*):\d+/, '$1:9'),
      /tvmmp: refused: cannot reach the agent at/,
    ],
  ] as const) {
    it(`refuses a VM with ${what}`, async () => {
      const file = await world().changedXml(change);
      const { status, stderr } = await world().virshMigrate('beta', '--xml', file);
      assert.equal(status, 1, stderr);
      assert.match(stderr, reason);
    });
  }

  it('gives no key to a host that was never told that the VM is protected', async () => {
    const file = await world().changedXml((xml) => xml.replace(/<tvmmp:vm[^>]*>/, ''));
    const { status, stderr } = await world().virshMigrate('delta', '--xml', file);
    assert.equal(status, 1);
    assert.match(stderr, /secret/i);
  });

  const flags = ['--live', '--p2p', '--persistent', '--undefinesource'];
  for (const [what, given, reason] of [
    [
      'without --tls',
      flags,
      /tvmmp: refused: .*no-tls: memory would travel in clear; add --tls to virsh migrate/,
    ],
    ['with --postcopy', [...flags, '--tls', '--postcopy'], /tvmmp: refused: .*post-?copy/],
    ['with --unsafe', [...flags, '--tls', '--unsafe'], /tvmmp: refused: .*--unsafe is not for protected VMs/],
    ['with --offline', ['--offline', '--p2p', '--persistent', '--undefinesource'], /offline/i],
  ] as const) {
    it(`refuses a migration ${what}`, async () => {
      const { status, stderr } = await world().virshMigrateWith(given, 'beta');
      assert.equal(status, 1, stderr);
      assert.match(stderr, reason);
    });
  }

  it('refuses a host that nobody enrolled', async () => {
    const { status, stderr } = await world().virshMigrate('delta');
    assert.equal(status, 1);
    assert.match(stderr, /tvmmp: refused: /);
  });

  it('lets one of two migrations of one VM go, or none, and never both', async () => {
    await world().withHonestMallory(async () => {
      const results = await Promise.all([world().virshMigrate('beta'), world().virshMigrate('mallory')]);
      const gone = results.filter(({ status }) => status === 0);
      assert.ok(gone.length <= 1, 'both succeeded');
      if (gone.length === 1) await world().becomes('alpha', 'gone');
      const hosts = ['beta', 'mallory'];
      const states = await Promise.all(hosts.map(async (host) => (await world().vm(host))?.state));
      const at = hosts[states.indexOf('running')];
      assert.equal(states.filter((state) => state === 'running').length, gone.length);
      if (at === undefined) return;
      await world().ticksOn(at);
      await world().lab.on(at, 'tvmmp', 'migrate', 'victim', 'alpha');
      await world().becomes(at, 'gone');
    });
  });
});
