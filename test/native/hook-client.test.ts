import { strict as assert } from 'node:assert';
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nativePath } from '../../lib/native/load.ts';

const uuid = '5f0c3a5e-0a3f-4a53-9c36-0c6d3a8a1b11';
const namespaceUri = 'https://tvmmp.org/xmlns/vm/1.0';
const plainXml = `<domain type='kvm'>\n  <name>vm</name>\n  <uuid>${uuid}</uuid>\n</domain>\n`;
const protectedXml = plainXml.replace(
  '</domain>',
  `<metadata><tvmmp:vm xmlns:tvmmp="${namespaceUri}"/></metadata></domain>`,
);
const doors = ['prepare', 'start', 'migrate', 'restore', 'a-future-operation'];
const notices = ['started', 'stopped', 'release', 'reconnect', 'attach'];

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** An agent's answer: exit code, length of the text, text. */
function answer(code: number, text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from([code, bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

describe('hook client', () => {
  let directory: string;
  let socketPath: string;
  let markers: string;
  let server: Server | undefined;
  let frames: Buffer[];
  const sockets = new Set<Socket>();

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-hook-'));
    socketPath = join(directory, 'hook.sock');
    markers = join(directory, 'protected');
    frames = [];
  });
  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    if (server !== undefined) {
      server.close();
      await once(server, 'close');
      server = undefined;
    }
    rmSync(directory, { recursive: true, force: true });
  });

  /** An agent that calls `reply` when a whole frame has come. */
  async function agent(reply: (socket: Socket) => void): Promise<void> {
    server = createServer((socket) => {
      sockets.add(socket);
      let received = Buffer.alloc(0);
      socket.on('error', () => undefined);
      socket.on('data', (chunk) => {
        received = Buffer.concat([received, chunk]);
        if (received.length < 4 || received.length < 4 + received.readUInt32BE(0)) return;
        frames.push(received);
        received = Buffer.alloc(0);
        reply(socket);
      });
    });
    server.listen(socketPath);
    await once(server, 'listening');
  }

  function start(args: readonly string[], deadlineMs?: number): ChildProcessWithoutNullStreams {
    const options = ['--socket', socketPath, '--protected-dir', markers];
    if (deadlineMs !== undefined) options.push('--deadline-ms', String(deadlineMs));
    return spawn(nativePath('tvmmp-hook'), [...options, ...args]);
  }

  async function outcomeOf(child: ChildProcessWithoutNullStreams): Promise<Outcome> {
    const text = { stdout: '', stderr: '' };
    child.stdout.on('data', (chunk: Buffer) => (text.stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (text.stderr += chunk.toString()));
    await once(child, 'close');
    assert.equal(text.stdout, '', 'libvirt would take stdout for a new domain XML');
    return { code: child.exitCode, ...text };
  }

  async function run(operation: string, xml: string | Buffer, deadlineMs?: number): Promise<Outcome> {
    const child = start(['vm', operation, 'begin', '-'], deadlineMs);
    const stdinErrors: Error[] = [];
    child.stdin.on('error', (error) => stdinErrors.push(error));
    child.stdin.end(xml);
    const outcome = await outcomeOf(child);
    assert.deepEqual(stdinErrors, [], 'stdin was read to its end');
    return outcome;
  }

  it('lets an unprotected VM pass without asking the agent', async () => {
    await agent((socket) => socket.end(answer(1, 'never asked')));
    for (const operation of [...doors, ...notices])
      assert.deepEqual(await run(operation, plainXml), { code: 0, stdout: '', stderr: '' });
    assert.equal(frames.length, 0);
  });

  it('sends the four arguments and the XML, and exits with the answer', async () => {
    await agent((socket) => socket.write(answer(1, 'refused: no permit for this VM')));
    const outcome = await run('migrate', protectedXml);
    assert.deepEqual(outcome, { code: 1, stdout: '', stderr: 'tvmmp: refused: no permit for this VM\n' });
    const [frame] = frames;
    assert.ok(frame);
    const parts = ['vm', 'migrate', 'begin', '-'].map((part) =>
      Buffer.concat([Buffer.from([0, part.length]), Buffer.from(part)]),
    );
    assert.deepEqual(frame.subarray(4), Buffer.concat([...parts, Buffer.from(protectedXml)]));
  });

  it('lets a protected VM pass when the agent says so', async () => {
    await agent((socket) => socket.write(answer(0, '')));
    for (const operation of [...doors, ...notices])
      assert.deepEqual(await run(operation, protectedXml), { code: 0, stdout: '', stderr: '' });
    assert.equal(frames.length, doors.length + notices.length);
  });

  it('takes a VM for protected that this host has marked, whatever its XML says', async () => {
    mkdirSync(markers);
    writeFileSync(join(markers, uuid), '');
    for (const xml of [plainXml, plainXml.replace(uuid, uuid.toUpperCase())])
      assert.equal((await run('start', xml)).code, 1);
    assert.equal((await run('start', plainXml.replace('5f0c', '6f0c'))).code, 0);
  });

  it('takes a VM for protected whose XML has no UUID that it can read', async () => {
    for (const xml of [
      '<domain/>',
      plainXml.replace(uuid, '../../../../etc/passwd/////////////////'),
      plainXml.slice(0, 60),
    ])
      assert.equal((await run('migrate', xml)).code, 1);
  });

  it('refuses a protected VM at every door, and only there, while the agent is not running', async () => {
    for (const operation of doors) {
      const outcome = await run(operation, protectedXml);
      assert.equal(outcome.code, 1);
      assert.equal(
        outcome.stderr,
        'tvmmp: refused: the tvmmp agent is not running on this host (systemctl start tvmmpd)\n',
      );
    }
    for (const operation of notices) assert.equal((await run(operation, protectedXml)).code, 0);
  });

  it('refuses when a dead agent has left its socket behind', async () => {
    await agent(() => undefined);
    const abandoned = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(`${socketPath}2`)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    await once(abandoned, 'close');
    socketPath = `${socketPath}2`;
    const outcome = await run('migrate', protectedXml);
    assert.equal(outcome.code, 1);
    assert.match(outcome.stderr, /not running/);
  });

  it('refuses when the agent does not answer, or not to the end, before the deadline', async () => {
    const replies: ((socket: Socket) => void)[] = [
      () => undefined,
      (socket) => socket.write(Buffer.from([0])),
      (socket) => socket.write(Buffer.from([0, 0, 5, 0x61])),
    ];
    for (const reply of replies) {
      await agent(reply);
      const outcome = await run('migrate', protectedXml, 150);
      assert.equal(outcome.code, 1);
      assert.match(outcome.stderr, /^tvmmp: refused: the tvmmp agent did not answer within 150 ms/);
      assert.equal((await run('release', protectedXml, 150)).code, 0);
      server?.close();
      for (const socket of sockets) socket.destroy();
    }
  });

  it('refuses when the agent answers rubbish, too much or nothing', async () => {
    const replies = [
      Buffer.from([2, 0, 0]),
      Buffer.from([255, 255, 255]),
      Buffer.concat([Buffer.from([0, 0xff, 0xff]), Buffer.alloc(65535, 0x61)]),
      Buffer.from('HTTP/1.1 200 OK\r\n\r\n'),
      Buffer.from([0, 0]),
      Buffer.alloc(0),
    ];
    for (const reply of replies) {
      await agent((socket) => socket.end(reply));
      const outcome = await run('migrate', protectedXml);
      assert.equal(outcome.code, 1);
      assert.match(outcome.stderr, /^tvmmp: refused: the tvmmp agent gave no valid answer/);
      server?.close();
    }
  });

  it('never refuses what has already happened, whatever the agent says', async () => {
    await agent((socket) => socket.write(answer(1, 'refused: too late')));
    for (const operation of notices) assert.equal((await run(operation, protectedXml)).code, 0);
  });

  it('prints one line, whatever the agent says', async () => {
    await agent((socket) => socket.write(answer(1, 'refused: a\nb\tc\u001b[31md é')));
    assert.equal((await run('migrate', protectedXml)).stderr, 'tvmmp: refused: a b c [31md é\n');
  });

  it('takes a large XML in full and an answer in single bytes', async () => {
    await agent((socket) => {
      void (async () => {
        for (const byte of answer(1, 'refused: slowly')) {
          socket.write(Buffer.from([byte]));
          await new Promise((resolve) => setImmediate(resolve));
        }
      })();
    });
    const xml = protectedXml + ' '.repeat(3 * 1024 * 1024);
    assert.equal((await run('migrate', xml)).stderr, 'tvmmp: refused: slowly\n');
    assert.equal(frames[0]?.length, 4 + 4 * 2 + 'vmmigratebegin-'.length + xml.length);
  });

  it('refuses an XML of more than 4 MiB, reading it to its end', async () => {
    await agent((socket) => socket.write(answer(0, '')));
    const outcome = await run('migrate', plainXml + ' '.repeat(5 * 1024 * 1024));
    assert.equal(outcome.code, 1);
    assert.match(outcome.stderr, /more than 4 MiB/);
    assert.equal(frames.length, 0);
  });

  it('refuses an XML that does not come before the deadline', async () => {
    const child = start(['vm', 'migrate', 'begin', '-'], 150);
    child.stdin.on('error', () => undefined);
    child.stdin.write(plainXml);
    const outcome = await outcomeOf(child);
    assert.equal(outcome.code, 1);
    assert.match(outcome.stderr, /no complete domain XML/);
  });

  it('hears a refusal that comes before the agent has read everything', async () => {
    server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.pause();
      socket.end(answer(1, 'refused: enough'), () => socket.destroy());
    });
    server.listen(socketPath);
    await once(server, 'listening');
    const outcome = await run('migrate', protectedXml + ' '.repeat(3 * 1024 * 1024));
    assert.equal(outcome.code, 1);
  });

  it('takes a VM called like an option for a VM', async () => {
    const child = spawn(nativePath('tvmmp-hook'), ['--socket', 'prepare', 'begin', '-']);
    child.stdin.end(plainXml);
    assert.equal((await outcomeOf(child)).code, 0);
  });

  it('refuses arguments that libvirt never gives', async () => {
    const wrong = [
      [],
      ['vm'],
      ['vm', 'migrate', 'begin'],
      ['--socket', 'vm', 'migrate', 'begin', '-'],
      ['--deadline-ms', '0', 'vm', 'migrate', 'begin', '-'],
    ];
    for (const args of [...wrong, ['x'.repeat(4097), 'migrate', 'begin', '-']]) {
      const child = spawn(nativePath('tvmmp-hook'), args);
      child.stdin.on('error', () => undefined);
      child.stdin.end(plainXml);
      const outcome = await outcomeOf(child);
      assert.equal(outcome.code, 1);
      assert.match(outcome.stderr, /^tvmmp: refused: [^\n]+\n$/);
    }
  });
});
