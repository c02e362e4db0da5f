import assert from 'node:assert/strict';
import { encode } from '../../../lib/encoding/cbor.ts';
import { canonicalFacts } from '../../../lib/libvirt/canonical-facts.ts';
import { facts, firmwareIsAutomatic, vtpmSecret } from '../../../lib/libvirt/facts.ts';
import { fixture } from './fixtures.ts';

const canonical = (xml: string): string => Buffer.from(encode(canonicalFacts(facts(xml)))).toString('hex');

const RICH = [
  'rich-source-inactive',
  'rich-source-live',
  'rich-source-migratable',
  'rich-hook-migrate-begin',
  'rich-hook-prepare-begin',
  'rich-destination-live',
  'rich-destination-inactive',
];

describe('facts of a domain', () => {
  it('reads a small VM with an encrypted vTPM', () => {
    const read = facts(fixture('small-live'));
    assert.equal(read.uuid, '6f2a4c1e-0000-4000-8000-00000000abcd');
    assert.equal(read.name, 'lvx-vm');
    assert.equal(read.type, 'qemu');
    assert.equal(read.machine, 'pc-q35-7.2');
    assert.equal(read.memoryKiB, 65_536);
    assert.equal(read.emulator, '/usr/bin/qemu-system-x86_64');
    assert.deepEqual(read.tpms, [
      {
        model: 'tpm-crb',
        backend: 'emulator',
        version: '2.0',
        persistentState: false,
        pcrBanks: [],
        encryptionSecret: '6f2a4c1e-0000-4000-8000-00000000feed',
        source: null,
      },
    ]);
    assert.equal(vtpmSecret(read), '6f2a4c1e-0000-4000-8000-00000000feed');
    assert.deepEqual(read.metadata, { untrustedAgent: 'h:1', untrustedRun: null });
  });

  it('reads boot files, disks, interfaces and QEMU pass-through of a rich VM', () => {
    const read = facts(fixture('rich-source-inactive'));
    assert.equal(read.boot.kernel, '/srv/vm/kernel');
    assert.equal(read.boot.commandLine, `console=ttyS0 a='1' "b"`);
    assert.deepEqual(
      read.disks.map((disk) => [disk.target, disk.source, disk.readonly]),
      [
        ['vda', '/srv/vm/disk.raw', false],
        ['sda', '/srv/vm/cd.iso', true],
      ],
    );
    assert.deepEqual(
      read.interfaces.map((one) => [one.type, one.source]),
      [
        ['network', 'brnet'],
        ['user', null],
      ],
    );
    assert.deepEqual(read.passThrough.arguments, ['-fw_cfg', 'name=opt/a,string=b']);
    assert.deepEqual(read.passThrough.environment, ['A=b']);
    assert.equal(vtpmSecret(read), null, 'an unencrypted vTPM has no secret');
  });

  it('have one canonical form at rest, running, on the way, in the hooks and after the migration', () => {
    const first = canonical(fixture('rich-source-inactive'));
    for (const name of RICH) assert.equal(canonical(fixture(name)), first, name);
    assert.equal(canonical(fixture('small-live')), canonical(fixture('small-inactive')));
  });

  it('are final once libvirt has chosen the firmware, and say so when it has not', () => {
    const inactive = facts(fixture('efi-inactive'));
    assert.equal(firmwareIsAutomatic(inactive), true);
    const running = ['efi-live', 'efi-hook-prepare-begin', 'efi-destination-live'];
    for (const name of running) {
      assert.equal(firmwareIsAutomatic(facts(fixture(name))), false, name);
      assert.equal(canonical(fixture(name)), canonical(fixture('efi-live')), name);
    }
    assert.equal(facts(fixture('efi-live')).boot.loader, '/srv/vm/code.fd');
    assert.notEqual(canonical(fixture('efi-inactive')), canonical(fixture('efi-live')));
  });

  describe('change their canonical form when', () => {
    const changes: readonly (readonly [string, (xml: string) => string])[] = [
      ['the UUID changes', (xml) => xml.replace('00000000ab01', '00000000ab02')],
      ['the name changes', (xml) => xml.replace('<name>rich<', '<name>poor<')],
      ['the machine changes', (xml) => xml.replace('pc-q35-7.2', 'pc-q35-7.1')],
      ['the emulator changes', (xml) => xml.replace('/usr/bin/qemu-system', '/tmp/qemu-system')],
      ['the kernel changes', (xml) => xml.replace('/srv/vm/kernel', '/srv/vm/other')],
      ['the command line changes', (xml) => xml.replace('console=ttyS0', 'console=ttyS1')],
      ['a loader appears', (xml) => xml.replace('<kernel>', '<loader>/x</loader><kernel>')],
      ['a disk has another source', (xml) => xml.replace('/srv/vm/disk.raw', '/srv/vm/evil.raw')],
      ['a disk becomes writable', (xml) => xml.replace(/<readonly\/>/, '')],
      ['the vTPM is encrypted', (xml) => xml.replace('</backend>', `<encryption secret='x'/></backend>`)],
      ['the vTPM is another', (xml) => xml.replace('tpm-crb', 'tpm-tis')],
      ['the vTPM is external', (xml) => xml.replace(`backend type='emulator'`, `backend type='external'`)],
      ['its PCR banks change', (xml) => xml.replace('<sha1/>', '')],
      ['a QEMU argument changes', (xml) => xml.replace('string=b', 'string=c')],
      ['a QEMU environment variable changes', (xml) => xml.replace(`name='A'`, `name='LD_PRELOAD'`)],
      ['firmware configuration changes', (xml) => xml.replace('>value<', '>other<')],
      ['memory changes', (xml) => xml.replace('65536</memory>', '65537</memory>')],
      ['a MAC address changes', (xml) => xml.replace(/(<mac address=')../, '$102')],
      [
        'a host device appears',
        (xml) => xml.replace('</devices>', `<hostdev mode='subsystem' type='pci'/></devices>`),
      ],
      [
        'a file system appears',
        (xml) =>
          xml.replace('</devices>', `<filesystem type='mount'><source dir='/'/></filesystem></devices>`),
      ],
      ['shared memory appears', (xml) => xml.replace('</devices>', `<shmem name='x'/></devices>`)],
      ['it loses our metadata', (xml) => xml.replace(/<tvmmp:vm [^>]*>/, '')],
      [
        'launch security appears',
        (xml) => xml.replace('</devices>', `</devices><launchSecurity type='sev'/>`),
      ],
    ];
    const xml = fixture('rich-source-inactive');
    for (const [when, change] of changes) {
      it(when, () => {
        assert.notEqual(change(xml), xml, 'the change hits the XML');
        assert.notEqual(canonical(change(xml)), canonical(xml));
      });
    }
  });

  describe('keep their canonical form when', () => {
    const changes: readonly (readonly [string, (xml: string) => string])[] = [
      [
        'the holder writes its own address into our metadata',
        (xml) => xml.replace(`agent="h:1"`, `agent="k:2"`),
      ],
      ['the order of the disks changes', swapDisks],
      ['the balloon shrinks', (xml) => xml.replace('65536</currentMemory>', '1024</currentMemory>')],
      ['somebody else’s metadata changes', (xml) => xml.replace('>other<', '>new<')],
      ['the UUID is written in capitals', (xml) => xml.replace('6f2a4c1e', '6F2A4C1E')],
    ];
    const xml = fixture('rich-source-inactive');
    for (const [when, change] of changes) {
      it(when, () => {
        assert.notEqual(change(xml), xml, 'the change hits the XML');
        assert.equal(canonical(change(xml)), canonical(xml));
      });
    }
  });

  describe('are refused for', () => {
    const small = fixture('small-inactive');
    const deep = `${'<a>'.repeat(40)}${'</a>'.repeat(40)}`;
    const cases: readonly (readonly [string, string, string])[] = [
      ['no XML', 'hello', 'domain-xml-invalid'],
      ['nothing', '', 'domain-xml-invalid'],
      ['another root', '<network/>', 'domain-xml-invalid'],
      ['an unended tag', small.slice(0, 500), 'domain-xml-invalid'],
      ['tags that cross', small.replace('</cpu>', '</cpx>'), 'domain-xml-invalid'],
      ['two roots', small + small, 'domain-xml-invalid'],
      ['a document type', `<!DOCTYPE domain [<!ENTITY a "b">]>${small}`, 'domain-xml-invalid'],
      ['an entity that XML does not know', small.replace('lvx-vm', '&lvx;'), 'domain-xml-invalid'],
      [
        'an attribute given twice',
        small.replace(`<domain type=`, `<domain type='kvm' type=`),
        'domain-xml-invalid',
      ],
      ['two UUIDs', small.replace('<name>', '<uuid>x</uuid><name>'), 'domain-xml-invalid'],
      ['no UUID', small.replace(/<uuid>.*<\/uuid>/, ''), 'domain-xml-invalid'],
      ['a UUID that is none', small.replace(/<uuid>.*<\/uuid>/, '<uuid>1</uuid>'), 'domain-xml-invalid'],
      ['no name', small.replace(/<name>.*<\/name>/, ''), 'domain-xml-invalid'],
      ['two device lists', small.replace('<devices>', '<devices/><devices>'), 'domain-xml-invalid'],
      ['memory in furlongs', small.replace(`memory unit='KiB'`, `memory unit='fur'`), 'domain-xml-invalid'],
      ['nesting that is too deep', small.replace('<devices>', `${deep}<devices>`), 'limit-exceeded'],
      [
        'XML that is too long',
        small.replace('<devices>', `${' '.repeat(1024 * 1024)}<devices>`),
        'limit-exceeded',
      ],
    ];
    for (const [what, xml, code] of cases) {
      it(what, () => {
        assert.throws(() => facts(xml), { code });
      });
    }
  });
});

function swapDisks(xml: string): string {
  const [first, second] = xml.match(/<disk [\s\S]*?<\/disk>/g) ?? [];
  assert.ok(first !== undefined && second !== undefined);
  return xml.replace(first, 'FIRST').replace(second, first).replace('FIRST', second);
}
