/** Runs one target's fuzzing on a thread of its own, so that campaign.ts can watch it and end it where an input hangs. */
import { parentPort, workerData } from 'node:worker_threads';
import { Engine } from './engine.ts';
import { inputsOf } from './inputs.ts';
import { SHARED } from './shared.ts';
import type { Task } from './shared.ts';
import { canaries } from './targets/canary.ts';
import { targets } from './targets.ts';

const REPORT_EVERY_MS = 1000;

async function main(task: Task): Promise<void> {
  const target = [...targets, ...canaries].find(({ name }) => name === task.target);
  if (target === undefined) throw new Error(`no target ${task.target}`);
  const executions = new BigUint64Array(task.shared, SHARED.executions, 1);
  const length = new Uint32Array(task.shared, SHARED.length, 1);
  const running = new Uint8Array(task.shared, SHARED.input);
  const current = (input: Uint8Array): void => {
    running.set(input.subarray(0, running.length));
    length[0] = input.length;
    executions[0] = BigInt(engine.executions);
  };
  const engine = new Engine(target, task.seed, current, task.coarse);
  const report = (): void => {
    const { executions: count, accepted, blocks, findings, corpus } = engine;
    parentPort?.postMessage({ executions: count, accepted, blocks, findings, corpus: corpus.length });
  };
  await engine.begin([...inputsOf(target), ...task.extra]);
  const first = engine.executions;
  const end = performance.now() + task.seconds * 1000;
  let next = performance.now();
  while (engine.executions - first < task.executions) {
    await engine.step();
    const now = performance.now();
    if (now >= end) break;
    if (now >= next) {
      report();
      next = now + REPORT_EVERY_MS;
    }
  }
  report();
  parentPort?.postMessage({ kept: engine.corpus });
}

await main(workerData as Task);
