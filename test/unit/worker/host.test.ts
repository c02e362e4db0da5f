import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { TvmmpError } from '../../../lib/errors.ts';
import { WorkerHost, workerModule } from '../../../lib/worker/host.ts';
import type { EchoCalls } from './echo-thread.ts';

const module = workerModule(import.meta.url, './echo-thread');

describe('worker host', () => {
  let host: WorkerHost<EchoCalls>;
  beforeEach(() => {
    host = new WorkerHost<EchoCalls>(module, { name: 'echo', workerData: { answer: 42 } });
  });
  afterEach(() => host.close());

  it('answers calls, each with its own result', async () => {
    const sums = await Promise.all([1, 2, 3].map((n) => host.call('add', n, 10)));
    assert.deepEqual(sums, [11, 12, 13]);
  });

  it('hands workerData to the thread', async () => {
    assert.deepEqual(await host.call('data'), { answer: 42 });
  });

  it('sends the bytes of a view and not the pool it lies in', async () => {
    assert.equal(await host.call('lengthOfBuffer', Buffer.from('abc')), 3);
  });

  it('carries code, message and details of a typed error', async () => {
    await assert.rejects(host.call('refuse'), (error: unknown) => {
      assert.ok(error instanceof TvmmpError);
      assert.equal(error.code, 'limit-exceeded');
      assert.equal(error.message, 'too many');
      assert.deepEqual(error.details, { limit: 3 });
      return true;
    });
  });

  it('reports any other exception as internal, with its message', async () => {
    await assert.rejects(host.call('blunder'), { code: 'internal', message: 'out of range' });
  });

  it('rejects calls under way and later ones when the thread ends', async () => {
    await assert.rejects(host.call('die'), { code: 'worker-failed' });
    await assert.rejects(host.call('add', 1, 1), { code: 'worker-failed' });
  });

  it('finishes the calls under way before it closes, then refuses', async () => {
    const sum = host.call('add', 1, 2);
    await host.close();
    assert.equal(await sum, 3);
    await assert.rejects(host.call('add', 1, 1), { code: 'worker-failed' });
    await host.close();
  });

  it('does not keep the process alive while idle', () => {
    const hostUrl = fileURLToPath(new URL('../../../lib/worker/host.ts', import.meta.url));
    const program = `
      import { WorkerHost } from ${JSON.stringify(hostUrl)};
      const host = new WorkerHost(new URL(${JSON.stringify(module.href)}));
      console.log(await host.call('add', 2, 3));`;
    const run = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    assert.equal(run.stdout, '5\n', run.stderr);
    assert.equal(run.status, 0);
  });
});
