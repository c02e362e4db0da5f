import { strict as assert } from 'node:assert';
import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { TvmmpError } from '../../lib/errors.ts';
import { loadLibvirtNative, type NativeLibvirtEvent } from '../../lib/native/libvirt.ts';
import { nativePath } from '../../lib/native/load.ts';
import { libvirtdMissing, PrivateLibvirtd, smallDomainXml } from '../support/libvirtd.ts';
import { skipWithout } from '../support/skip.ts';

const native = loadLibvirtNative();
const testUri = 'test:///default';
const lifecycle = { started: 2, suspended: 3, stopped: 5 };

/** Events as they come, and a way to wait for one. */
class Log {
  readonly events: NativeLibvirtEvent[] = [];
  readonly add = (event: NativeLibvirtEvent): void => {
    this.events.push(event);
  };

  async until(is: (event: NativeLibvirtEvent) => boolean): Promise<NativeLibvirtEvent> {
    for (let waitedMs = 0; waitedMs < 30_000; waitedMs += 10) {
      const found = this.events.find(is);
      if (found !== undefined) return found;
      await delay(10);
    }
    throw new Error(`it did not come; these did: ${JSON.stringify(this.events)}`);
  }
}
const isConnected = (event: NativeLibvirtEvent): boolean => event.kind === 'connected';

