/**
 * Runs on a lab host and lets the test process speak from there: UNIX sockets of a directory that both see lead to the
 * host's TPM and to other hosts' agents, and what comes in on a port of the host goes to a UNIX socket of the test.
 *
 * usage: attacker-relay DIRECTORY PORT [NAME=HOST:PORT]...
 */
import { rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { join } from 'node:path';

function join2(a: Socket, b: Socket): void {
  a.pipe(b);
  b.pipe(a);
  for (const [one, other] of [
    [a, b],
    [b, a],
  ] as const) {
    one.on('error', () => other.destroy());
    one.on('close', () => other.destroy());
  }
}

function listening(server: Server, where: string | number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, resolve);
  });
}

const [directory = '', port = '', ...targets] = process.argv.slice(2);
for (const target of targets) {
  const [name = '', host = '', to = ''] = target.split(/[=:]/);
  const path = join(directory, name);
  rmSync(path, { force: true });
  const server = createServer((socket) => {
    join2(socket, connect({ host, port: Number(to) }));
  });
  await listening(server, path);
}
await listening(
  createServer((socket) => {
    join2(socket, connect(join(directory, 'inbound')));
  }),
  Number(port),
);
process.stdout.write('ready\n');
process.stdin.resume().on('end', () => process.exit(0));
