/** An agent's control socket that answers what a test says, for what the CLI does with answers. */
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Lines that are sent for one method, one after another; then the connection ends. */
export type Script = Readonly<Record<string, readonly (object | string)[]>>;

/** Listens in a directory of its own, with a configuration that leads there. */
export class ScriptedAgent {
  readonly directory = mkdtempSync(join(tmpdir(), 'tvmmp-cli-'));
  readonly config = join(this.directory, 'tvmmpd.json');
  /** What was asked. */
  readonly requests: { method: string; params: Record<string, unknown> }[] = [];
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;

  constructor() {
    const { directory } = this;
    const directories = { identity: join(directory, 'etc'), run: directory, state: join(directory, 'state') };
    writeFileSync(this.config, JSON.stringify({ name: 'alpha', directories }));
  }

  async listen(script: Script): Promise<void> {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      let text = '';
      socket.on('error', () => undefined);
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        if (!text.endsWith('\n')) return;
        const request = JSON.parse(text) as { method: string; params: Record<string, unknown> };
        this.requests.push(request);
        const lines = script[request.method] ?? [];
        socket.end(
          lines.map((line) => (typeof line === 'string' ? line : `${JSON.stringify(line)}\n`)).join(''),
        );
      });
    }).listen(join(this.directory, 'agent.sock'));
    await once(this.#server, 'listening');
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) {
      server.close();
      await once(server, 'close');
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}
