/**
 * What README has a user type, typed on fresh hosts: from two of them to a pair with an etcd of three members, and back out again. The lab has
 * no systemd, no ssh and no libvirt over TLS (test/nested has the first): what is said in their place is `spoken` and `systemctl` below.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Lab, labMissing } from '../../scripts/lab.d/lab.ts';
import { readmeBlock, readmeBlocks } from '../support/readme-blocks.ts';
import { skipWithout } from '../support/skip.ts';

const hosts = ['alpha', 'beta'] as const;
const members = ['m1', 'm2', 'm3'] as const;
const fleet = 'A ledger for the fleet';

describe('README, followed by a user with two fresh hosts', () => {
  let lab: Lab;

  before(async function () {
    skipWithout(this, labMissing());
    this.timeout(300_000);
    lab = new Lab();
    await lab.must('up', '--hosts', [...hosts, ...members].join(','));
    mkdirSync(join(lab.directory, 'srv'));
  });

  after(async () => {
    await (lab as Lab | undefined)?.close();
  });

  it('sets up the authority, the policy and both hosts, every part of which is good', async () => {
    await typeAtAuthority(readmeBlock('2. The authority, on its machine'));
    await onHosts((host) => type(host, readmeBlock('3. Keys and measurement, on each host')));
    await typeAtAuthority(readmeBlock('4. The policy, at the authority'));
    for (const host of hosts) {
      await type(host, readmeBlock('5. Enrolment, on each host'));
      const [lines = ''] = readmeBlocks('6. libvirt, on each host', '');
      for (const line of lines.trim().split('\n'))
        assert.ok(readFileSync(file(host, 'etc-libvirt/qemu.conf'), 'utf8').includes(`${line}\n`), line);
      const status = await type(host, readmeBlock('7. Agent and hook, on each host'));
      assert.match(status, /good/);
      assert.doesNotMatch(status, /MISSING|BAD/i);
    }
  });

  it('protects a first VM, which moves', async () => {
    await lab.must('guest-define', 'alpha', 'web');
    // The last line is typed on beta.
    const commands = readmeBlocks('8. The first VM', 'sh')[0]?.trim().split('\n') ?? [];
    const last = commands.pop() ?? '';
    await type('alpha', commands.slice(0, 2).join('\n'));
    await lab.ticked('web', 'alpha', 2);
    await type('alpha', commands.slice(2).join('\n'));
    assert.match(await type('beta', last), /arrived/);
    await lab.ticked('web', 'beta', 2);
  });

  it('brings up an etcd of three members, with certificates and users', async () => {
    const [certificates = '', member = '', users = ''] = readmeBlocks(fleet, 'sh');
    await typeAtAuthority(certificates);
    for (const name of members) {
      for (const part of ['ca.pem', `${name}.pem`, `${name}-key.pem`])
        copy(part, file(name, `etc-tvmmp/${part}`));
      writeFileSync(file(name, 'etc-tvmmp/etcd.default'), await spoken(name, member));
      await lab.on(
        name,
        ...[
          'bash',
          '-c',
          'set -a; . /etc/tvmmp/etcd.default; setsid etcd </dev/null >/var/log/tvmmp/etcd.log 2>&1 &',
        ],
      );
    }
    // etcdctl runs on a machine that reaches the members.
    const answers = await lab.on('m1', 'bash', '-euc', `cd ${srv()}\n${await spoken('m1', users)}`);
    assert.match(answers, /Authentication Enabled/);
  });

  it('has both hosts tell it what they hold, while the VM runs on', async () => {
    const [block = ''] = readmeBlocks(fleet, 'json');
    for (const host of hosts) {
      mkdirSync(file(host, 'etc-tvmmp/etcd'));
      for (const part of ['ca.pem', `${host}.pem`, `${host}-key.pem`])
        copy(part, file(host, `etc-tvmmp/etcd/${part}`));
      const config = file(host, 'etc-tvmmp/tvmmpd.json');
      const added = JSON.parse(await spoken(host, block)) as object;
      writeFileSync(
        config,
        JSON.stringify({ ...(JSON.parse(readFileSync(config, 'utf8')) as object), ...added }),
      );
      const [, , , agents = ''] = readmeBlocks(fleet, 'sh');
      const shown = await type(host, agents);
      assert.match(shown, /ledger +etcd/);
    }
    await migrate('beta', 'alpha');
    assert.notEqual(await etcd('get', '--prefix', '/tvmmp/vm/', '--keys-only'), '');
  });

  it('goes on with one member down', async () => {
    await lab.on('m2', 'bash', '-c', 'kill -9 $(pidof etcd)');
    await migrate('alpha', 'beta');
  });

  it('comes out of etcd again, one host after another, and the members are switched off', async () => {
    for (const host of hosts) {
      const config = file(host, 'etc-tvmmp/tvmmpd.json');
      const { ledger, ...rest } = JSON.parse(readFileSync(config, 'utf8')) as Readonly<
        Record<string, unknown>
      >;
      assert.notEqual(ledger, undefined);
      writeFileSync(config, JSON.stringify(rest));
      await type(host, 'systemctl restart tvmmpd');
      await migrate(host === 'alpha' ? 'beta' : 'alpha', host);
    }
    for (const name of ['m1', 'm3']) await lab.on(name, 'bash', '-c', 'kill -9 $(pidof etcd)');
    await migrate('beta', 'alpha');
  });

  it('has lost nothing: every tick is there, of one boot, with the secret that was sealed in the vTPM', async () => {
    const ticks = await lab.ticks('web');
    ticks.forEach(({ number, pcr, secret }, index) => {
      assert.deepEqual([number, pcr, secret], [ticks[0]!.number + index, ticks[0]!.pcr, ticks[0]!.secret]);
    });
    await lab.must('exec', 'alpha', '--', 'virsh', '-q', 'destroy', 'web');
  });

  it('takes tvmmp away, and leaves a VM of libvirt’s own with its vTPM, and nothing in the TPM', async () => {
    const [secret] = (await lab.ticks('web')).map((tick) => tick.secret);
    const [unprotect = '', remove = ''] = readmeBlocks('Unprotect, and remove', 'sh');
    await type('alpha', unprotect);
    await onHosts((host) => type(host, remove));
    for (const host of hosts) {
      const left = await lab.on(
        host,
        'bash',
        '-c',
        `${tools}; tpm2_getcap handles-persistent; tpm2_getcap handles-nv-index`,
      );
      assert.doesNotMatch(left, /0x8100540[12]|0x1805401/i);
    }
    const ticked = (await lab.ticks('web')).length;
    await lab.on('alpha', 'virsh', '-q', 'start', 'web');
    const ticks = await lab.ticked('web', 'alpha', ticked + 1);
    assert.equal(ticks.at(-1)?.secret, secret);
  });

  const tools = 'export TPM2TOOLS_TCTI=swtpm:host=127.0.0.1,port=2321';
  const srv = (): string => join(lab.directory, 'srv');
  const file = (host: string, path: string): string => join(lab.directory, 'hosts', host, 'fs', path);
  const copy = (from: string, to: string): void => {
    writeFileSync(to, readFileSync(join(srv(), from)), { mode: 0o600 });
  };
  const etcd = async (...words: readonly string[]): Promise<string> => {
    const [, , users = ''] = readmeBlocks(fleet, 'sh');
    const [environment = ''] = (await spoken('m1', users)).split('\n');
    return lab.on('m1', 'bash', '-euc', `cd ${srv()}; ${environment}; etcdctl "$@"`, 'etcdctl', ...words);
  };

  /** README's words as they are on this machine: names and addresses of its own, and other ways where the lab has not got README’s. */
  async function spoken(host: string, block: string): Promise<string> {
    const addresses = new Map((await lab.hosts()).map(({ name, address }) => [name, address]));
    const at = (name: string): string => addresses.get(name) ?? '';
    const own = hosts.find((name) => name === host);
    const text =
      own === 'beta' ? block.replaceAll('alpha', 'beta').replaceAll('192.0.2.11', at('beta')) : block;
    return text
      .replaceAll('m1.pem', members.some((name) => name === host) ? `${host}.pem` : 'm1.pem')
      .replaceAll('m1-key.pem', `${members.find((name) => name === host) ?? 'm1'}-key.pem`)
      .replaceAll('ETCD_NAME=m1', `ETCD_NAME=${host}`)
      .replaceAll(/(URLS=https:\/\/)192\.0\.2\.21/g, `$1${at(host)}`)
      .replaceAll('192.0.2.2$n', `${at('m1').replace(/\d+$/, '')}$((n + ${hosts.length}))`)
      .replaceAll(/192\.0\.2\.2([123])/g, (_, number: string) => at(`m${number}`))
      .replaceAll('192.0.2.11', at('alpha'))
      .replaceAll('/etc/etcd/', '/etc/tvmmp/')
      .replaceAll('/var/lib/etcd/tvmmp', '/var/lib/tvmmp/etcd')
      .replaceAll('/srv/tpm-roots', join(lab.directory, 'tpm-roots'))
      .replaceAll('/srv/authority', join(srv(), 'authority'))
      .replaceAll('ssh root@authority ', '')
      .replaceAll('qemu+tls://', 'qemu+tcp://')
      .replaceAll(/^install .*tvmmpd\.service.*$/gm, '')
      .replaceAll(/rm \/etc\/systemd.*$/gm, 'true')
      .replaceAll(
        'rm -r /etc/tvmmp /var/lib/tvmmp /usr/bin/tvmmp /usr/bin/tvmmpd /opt/tvmmp',
        'rm -r /etc/tvmmp/* /var/lib/tvmmp/*',
      );
  }

  /** Types a block on a host, line by line where systemd is asked for something. Gives what was printed. */
  async function type(host: string, block: string): Promise<string> {
    const printed: string[] = [];
    for (const part of (await spoken(host, block)).split(/^(.*systemctl.*)$/m)) {
      if (part.includes('systemctl')) await systemctl(host, part);
      else printed.push(await lab.on(host, 'bash', '-euc', `${tools}; cd ${srv()}\n${part}`));
    }
    return printed.join('');
  }

  /** What systemd would do: starts, restarts or ends the agent. */
  async function systemctl(host: string, command: string): Promise<void> {
    assert.match(command, /tvmmpd/);
    if (!command.includes('enable')) await lab.must('stop-agent', host);
    if (!command.includes('disable')) await lab.must('start-agent', host);
  }

  async function typeAtAuthority(block: string): Promise<void> {
    // Any machine with the CLI: the lab's hosts share this one's files.
    await lab.on('m1', 'bash', '-euc', `cd ${srv()}\n${await spoken('authority', block)}`);
  }

  async function onHosts(act: (host: string) => Promise<unknown>): Promise<void> {
    await Promise.all(hosts.map(act));
  }

  async function migrate(from: string, to: string): Promise<void> {
    const [, , line = ''] = readmeBlocks('8. The first VM', 'sh')[0]?.split('\n') ?? [];
    const before = (await lab.ticks('web')).filter(({ host }) => host === to).length;
    await lab.on(
      from,
      'bash',
      '-euc',
      (await spoken(from, line)).replace(/\/\/\w+\/system/, `//${to}/system`),
    );
    await lab.ticked('web', to, before + 2);
  }
});
