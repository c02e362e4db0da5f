import { chmodSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { ByteReader } from '../bytes/reader.ts';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { Log } from '../migration/host.ts';
import { Refused } from '../migration/refused.ts';
import type { Bridge } from '../native/bridge.ts';
import { FrameReader } from './frames.ts';
import { peerCredentials } from './peer-credentials.ts';

/** One call of libvirt's `qemu` hook, as the hook client passes it on. */
export interface HookCall {
  readonly name: string;
  readonly operation: string;
  readonly subOperation: string;
  readonly extra: string;
  /** Domain XML; may hold secrets of other devices, so never logged. */
  readonly xml: string;
}

const argumentBytesMax = 4096;

/** Decides a hook call: resolves to allow it, throws to refuse it. */
export type HookHandler = (call: HookCall) => Promise<void>;

/**
 * Answers the hook client over a UNIX socket. Root alone may ask: libvirtd runs its hooks as root, and nobody else has a reason
 * to. Every error refuses; the first line of its text reaches the user of `virsh`.
 */
export function serveHooks(path: string, bridge: Bridge, handler: HookHandler, log: Log): Promise<Server> {
  const server = createServer((socket) => {
    try {
      const { uid, pid } = peerCredentials(socket, bridge);
      if (uid !== 0) throw new TvmmpError('peer-untrusted', `hook socket used by uid ${uid} (pid ${pid})`);
      serve(socket, handler, log);
    } catch (error) {
      log.warn({ error: String(error) }, 'hook connection refused');
      socket.destroy();
    }
  });
  return listenUnix(server, path);
}

/** Listens on a UNIX socket that only its owner can connect to; one that was left behind is replaced. */
export function listenUnix(server: Server, path: string): Promise<Server> {
  rmSync(path, { force: true });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      chmodSync(path, 0o600);
      server.off('error', reject);
      resolve(server);
    });
  });
}

function serve(socket: Socket, handler: HookHandler, log: Log): void {
  const reader = new FrameReader(limits.hookFrameBytesMax);
  socket.setTimeout(limits.migrateHookDeadlineMs);
  socket.on('timeout', () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    try {
      const [bytes] = reader.push(chunk);
      if (bytes === undefined) return;
      const call = parseCall(bytes);
      void answer(call, handler, log).then((reply) => {
        socket.end(reply);
      });
    } catch (error) {
      log.warn({ error: String(error) }, 'hook call that cannot be read');
      socket.destroy();
    }
  });
}

/** Four texts with 16-bit lengths, then the XML (native/hook-client.c). */
export function parseCall(bytes: Uint8Array): HookCall {
  const reader = new ByteReader(bytes, { what: 'hook call' });
  const text = (): string => utf8(reader.sized16be(argumentBytesMax));
  const call = { name: text(), operation: text(), subOperation: text(), extra: text() };
  return { ...call, xml: utf8(reader.bytes(reader.remaining)) };
}

function utf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new TvmmpError('encoding-invalid', 'hook call: not UTF-8', { cause: error });
  }
}

async function answer(call: HookCall, handler: HookHandler, log: Log): Promise<Uint8Array> {
  const fields = { vm: call.name, operation: `${call.operation} ${call.subOperation}` };
  const began = performance.now();
  try {
    await handler(call);
    log.info({ ...fields, ms: Math.round(performance.now() - began) }, 'hook: allowed');
    return reply(0, '');
  } catch (error) {
    const reason = reasonOf(error);
    log.warn({ ...fields, reason }, 'hook: refused');
    return reply(1, `refused: ${reason}`);
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof Refused) return oneLine(error.message);
  if (error instanceof TvmmpError) return oneLine(`${error.message} (${error.code}); see tvmmp status`);
  return 'internal error of tvmmpd; see its log';
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').slice(0, 1000);
}

/** Exit code, 16-bit length, text. */
function reply(exitCode: number, text: string): Uint8Array {
  const bytes = Buffer.from(text, 'utf8');
  const head = Buffer.alloc(3);
  head.writeUInt8(exitCode, 0);
  head.writeUInt16BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}
