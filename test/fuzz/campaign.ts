/** Runs one target's fuzzing on a thread, and watches over it: an input that hangs, or eats all memory, is a finding as well. */
import { Worker } from 'node:worker_threads';
import type { Finding } from './engine.ts';
import { learnt } from './save.ts';
import { SHARED } from './shared.ts';
import type { Task } from './shared.ts';
import type { Target } from './target.ts';

/** How long to fuzz; what comes first ends it. */
export interface Plan {
  readonly executions: number;
  readonly seconds: number;
  readonly seed: number;
  /** Keep only inputs that reach a block, not those that reach it more often. */
  readonly coarse?: boolean;
  /** Without what earlier runs on this machine have learnt. */
  readonly fresh: boolean;
  /** An input that takes longer is a finding. */
  readonly hangSeconds: number;
}

/** How far a target's fuzzing has come. */
export interface Outcome {
  readonly target: string;
  readonly seed: number;
  readonly executions: number;
  /** Inputs that the parser took. */
  readonly accepted: number;
  /** Blocks of code that some input has reached. */
  readonly blocks: number;
  /** Inputs that are kept because they reach something. */
  readonly corpus: number;
  readonly findings: readonly Finding[];
  readonly kept: readonly Uint8Array[];
}

const WATCH_EVERY_MS = 500;
const HEAP_MB_MAX = 512;
const RESIDENT_BYTES_MAX = 3 * 1024 * 1024 * 1024;

type Report = Partial<Omit<Outcome, 'target' | 'seed'>>;

/** Fuzzes one target; `progress` hears about it from time to time. */
export async function campaign(
  target: Target,
  plan: Plan,
  progress: (outcome: Outcome) => void,
): Promise<Outcome> {
  let outcome: Outcome = {
    target: target.name,
    seed: plan.seed,
    executions: 0,
    accepted: 0,
    blocks: 0,
    corpus: 0,
    findings: [],
    kept: [],
  };
  const shared = new SharedArrayBuffer(SHARED.bytes);
  const { fresh, hangSeconds, coarse = false, ...rest } = plan;
  const task: Task = { ...rest, target: target.name, coarse, shared, extra: fresh ? [] : learnt(target) };
  const worker = new Worker(new URL('worker.ts', import.meta.url), {
    workerData: task,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB_MAX },
  });
  const failed = (message: string): void => {
    const finding: Finding = { target: target.name, message, stack: '', input: runningInput(shared) };
    outcome = { ...outcome, findings: [...outcome.findings, finding] };
    void worker.terminate();
  };
  const watch = watchOver(shared, hangSeconds, failed);
  try {
    await new Promise<void>((resolve) => {
      worker.on('message', (report: Report) => {
        outcome = { ...outcome, ...report };
        progress(outcome);
      });
      worker.on('error', (error) => {
        failed(`the thread ended: ${error.message}`);
      });
      worker.on('exit', () => {
        resolve();
      });
    });
  } finally {
    clearInterval(watch);
  }
  return outcome;
}

function runningInput(shared: SharedArrayBuffer): Uint8Array {
  const [length = 0] = new Uint32Array(shared, SHARED.length, 1);
  return Uint8Array.from(new Uint8Array(shared, SHARED.input, Math.min(length, SHARED.bytes - SHARED.input)));
}

function watchOver(
  shared: SharedArrayBuffer,
  hangSeconds: number,
  failed: (message: string) => void,
): NodeJS.Timeout {
  const executions = new BigUint64Array(shared, SHARED.executions, 1);
  let last = executions[0];
  let since = performance.now();
  const watch = setInterval(() => {
    if (executions[0] !== last) [last, since] = [executions[0], performance.now()];
    const hangs = last !== 0n && performance.now() - since > hangSeconds * 1000;
    const large = process.memoryUsage.rss() > RESIDENT_BYTES_MAX;
    if (!hangs && !large) return;
    clearInterval(watch);
    failed(hangs ? `hangs: one input takes more than ${hangSeconds} s` : 'takes too much memory');
  }, WATCH_EVERY_MS);
  return watch;
}
