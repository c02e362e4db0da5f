/** Who may ask the agent over its UNIX sockets, and what a call has to look like (SPEC 8.1). */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { controlLineBytesMax } from '../../../lib/agent/control-protocol.ts';
import { serveControl } from '../../../lib/agent/control-server.ts';
import { frame } from '../../../lib/agent/frames.ts';
import { parseCall, serveHooks } from '../../../lib/agent/hook-server.ts';
import { limits } from '../../../lib/limits.ts';
import type { Log } from '../../../lib/migration/host.ts';
import { Refused } from '../../../lib/migration/refused.ts';
import type { Bridge } from '../../../lib/native/bridge.ts';

describe('the sockets of the agent (SPEC 8.1)', () => {
  let directory: string;
  let uid: number;
  let asked: string[];
  const servers: Server[] = [];
  const ignore = (): void => undefined;
  let warned: string[];
  const warn = (_fields: object, message: string): void => void warned.push(message);
  const log: Log = { debug: ignore, info: ignore, warn, error: ignore };
  /** The kernel's word on who is at the other end, as these tests want it. */
  const bridge = { peerCredentials: () => ({ pid: 7, uid, gid: 0 }) } as unknown as Bridge;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-sockets-'));
    uid = 0;
    asked = [];
    warned = [];
  });
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
    rmSync(directory, { recursive: true, force: true });
  });

  async function hooks(): Promise<string> {
    const path = join(directory, 'hook.sock');
    const handler = ({ name }: { name: string }): Promise<void> => {
      asked.push(name);
      return name === 'no' ? Promise.reject(new Refused('two\nlines')) : Promise.resolve();
    };
    servers.push(await serveHooks(path, bridge, handler, log));
    return path;
  }

  async function control(): Promise<string> {
    const path = join(directory, 'control.sock');
    const method = (): Promise<string> => {
      asked.push('ping');
      return Promise.resolve('pong');
    };
    servers.push(await serveControl(path, bridge, { ping: method }, log));
    return path;
  }

  /** All that the server answers to these bytes. */
  function say(path: string, bytes: Uint8Array | string): Promise<Buffer> {
    return new Promise((resolve) => {
      const chunks: Buffer[] = [];
      const socket = connect(path);
      socket.on('data', (chunk: Buffer) => chunks.push(chunk));
      socket.on('error', () => socket.destroy());
      socket.once('close', () => {
        resolve(Buffer.concat(chunks));
      });
      socket.write(bytes);
    });
  }

  it('are their owner’s alone, also where somebody left another file there', async () => {
    writeFileSync(join(directory, 'hook.sock'), '', { mode: 0o666 });
    for (const path of [await hooks(), await control()]) assert.equal(statSync(path).mode & 0o777, 0o600);
  });

  it('answer root’s hooks', async () => {
    const path = await hooks();
    assert.deepEqual([...(await say(path, call('web')))], [0, 0, 0]);
    const refused = await say(path, call('no'));
    assert.equal(refused[0], 1);
    assert.equal(refused.subarray(3).toString(), 'refused: two lines');
    assert.deepEqual(asked, ['web', 'no']);
  });

  it('answer no hook of another user', async () => {
    const path = await hooks();
    uid = 1000;
    assert.equal((await say(path, call('web'))).length, 0);
    assert.deepEqual(asked, []);
  });

  it('answer root’s requests', async () => {
    const path = await control();
    const reply = await say(path, '{"method":"ping","params":{}}\n');
    assert.deepEqual(JSON.parse(reply.toString()), { result: 'pong' });
  });

  it('answer no request of another user', async () => {
    const path = await control();
    uid = 1000;
    assert.equal((await say(path, '{"method":"ping","params":{}}\n')).length, 0);
    assert.deepEqual(asked, []);
  });

  it('know the methods that they were given, and none that every object has', async () => {
    const path = await control();
    for (const method of ['constructor', 'toString', '__proto__', 'hasOwnProperty', 'pong']) {
      const reply = await say(path, `{"method":"${method}","params":{}}\n`);
      assert.match(reply.toString(), /"usage-invalid".*the agent has no method/, method);
    }
    for (const bad of ['[]', 'null', '{"method":1,"params":{}}', '{"method":"ping","params":[]}', 'x'])
      assert.match((await say(path, `${bad}\n`)).toString(), /"usage-invalid"/, bad);
    assert.deepEqual(asked, []);
  });

  it('read no more of a request than there is room for', async () => {
    const path = await control();
    const reply = await say(path, Buffer.alloc(controlLineBytesMax + 1, 0x20));
    assert.equal(reply.length, 0);
    assert.deepEqual(asked, []);
  });

  it('read no call of the hook that is too long, cut short, or not UTF-8', async () => {
    const path = await hooks();
    const head = Buffer.alloc(4);
    head.writeUInt32BE(limits.hookFrameBytesMax + 1);
    assert.equal((await say(path, head)).length, 0);
    assert.deepEqual(
      warned,
      ['hook call that cannot be read'],
      'refused for its length, not for its silence',
    );
    for (const bytes of [
      Uint8Array.of(0, 9),
      Uint8Array.of(0, 1, 0xff, 0, 0, 0, 0, 0, 0),
      Buffer.concat([Buffer.from([0x10, 0x01]), Buffer.alloc(0x1001, 0x61), Buffer.alloc(6)]),
    ]) {
      assert.throws(() => parseCall(bytes), /hook call/);
      assert.equal((await say(path, frame(bytes))).length, 0);
    }
    assert.deepEqual(asked, []);
  });
});

/** What the hook client sends (native/hook-client.c). */
function call(name: string): Uint8Array {
  const texts = [name, 'prepare', 'begin', '-'].map((text) => {
    const bytes = Buffer.from(text);
    return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
  });
  return frame(Buffer.concat([...texts, Buffer.from('<domain/>')]));
}
