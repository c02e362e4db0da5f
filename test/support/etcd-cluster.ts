/** A three-member etcd of Debian's on loopback, with TLS and users, for one test file. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { EtcdSettings } from '../../lib/ledger/etcd-ledger.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/lab.d/etcd-cluster', import.meta.url));
const execute = promisify(execFile);
const members = ['m1', 'm2', 'm3'] as const;

export type MemberName = (typeof members)[number];

export class EtcdCluster {
  readonly directory = mkdtempSync(join(tmpdir(), 'tvmmp-etcd-'));
  #endpoints: readonly string[] = [];

  /** Starts the members and turns authentication on; `alpha` is a user with the role of hosts. */
  static async start(): Promise<EtcdCluster> {
    const cluster = new EtcdCluster();
    try {
      const ports = await freePorts(2 * members.length);
      const addresses = members.map((_, index) => `127.0.0.1:${ports[2 * index]}:${ports[2 * index + 1]}`);
      cluster.#endpoints = members.map((_, index) => `https://127.0.0.1:${ports[2 * index]}`);
      await cluster.run('make', ...addresses);
      for (const member of members) await cluster.startMember(member);
      await cluster.run('secure');
      await cluster.run('user', 'alpha');
      return cluster;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  /** How `user` reaches it, with this certificate authority; through one member alone where that is asked for. */
  access(user = 'alpha', ca = 'ca.pem', through: MemberName | null = null): EtcdSettings {
    const [one] = through === null ? [] : this.#endpoints.slice(members.indexOf(through));
    return {
      endpoints: one === undefined ? this.#endpoints : [one],
      prefix: '/tvmmp/',
      ca: this.read(ca),
      certificate: this.read(`${user}.pem`),
      key: this.read(`${user}-key.pem`),
    };
  }

  read(file: string): Buffer {
    return readFileSync(join(this.directory, file));
  }

  startMember(member: MemberName): Promise<string> {
    return this.run('start', member);
  }

  /** Ends a member as a power cut would. */
  killMember(member: MemberName): Promise<string> {
    return this.run('stop', member);
  }

  /** The member that leads now. */
  async leader(): Promise<MemberName> {
    const status = JSON.parse(await this.run('ctl', 'endpoint', 'status', '-w', 'json')) as readonly {
      Endpoint: string;
      Status: { leader: number; header: { member_id: number } };
    }[];
    const found = status.find(({ Status }) => Status.leader === Status.header.member_id);
    const index = this.#endpoints.indexOf(found?.Endpoint ?? '');
    const name = members[index];
    if (name === undefined) throw new Error('the cluster has no leader');
    return name;
  }

  async run(command: string, ...args: readonly string[]): Promise<string> {
    const { stdout } = await execute(SCRIPT, [command, this.directory, ...args], { timeout: 180_000 });
    return stdout;
  }

  async close(): Promise<void> {
    for (const member of members) await this.killMember(member);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Ports that nobody listens on now, held together until all are found. */
async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
