/** Two whole machines, set up as README says, between which a guest moves under a policy with rules about their logs. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { NestedLab } from '../support/nested-lab.ts';
import { judgeMachine } from '../support/machine-verdict.ts';
import { readmeBlock, readmeBlocks } from '../support/readme-blocks.ts';

const hosts = ['alpha', 'beta'] as const;
type HostName = (typeof hosts)[number];
const addresses = { alpha: '192.0.2.11', beta: '192.0.2.12' };
const rules = 'secureBoot,keys,firmware,images,bootFiles,commandLines,ima';

interface Tick {
  readonly number: number;
  readonly pcr: string;
  readonly secret: string;
}

interface Refusal {
  readonly verdict: {
    readonly checks: readonly { readonly name: string; readonly outcome: string; readonly found: string }[];
  } | null;
}

describe('two machines with firmware, Secure Boot, TPM, IMA, systemd and AppArmor', function () {
  let lab: NestedLab;
  let first: Tick;
  let draft: string;

  before(async function () {
    lab = await NestedLab.up(hosts);
    // The authority's machine is a part of alpha: a third one emulated would take its time from the others.
    await lab.shell(
      'alpha',
      `ip address add 192.0.2.10/24 dev "$(ip -br link | awk '/52:54:00:00:02:/ { print $1 }')"`,
    );
  });

  after(async function () {
    await (lab as NestedLab | undefined)?.down();
  });

  it('get the program, an authority, keys and a policy', async () => {
    // The machines have no network but their own: what is cloned and built is on their disk already.
    const program = readmeBlock('1. The program, on all three machines')
      .split('\n')
      .filter((line) => !line.startsWith('git clone') && line !== 'scripts/setup')
      .join('\n');
    await onHosts(() => program);
    await lab.shell('alpha', readmeBlock('2. The authority, on its machine'));
    await lab.put('alpha', '/srv/tpm-roots/root.pem', await lab.tpmRoot());
    await copy('alpha', 'bundle.json', 'beta');
    await onHosts((host) => of(host, readmeBlock('3. Keys and measurement, on each host')));
    await copy('beta', 'beta.json', 'alpha');
    await lab.shell('alpha', readmeBlock('4. The policy, at the authority'));
  });

  it('enrol over ssh, and every part of them is good', async () => {
    await onHosts((host) => of(host, readmeBlock('5. Enrolment, on each host')));
    const [configuration = ''] = readmeBlocks('6. libvirt, on each host', '');
    await onHosts(
      () => `cat >>/etc/libvirt/qemu.conf <<'CONF'\n${configuration}CONF
        cat /opt/tvmmp/packaging/apparmor/libvirt-qemu >>/etc/apparmor.d/local/abstractions/libvirt-qemu
        systemctl stop libvirtd && systemctl enable --now libvirtd-tls.socket && systemctl restart libvirtd`,
    );
    for (const status of await onHosts((host) => of(host, readmeBlock('7. Agent and hook, on each host')))) {
      assert.match(status, /good/);
      assert.doesNotMatch(status, /MISSING|BAD/, status);
    }
  });

  it('start a guest with a protected vTPM, confined by AppArmor', async () => {
    await lab.put('alpha', 'web.xml', definition());
    await onHosts(() => 'truncate -s 1M /var/lib/libvirt/images/web.img');
    await lab.shell('alpha', 'virsh define web.xml && tvmmp vm protect web && virsh start web');
    assert.match(
      await lab.shell('alpha', 'cat "/proc/$(pgrep -x swtpm)/attr/current"'),
      /^libvirt-.*enforce/,
    );
    first = await tick('alpha', 1);
  });

  it('get a policy with rules about logs, of what they have measured', async () => {
    // What is typed on beta later is measured before it is captured.
    await judgeMachine(lab, 'beta', null);
    await lab.shell('beta', 'virsh --version; touch ticks; tail ticks | grep tick || sleep 1; tvmmp explain');
    await lab.shell('beta', 'tvmmp reference capture -o beta-reference.json');
    await copy('beta', 'beta-reference.json', 'alpha');
    await lab.shell(
      'alpha',
      `mkdir -p tree/opt/tvmmp && cp -r /opt/tvmmp/dist tree/opt/tvmmp/
      tvmmp reference files tree -o program.json
      tvmmp reference capture -o alpha-reference.json
      tvmmp reference merge alpha-reference.json beta-reference.json program.json -o fleet.json
      tvmmp policy new --id fleet --version 2 --pcrs 0 --reference fleet.json --rules ${rules} -o draft.json
      tvmmp policy sign /srv/authority draft.json --reference fleet.json -o policy.json`,
    );
    await copy('alpha', 'policy.json', 'beta');
    await onHosts(() => 'tvmmp policy install policy.json');
    draft = await lab.shell('alpha', 'cat draft.json');
    assert.deepEqual(await judgeMachine(lab, 'beta', draft), {});
  });

  it('refuse one on which a file was changed and run, for that file alone', async () => {
    await lab.shell('beta', 'printf x >>/usr/bin/virsh; virsh --version; truncate -s -1 /usr/bin/virsh');
    const failed = await refusal();
    assert.deepEqual(Object.keys(failed), ['ima-files']);
    assert.match(failed['ima-files'] ?? '', /^1 others: \/usr\/bin\/virsh has another digest than listed/);
    assert.deepEqual(await judgeMachine(lab, 'beta', draft), failed);
  });

  it('refuse one that was booted with Secure Boot off, for that alone', async () => {
    await lab.reboot('beta', '--secure-boot', 'off');
    assert.deepEqual(await refusal(), { 'secure-boot': 'off' });
    assert.deepEqual(await judgeMachine(lab, 'beta', draft), { 'secure-boot': 'off' });
  });

  it('refuse one that was booted with another command line of the kernel, for that alone', async () => {
    await lab.reboot('beta', '--cmdline', 'lockdown=none');
    const found = '"/boot/vmlinuz root=LABEL=nested ro console=ttyS0 quiet lockdown=none"';
    assert.deepEqual(await refusal(), { 'command-lines': found });
    assert.deepEqual(await judgeMachine(lab, 'beta', draft), { 'command-lines': found });
  });

  it('move the guest there and back, booted as they were captured', async () => {
    await lab.reboot('beta');
    const before = await tick('alpha', first.number);
    await lab.shell('alpha', migration('beta'));
    const there = await tick('beta', before.number + 1);
    await lab.shell('beta', migration('alpha'));
    const back = await tick('alpha', there.number + 1);
    // The same boot of the same vTPM, and what it sealed.
    for (const { pcr, secret } of [there, back])
      assert.deepEqual({ pcr, secret }, { pcr: first.pcr, secret: first.secret });
    const proof = await lab.shell('alpha', 'tvmmp proof show web');
    assert.match(proof, /running on alpha/);
    assert.equal([...proof.matchAll(/ arrived .* fleet v2 /g)].length, 2, proof);
  });

  /** Tries to move the guest to beta: which checks alpha says have failed, and what it found. The guest runs on. */
  async function refusal(): Promise<Record<string, string>> {
    const before = await tick('alpha', first.number);
    await assert.rejects(lab.shell('alpha', migration('beta')), /tvmmp: refused: alpha does not trust beta/);
    const [last] = JSON.parse(await lab.shell('alpha', 'tvmmp explain --json')) as Refusal[];
    const after = await tick('alpha', before.number + 1);
    assert.deepEqual([after.pcr, after.secret], [first.pcr, first.secret]);
    const failed = last?.verdict?.checks.filter(({ outcome }) => outcome === 'fail') ?? [];
    return Object.fromEntries(failed.map(({ name, found }) => [name, found]));
  }

  /** The last whole tick of the guest on that host, once there is one with that number or a later one. The machine waits itself: a login takes it long. */
  async function tick(host: HostName, atLeast: number): Promise<Tick> {
    const line = await lab.shell(
      host,
      `last() { tail -n 4 /var/log/libvirt/qemu/web-console.log | grep -a '^tick .* ok t=' | tail -n 1; }
      until line=$(last) && read -r _ number _ <<<"$line" && ((number >= ${atLeast})); do sleep 2; done
      echo "$line"`,
    );
    const [, number = '', pcr = '', secret = ''] = /^tick (\d+) pcr=(\w+) secret=(\w+) ok/.exec(line) ?? [];
    return { number: Number(number), pcr, secret };
  }

  async function onHosts(script: (host: HostName) => string): Promise<string[]> {
    return Promise.all(hosts.map((host) => lab.shell(host, script(host))));
  }

  async function copy(from: HostName, file: string, to: HostName): Promise<void> {
    await lab.put(to, file, await lab.shell(from, `cat ${file}`));
  }
});

function migration(to: HostName): string {
  return `virsh migrate --live --p2p --tls --persistent --undefinesource web qemu+tls://${to}/system`;
}

/** What README writes for alpha, for this host. */
function of(host: HostName, block: string): string {
  return block.replaceAll('alpha', host).replaceAll(addresses.alpha, addresses[host]);
}

/** The lab's guest, emulated within the emulation. */
function definition(): string {
  const values: Readonly<Record<string, string>> = {
    ACCELERATOR: 'qemu',
    CPU: "<cpu mode='custom' match='exact'><model>qemu64</model></cpu>",
    NAME: 'web',
    UUID: '7476d6d7-0000-4000-8000-000000000001',
    GUEST: '/var/lib/libvirt/images',
    DISK: '/var/lib/libvirt/images/web.img',
    ENCRYPTION: '',
  };
  return readFileSync('scripts/guest/domain.xml', 'utf8').replace(
    /@([A-Z]+)@/g,
    (_, name: string) => values[name] ?? '',
  );
}
