import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeHostDirectories } from '../../../lib/authority/host-directory.ts';
import { makeTestAuthority, testKeyPair } from '../../support/test-authority.ts';
import type { TestAuthority } from '../../support/test-authority.ts';
import { skipWithout } from '../../support/skip.ts';

/** QEMU's own TLS code, the one that migrations use, reached through its disk server. */
describe("QEMU with a host's migration TLS files", function () {
  this.timeout(60_000);
  let directory: string;
  let authority: TestAuthority;
  let server: ChildProcess | undefined;

  before(async function () {
    const missing = ['qemu-nbd', 'qemu-img'].filter((tool) => spawnSync(tool, ['--version']).error);
    skipWithout(this, missing.length === 0 ? undefined : `not installed: ${missing.join(', ')}`);
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-qemu-tls-'));
    authority = await makeTestAuthority();
    await writeHost('host-a', authority);
    await writeHost('host-b', authority);
    const disk = join(directory, 'disk');
    writeFileSync(disk, '');
    truncateSync(disk, 1 << 20);
    server = serve(disk);
    while (!existsSync(socket())) {
      assert.equal(server.exitCode, null, 'qemu-nbd ended at once');
      await sleep(10);
    }
  });
  after(async () => {
    if (server?.exitCode === null) {
      const ended = once(server, 'exit');
      server.kill('SIGTERM');
      await ended;
    }
    rmSync(directory, { recursive: true, force: true });
  });

  const socket = (): string => join(directory, 'nbd.sock');
  const credentials = (endpoint: string, host: string): string =>
    `tls-creds-x509,id=tls,endpoint=${endpoint},verify-peer=on,dir=${join(directory, host, 'tls')}`;

  function serve(disk: string): ChildProcess {
    const options = ['--persistent', '--format=raw', `--socket=${socket()}`, '--tls-creds=tls'];
    return spawn('qemu-nbd', [...options, '--object', credentials('server', 'host-a'), disk], {
      stdio: 'ignore',
    });
  }

  function connect(host: string, serverName: string): string {
    const image = `driver=nbd,path=${socket()},tls-creds=tls,tls-hostname=${serverName}`;
    const args = ['info', '--object', credentials('client', host), '--image-opts', image];
    return execFileSync('qemu-img', args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString();
  }

  async function writeHost(
    name: string,
    issuer: TestAuthority,
    migrationCertificate?: Uint8Array,
  ): Promise<void> {
    const keys = testKeyPair();
    mkdirSync(join(directory, name));
    const directories = { identity: join(directory, name), migrationTls: join(directory, name, 'tls') };
    const credentials = {
      name,
      root: issuer.root,
      policySigner: issuer.policySigner,
      policy: null,
      revocations: null,
      vtpmIssuers: null,
      akCertificate: await issuer.agentCertificate(name, keys.publicKey),
      agentCertificate: await issuer.agentCertificate(name, keys.publicKey),
      agentKey: keys.privateKey,
      migrationCertificate:
        migrationCertificate ?? (await issuer.migrationCertificate(name, keys.publicKey, ['127.0.0.1'])),
      migrationKey: keys.privateKey,
    };
    writeHostDirectories(directories, credentials, new Date());
  }

  it('connects two hosts of one authority, by name and by address', () => {
    assert.match(connect('host-b', 'host-a'), /virtual size: 1 MiB/);
    assert.match(connect('host-b', '127.0.0.1'), /virtual size: 1 MiB/);
  });

  it('does not take a server for another host', () => {
    assert.throws(() => connect('host-b', 'host-b'), /does not match the hostname/);
  });

  it('does not connect hosts of two authorities', async () => {
    await writeHost('stranger', await makeTestAuthority());
    assert.throws(() => connect('stranger', 'host-a'), /certificate|TLS/i);
  });
});
