/** Where swtpm_setup's certificate tool (native/vtpm-certs.c) asks the agent, while a vTPM is made (SPEC 4.5). */
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ByteReader } from '../bytes/reader.ts';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { Log } from '../migration/host.ts';
import { Refused } from '../migration/refused.ts';
import type { VtpmDesk } from '../migration/vtpm-issuing.ts';
import type { Bridge } from '../native/bridge.ts';
import { nativePath } from '../native/load.ts';
import { FrameReader } from './frames.ts';
import { listenUnix } from './hook-server.ts';
import { peerCredentials } from './peer-credentials.ts';

const REQUEST_BYTES_MAX = 16 * 1024;
const WORD_BYTES_MAX = 8 * 1024;
const REASON_BYTES_MAX = 1000;

type Answer = Parameters<VtpmDesk>[0];

/**
 * Each vTPM gets a socket of its own, in a directory whose name nobody can guess, for as long as it is made. libvirt's swtpm user alone
 * may ask, besides root: swtpm_setup runs as that.
 */
export function vtpmDesk(bridge: Bridge, log: Log, options: { qemuConf?: string } = {}): VtpmDesk {
  return async (answer) => {
    const owner = await bridge.vtpmOwner(options);
    const directory = await mkdtemp(join(tmpdir(), 'tvmmp-vtpm-'));
    const path = join(directory, 'socket');
    const server = createServer((socket) => {
      try {
        const { uid, pid } = peerCredentials(socket, bridge);
        if (uid !== 0 && uid !== owner.uid)
          throw new TvmmpError('peer-untrusted', `vTPM certificates asked for by uid ${uid} (pid ${pid})`);
        serve(socket, answer, log);
      } catch (error) {
        log.warn({ error: String(error) }, 'connection of a certificate tool refused');
        socket.destroy();
      }
    });
    const close = async (): Promise<void> => {
      await closed(server);
      await rm(directory, { recursive: true, force: true });
    };
    try {
      await listenUnix(server, path);
      await chown(path, owner.uid, owner.gid);
      const setupConfig = join(directory, 'setup.conf');
      await writeFile(setupConfig, configurationOf(path));
      await chmod(setupConfig, 0o644);
      await chmod(directory, 0o711);
      return { setupConfig, close };
    } catch (error) {
      await close();
      throw error;
    }
  };
}

/** swtpm_setup.conf(5). */
function configurationOf(socket: string): string {
  return [
    `create_certs_tool = ${nativePath('tvmmp-vtpm-certs')}`,
    `create_certs_tool_config = ${socket}`,
    'active_pcr_banks = sha256',
    '',
  ].join('\n');
}

function serve(socket: Socket, answer: Answer, log: Log): void {
  const reader = new FrameReader(REQUEST_BYTES_MAX);
  socket.setTimeout(limits.migrateHookDeadlineMs);
  socket.on('timeout', () => socket.destroy());
  socket.on('error', () => socket.destroy());
  let asked = false;
  socket.on('data', (chunk: Buffer) => {
    try {
      const [bytes] = reader.push(chunk);
      if (bytes === undefined || asked) return;
      asked = true;
      void replyTo(bytes, answer, log).then((reply) => {
        socket.end(reply);
      });
    } catch (error) {
      log.warn({ error: String(error) }, 'request of a certificate tool that cannot be read');
      socket.destroy();
    }
  });
}

async function replyTo(bytes: Uint8Array, answer: Answer, log: Log): Promise<Uint8Array> {
  try {
    return reply(0, await answer(parseWords(bytes)));
  } catch (error) {
    log.warn({ error: String(error) }, 'no certificate for a vTPM');
    const known = error instanceof TvmmpError || error instanceof Refused;
    const reason = known ? error.message.replace(/\s+/g, ' ') : 'internal error of tvmmpd; see its log';
    return reply(1, Buffer.from(reason).subarray(0, REASON_BYTES_MAX));
  }
}

/** Texts with 16-bit lengths. */
function parseWords(bytes: Uint8Array): readonly string[] {
  const reader = new ByteReader(bytes, { what: 'request of a certificate tool' });
  const words: string[] = [];
  while (reader.remaining > 0) words.push(Buffer.from(reader.sized16be(WORD_BYTES_MAX)).toString('utf8'));
  return words;
}

/** Status, 16-bit length, certificate or reason. */
function reply(status: 0 | 1, body: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(status, body.byteLength >> 8, body.byteLength & 0xff), body]);
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
  });
}
