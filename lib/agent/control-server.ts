import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { TvmmpError } from '../errors.ts';
import type { Log } from '../migration/host.ts';
import { Refused } from '../migration/refused.ts';
import type { Bridge } from '../native/bridge.ts';
import { controlLineBytesMax } from './control-protocol.ts';
import type { ControlReply, ControlRequest, Progress } from './control-protocol.ts';
import { listenUnix } from './hook-server.ts';
import { peerCredentials } from './peer-credentials.ts';

/** One thing that the operator can ask of the agent. `progress` reaches the operator at once. */
export type ControlMethod = (
  params: Readonly<Record<string, unknown>>,
  progress: (progress: Progress) => void,
) => Promise<unknown>;

/** Serves the operator's CLI over a UNIX socket. Root alone: whoever may ask the agent may move VMs. */
export function serveControl(
  path: string,
  bridge: Bridge,
  methods: Readonly<Record<string, ControlMethod>>,
  log: Log,
): Promise<Server> {
  const server = createServer((socket) => {
    try {
      const { uid, pid } = peerCredentials(socket, bridge);
      if (uid !== 0) throw new TvmmpError('peer-untrusted', `control socket used by uid ${uid} (pid ${pid})`);
      serve(socket, methods, log);
    } catch (error) {
      log.warn({ error: String(error) }, 'control connection refused');
      socket.destroy();
    }
  });
  return listenUnix(server, path);
}

function serve(socket: Socket, methods: Readonly<Record<string, ControlMethod>>, log: Log): void {
  let received = 0;
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    received += chunk.length;
    if (received > controlLineBytesMax) socket.destroy();
  });
  const lines = createInterface({ input: socket });
  lines.on('error', () => socket.destroy());
  lines.once('line', (line) => {
    const write = (reply: ControlReply): void => {
      if (socket.writable) socket.write(`${JSON.stringify(reply)}\n`);
    };
    void run(line, methods, write, log).then((reply) => {
      write(reply);
      socket.end();
    });
  });
}

async function run(
  line: string,
  methods: Readonly<Record<string, ControlMethod>>,
  write: (reply: ControlReply) => void,
  log: Log,
): Promise<ControlReply> {
  try {
    const request = parseRequest(line);
    const method = Object.hasOwn(methods, request.method) ? methods[request.method] : undefined;
    if (method === undefined)
      throw new TvmmpError('usage-invalid', `the agent has no method ${request.method}`);
    const result = await method(request.params, (progress) => {
      write({ progress });
    });
    return { result };
  } catch (error) {
    log.warn({ error: String(error) }, 'an operator’s request failed');
    if (error instanceof Refused) return { error: { code: 'refused', message: error.message } };
    if (error instanceof TvmmpError) return { error: { code: error.code, message: error.message } };
    return { error: { code: 'internal', message: String(error) } };
  }
}

/** Reads one line of a client. Throws `usage-invalid`. */
export function parseRequest(line: string): ControlRequest {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new TvmmpError('usage-invalid', 'a request that is not JSON', { cause: error });
  }
  const { method, params } = (value ?? {}) as { readonly method?: unknown; readonly params?: unknown };
  if (typeof method !== 'string' || typeof params !== 'object' || params === null || Array.isArray(params)) {
    throw new TvmmpError('usage-invalid', 'a request without method and params');
  }
  return { method, params: params as ControlRequest['params'] };
}
