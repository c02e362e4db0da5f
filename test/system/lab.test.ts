/** The lab itself: two real libvirt hosts with TPMs, and a guest whose vTPM survives the move between them. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { Lab, labMissing } from '../../scripts/lab.d/lab.ts';
import type { Tick } from '../../scripts/lab.d/lab.ts';
import { skipWithout } from '../support/skip.ts';

const TCTI = 'swtpm:host=127.0.0.1,port=2321';
const EVENT_LOG = '/var/lib/tvmmp/boot/binary_bios_measurements';
const MOUNT_POINTS = ['/etc/tvmmp', '/var/lib/tvmmp', '/var/log/tvmmp'];

/** PCR values by index, lower-case hex, as tpm2-tools print them. */
function pcrs(text: string): ReadonlyMap<number, string> {
  const found = [...text.matchAll(/^ +(\d+) *: 0x([0-9a-fA-F]{64})$/gm)];
  return new Map(found.map((match) => [Number(match[1]), match[2]!.toLowerCase()]));
}

/** Whether a process of some mount namespace has something mounted there. */
function mountedSomewhere(path: string): boolean {
  return readdirSync('/proc').some((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/mountinfo`, 'utf8').includes(` ${path} `);
    } catch {
      return false; // it has ended meanwhile
    }
  });
}

/** Processes that live in one of these mount namespaces. */
function processesIn(namespaces: ReadonlySet<string>): readonly string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return namespaces.has(readlinkSync(`/proc/${pid}/ns/mnt`));
    } catch {
      return false; // it has ended meanwhile
    }
  });
}

/** What the machine shows to everybody, but for disks of other labs that come and go meanwhile (their hosts' file systems are mounted outside). */
function machine(own: string | null): {
  readonly links: string;
  readonly namespaces: string;
  readonly mounts: readonly string[];
} {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  return {
    links: execFileSync('ip', ['-brief', 'link'], { encoding: 'utf8' }),
    namespaces: execFileSync('ip', ['netns'], { encoding: 'utf8' }),
    mounts: mounts.filter(
      (line) => (own !== null && line.includes(own)) || !line.includes('/tvmmp-lab-test-'),
    ),
  };
}

function assertUnbroken(ticks: readonly Tick[]): void {
  assert.deepEqual(
    ticks.map((tick) => tick.number),
    ticks.map((_, i) => i + 1),
    'a tick is missing or came twice',
  );
  for (const tick of ticks) {
    assert.ok(tick.pcr !== null && tick.secret !== null, `tick ${tick.number} met a TPM error`);
    assert.equal(tick.pcr, ticks[0]!.pcr, `PCR 11 changed at tick ${tick.number}`);
    assert.equal(tick.secret, ticks[0]!.secret, `the sealed secret changed at tick ${tick.number}`);
  }
}

describe('the lab', function () {
  this.timeout(180_000);
  let lab: Lab;
  const before_ = { machine: machine(null), mountPoints: MOUNT_POINTS.filter((path) => existsSync(path)) };

  before(async function () {
    skipWithout(this, labMissing());
    lab = new Lab();
    await lab.must('up', '--certs', 'self');
  });

  after(async () => {
    await lab.close();
  });

  const readPcrs = async (host: string): Promise<ReadonlyMap<number, string>> =>
    pcrs(await lab.on(host, 'tpm2_pcrread', '-T', TCTI, 'sha256:0,1,2,3,4,5,6,7'));
  const replayLog = async (host: string): Promise<ReadonlyMap<number, string>> =>
    pcrs(await lab.on(host, 'tpm2_eventlog', EVENT_LOG));
  const resetCount = async (host: string): Promise<number> =>
    Number(/reset_count: (\d+)/.exec(await lab.on(host, 'tpm2_readclock', '-T', TCTI))![1]);

  it('brings up hosts with a TPM and libvirt each', async () => {
    const hosts = await lab.hosts();
    assert.deepEqual(
      hosts.map(({ name, state, tpm, libvirtd, agent }) => ({ name, state, tpm, libvirtd, agent })),
      ['alpha', 'beta'].map((name) => ({ name, state: 'up', tpm: true, libvirtd: true, agent: false })),
    );
    const uuids = new Set<string>();
    for (const { name, address } of hosts) {
      assert.equal((await lab.on(name, 'hostname')).trim(), name);
      assert.equal(
        (await lab.on('alpha', 'virsh', '-c', `qemu+tcp://${name}/system`, 'hostname')).trim(),
        name,
      );
      uuids.add(/<uuid>(.*)<\/uuid>/.exec(await lab.on(name, 'virsh', 'capabilities'))![1]!);
      const config = JSON.parse(await lab.on(name, 'cat', '/etc/tvmmp/tvmmpd.json')) as unknown;
      assert.deepEqual(config, {
        name,
        tpm: { tcti: TCTI },
        libvirt: { uri: 'qemu:///system' },
        listen: { address, port: 16515 },
        logs: {
          eventLog: '/var/lib/tvmmp/boot/binary_bios_measurements',
          ima: '/var/lib/tvmmp/boot/binary_runtime_measurements',
        },
      });
    }
    assert.equal(uuids.size, 2);
  });

  it('runs commands on a host with their input, directory and exit code', async () => {
    const result = await lab.run(['exec', 'beta', '--', 'sh', '-c', 'cat; pwd; exit 7'], {
      input: 'in\n',
      cwd: '/usr/share',
    });
    assert.deepEqual([result.status, result.stdout], [7, 'in\n/usr/share\n']);
    assert.notEqual((await lab.run(['exec', 'nowhere', '--', 'true'])).status, 0);
  });

  it('gives each TPM EK certificates of the lab’s manufacturer', async () => {
    const root = new X509Certificate(readFileSync(`${lab.directory}/tpm-roots/root.pem`));
    const keys = new Set<string>();
    for (const host of ['alpha', 'beta']) {
      for (const index of ['0x01c00002', '0x01c00016']) {
        const read = `tpm2_nvread -Q -T ${TCTI} ${index} -o /dev/stdout | base64 -w 0`;
        const certificate = new X509Certificate(Buffer.from(await lab.on(host, 'sh', '-c', read), 'base64'));
        assert.ok(certificate.verify(root.publicKey), `${host} ${index}`);
        keys.add(certificate.publicKey.export({ type: 'spki', format: 'pem' }).toString());
      }
    }
    assert.equal(keys.size, 4);
  });

  it('measures the boot into PCRs that the event log explains', async () => {
    const measured = await readPcrs('alpha');
    assert.equal(measured.size, 8);
    assert.deepEqual(await replayLog('alpha'), measured);
    assert.deepEqual(await readPcrs('beta'), measured, 'hosts with the same firmware differ');
  });

  it('measures another boot otherwise, and counts the reset', async () => {
    const [measured, count] = [await readPcrs('beta'), await resetCount('beta')];
    await lab.must('reboot', 'beta', '--measure', '4:another kernel');
    const other = await readPcrs('beta');
    assert.deepEqual(await replayLog('beta'), other);
    assert.notEqual(other.get(4), measured.get(4));
    assert.deepEqual(new Map(other).set(4, measured.get(4)!), measured);
    assert.equal(await resetCount('beta'), count + 1);
    await lab.must('reboot', 'beta', '--hard');
    assert.deepEqual(await readPcrs('beta'), measured);
    assert.equal(await resetCount('beta'), count + 2);
  });

  it('extends a PCR at run time', async () => {
    const measured = await readPcrs('beta');
    await lab.must('tpm-extend', 'beta', '7', 'ab'.repeat(32));
    const extended = await readPcrs('beta');
    assert.notEqual(extended.get(7), measured.get(7));
    assert.notDeepEqual(await replayLog('beta'), extended);
    assert.notEqual((await lab.run(['tpm-extend', 'beta', '7', 'ab'])).status, 0);
  });

  it('migrates a running guest with its vTPM by plain libvirt, over TLS', async () => {
    await lab.must('guest-define', 'alpha', 'guest', '--encrypted');
    await lab.on('alpha', 'virsh', 'start', 'guest');
    await lab.ticked('guest', 'alpha', 3);
    await lab.on(
      'alpha',
      ...'virsh migrate --live --p2p --tls --persistent --undefinesource guest qemu+tcp://beta/system'.split(
        ' ',
      ),
    );
    const ticks = await lab.ticked('guest', 'beta', 3);
    assertUnbroken(ticks);
    const hosts = await lab.hosts();
    assert.deepEqual(
      hosts.map(({ domains }) => domains),
      [[], [{ name: 'guest', state: 'running' }]],
    );
  });

  it('keeps the guest running while libvirtd starts anew', async () => {
    const before = (await lab.ticks('guest')).filter((tick) => tick.host === 'beta').length;
    await lab.must('restart-libvirtd', 'beta');
    assertUnbroken(await lab.ticked('guest', 'beta', before + 2));
    assert.equal((await lab.on('beta', 'virsh', 'domstate', 'guest')).trim(), 'running');
  });

  it('keeps a secret in the vTPM while the guest is off', async () => {
    const before = (await lab.ticks('guest')).at(-1)!;
    await lab.on('beta', 'virsh', 'destroy', 'guest');
    const ticked = (await lab.ticks('guest')).filter((tick) => tick.host === 'beta').length;
    await lab.on('beta', 'virsh', 'start', 'guest');
    const after = (await lab.ticked('guest', 'beta', ticked + 1)).at(-1)!;
    assert.equal(after.secret, before.secret);
    assert.notEqual(after.pcr, before.pcr, 'a boot leaves PCR 11 as it was');
  });

  it('cuts a host off, and connects it again', async () => {
    const reach = ['exec', 'alpha', '--', 'timeout', '2', 'bash', '-c', '</dev/tcp/beta/16509'];
    await lab.must('link', 'beta', 'down');
    assert.notEqual((await lab.run(reach)).status, 0);
    await lab.must('link', 'beta', 'up');
    assert.equal((await lab.run(reach)).status, 0);
  });

  it('leaves nothing behind when it goes down with guests running', async () => {
    const namespaces = new Set((await lab.hosts()).map(({ pid }) => readlinkSync(`/proc/${pid!}/ns/mnt`)));
    assert.ok(processesIn(namespaces).length > 6);
    await lab.must('down');
    assert.deepEqual(processesIn(namespaces), []);
    assert.ok(!existsSync(lab.directory));
    assert.deepEqual(machine(lab.root), before_.machine);
    for (const path of MOUNT_POINTS) {
      // One that the lab made may stay while another lab on this machine uses it.
      const left = existsSync(path) && !before_.mountPoints.includes(path);
      assert.ok(!left || mountedSomewhere(path), `${path} stays behind`);
    }
    await lab.must('down');
  });
});