/** Runs JavaScript in a process of its own with the addon as `native`, and tells how it ended. */
async function runProcess(
  script: string,
): Promise<{ code: number | null; signal: string | null; stdout: string }> {
  const text = `const native = require(${JSON.stringify(nativePath('libvirt.node'))}); ${script}`;
  const child = spawn(process.execPath, ['--expose-gc', '-e', text], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let stdout = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  await once(child, 'close');
  return { code: child.exitCode, signal: child.signalCode, stdout };
}

describe('libvirt.node: life of a subscription', function () {
  this.timeout(60_000);
  before(() => {
    native.silenceErrors();
  });

  it('says when it is connected, and nothing after close', async () => {
    const log = new Log();
    const subscription = native.subscribe(testUri, log.add);
    await log.until(isConnected);
    await subscription.close();
    await subscription.close();
    assert.deepEqual(log.events, [{ kind: 'connected' }]);
  });

  it('may be closed before it is connected', async () => {
    const log = new Log();
    await Promise.all(Array.from({ length: 8 }, () => native.subscribe(testUri, log.add).close()));
    assert.deepEqual(log.events, []);
  });

  it('reports a daemon that cannot be reached as an event', async () => {
    const log = new Log();
    const subscription = native.subscribe('qemu+unix:///system?socket=/nonexistent', log.add);
    const closed = await log.until((event) => event.kind === 'closed');
    assert.ok(closed.kind === 'closed' && closed.reason === 'open-failed');
    assert.match(closed.message ?? '', /nonexistent/);
    assert.equal(closed.libvirtCode, 38);
    await subscription.close();
  });

  it('does not keep Node alive once closed, and survives garbage collection', async () => {
    const outcome = await runProcess(`
      let seen = 0;
      for (let i = 0; i < 10; i++) {
        const subscription = native.subscribe('${testUri}', () => { seen++; subscription.close(); });
      }
      setTimeout(() => gc(), 20);
      process.on('exit', () => console.log(seen));`);
    assert.deepEqual(outcome, { code: 0, signal: null, stdout: '10\n' });
  });

  it('survives the end of the process while connecting, connected and closing', async () => {
    for (const script of [
      `native.subscribe('${testUri}', () => {}); process.exit(7);`,
      `native.subscribe('${testUri}', () => process.exit(7));`,
      `const s = native.subscribe('${testUri}', () => { s.close(); process.exit(7); });`,
    ])
      for (let i = 0; i < 5; i++)
        assert.deepEqual(await runProcess(script), { code: 7, signal: null, stdout: '' });
  });

  it('survives the end of a worker thread that subscribed', async () => {
    const worker = `const native = require(${JSON.stringify(nativePath('libvirt.node'))});
      native.subscribe('${testUri}', () => {}); native.subscribe('${testUri}', () => process.exit());`;
    const outcome = await runProcess(`
      const { Worker } = require('node:worker_threads');
      let left = 10;
      const next = () => {
        if (left-- > 0) new Worker(${JSON.stringify(worker)}, { eval: true }).on('exit', next);
        else console.log('all ended');
      };
      next();`);
    assert.deepEqual(outcome, { code: 0, signal: null, stdout: 'all ended\n' });
  });

  it('makes what the callback throws an uncaught exception', async () => {
    const outcome = await runProcess(`
      process.on('uncaughtException', (error) => { console.log(error.message); subscription.close(); });
      const subscription = native.subscribe('${testUri}', () => { throw new Error('thrown on purpose'); });`);
    assert.deepEqual(outcome, { code: 0, signal: null, stdout: 'thrown on purpose\n' });
  });

  it('throws a TypeError for other arguments', () => {
    const untyped = native as unknown as { subscribe: (...args: unknown[]) => unknown };
    assert.throws(() => untyped.subscribe(testUri), TypeError);
    assert.throws(() => untyped.subscribe(1, () => undefined), TypeError);
  });
});

describe('libvirt.node: with a real libvirtd', function () {
  this.timeout(120_000);
  let source: PrivateLibvirtd;
  let destination: PrivateLibvirtd;
  before(async function () {
    skipWithout(this, libvirtdMissing());
    source = await PrivateLibvirtd.start();
    destination = await PrivateLibvirtd.start();
  });
  after(async () => {
    await source.stop();
    await destination.stop();
  });

  function createVm(): string {
    const uuid = randomUUID();
    const path = join(source.directory, `${uuid}.xml`);
    writeFileSync(path, smallDomainXml({ name: `vm-${uuid.slice(0, 8)}`, uuid }));
    execFileSync('virsh', ['-q', '-c', source.uri, 'create', path], { stdio: 'ignore' });
    return uuid;
  }
  const isLifecycle =
    (uuid: string, number: number) =>
    (event: NativeLibvirtEvent): boolean =>
      event.kind === 'lifecycle' && event.uuid === uuid && event.event === number;

  it('tells of a VM that starts, is suspended and stops', async () => {
    const log = new Log();
    const subscription = native.subscribe(source.uri, log.add);
    await log.until(isConnected);
    const uuid = createVm();
    const started = await log.until(isLifecycle(uuid, lifecycle.started));
    assert.deepEqual(started, {
      kind: 'lifecycle',
      uuid,
      name: `vm-${uuid.slice(0, 8)}`,
      event: lifecycle.started,
      detail: 0,
    });
    execFileSync('virsh', ['-q', '-c', source.uri, 'suspend', uuid]);
    await log.until(isLifecycle(uuid, lifecycle.suspended));
    execFileSync('virsh', ['-q', '-c', source.uri, 'destroy', uuid]);
    await log.until(isLifecycle(uuid, lifecycle.stopped));
    await subscription.close();
  });

  it('moves a VM, and tells of the completed job with its statistics', async () => {
    const log = new Log();
    const subscription = native.subscribe(source.uri, log.add);
    await log.until(isConnected);
    const uuid = createVm();
    const [live, peerToPeer, tunnelled] = [1, 2, 4];
    await native.migrate({
      uri: source.uri,
      uuid,
      destinationUri: destination.uri,
      flags: live | peerToPeer | tunnelled,
      params: [{ name: 'bandwidth', type: 'ullong', value: 100n }],
    });
    const job = await log.until((event) => event.kind === 'job-completed' && event.uuid === uuid);
    assert.ok(job.kind === 'job-completed');
    assert.equal(typeof job.params['time_elapsed'], 'bigint');
    assert.equal(
      execFileSync('virsh', ['-q', '-c', destination.uri, 'domstate', uuid]).toString().trim(),
      'running',
    );
    await subscription.close();
  });

  it("rejects a migration with libvirt's own code, domain and message", async () => {
    const uuid = createVm();
    const options = { uri: source.uri, uuid, flags: 3, params: [] };
    await assert.rejects(
      native.migrate({ ...options, destinationUri: 'qemu+tcp://127.0.0.1:1/system' }),
      (error) =>
        error instanceof TvmmpError &&
        error.code === 'libvirt-call-failed' &&
        error.details['libvirtCode'] === 38 &&
        typeof error.details['libvirtDomain'] === 'number' &&
        error.message.includes('127.0.0.1:1'),
    );
    const noDomain = 42; // VIR_ERR_NO_DOMAIN
    await assert.rejects(
      native.migrate({ ...options, uuid: randomUUID(), destinationUri: destination.uri }),
      (error) => error instanceof TvmmpError && error.details['libvirtCode'] === noDomain,
    );
  });

  it('does not hold up file I/O while many migrations wait', async () => {
    const uuid = createVm();
    const silent = createServer(); // takes the connection and never says a word
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const held: Socket[] = [];
    silent.on('connection', (socket) => held.push(socket.on('error', () => undefined)));
    const { port } = silent.address() as AddressInfo;
    let settled = 0;
    const moves = Array.from({ length: 8 }, async () => {
      const uri = `test+tcp://127.0.0.1:${port}/default`;
      await assert.rejects(native.migrate({ uri, uuid, destinationUri: uri, flags: 3, params: [] }));
      settled++;
    });
    while (held.length < 8) await delay(10);
    assert.ok((await readFile(import.meta.filename)).length > 0);
    assert.equal(settled, 0);
    for (const socket of held) socket.destroy();
    await Promise.all(moves);
    silent.close();
  });

  it('tells that the daemon died, and can be closed then', async () => {
    const log = new Log();
    const subscription = native.subscribe(source.uri, log.add);
    await log.until(isConnected);
    await source.stopDaemon('SIGKILL');
    const closed = await log.until((event) => event.kind === 'closed');
    assert.deepEqual(closed, { kind: 'closed', reason: 'eof' });
    await subscription.close();
  });
});
