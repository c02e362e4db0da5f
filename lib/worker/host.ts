/**
 * The caller's half of a synchronous library behind one dedicated worker thread; thread.ts is the other half.
 *
 *     // lib/x/thread.ts:  const calls = { add: (a: number, b: number) => a + b };
 *     //                   export type XCalls = typeof calls;  serve(calls);
 *     const host = new WorkerHost<XCalls>(workerModule(import.meta.url, './thread'));
 *     await host.call('add', 1, 2);
 *
 * The thread keeps the process alive only while a call is under way.
 */
import { Worker } from 'node:worker_threads';
import type { WorkerOptions } from 'node:worker_threads';
import { TvmmpError } from '../errors.ts';
import type { CallReply, CallRequest, CallTable, CloseRequest } from './thread.ts';

/** Where a worker module lies: `.ts` beside a `.ts` caller (tests, tsx), `.js` beside a built one. */
export function workerModule(callerUrl: string, pathWithoutExtension: string): URL {
  const extension = new URL(callerUrl).pathname.endsWith('.ts') ? '.ts' : '.js';
  return new URL(pathWithoutExtension + extension, callerUrl);
}

/** How a worker thread is made. */
export interface WorkerHostOptions {
  /** Names the thread in errors and debuggers. */
  readonly name?: string;
  /** Cloned to the thread as `workerData`. */
  readonly workerData?: unknown;
  /** How long `close` waits for the thread to end by itself before it is terminated. */
  readonly closeDeadlineMs?: number;
  /** For a thread that makes more than short calls. Megabytes; default 64 and 2. */
  readonly oldGenerationMb?: number;
  readonly youngGenerationMb?: number;
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

const CLOSE_DEADLINE_MS = 2_000;
/** A thread makes short calls and keeps nothing: small heaps keep a process of several threads small. Megabytes. */
const threadLimits = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 64 };

/**
 * Runs a table of synchronous calls on a thread of its own, in the order they are made.
 * A call rejects with the TvmmpError that the thread threw, or with `worker-failed` when the thread has ended.
 */
export class WorkerHost<Calls extends CallTable> {
  readonly #worker: Worker;
  readonly #name: string;
  readonly #closeDeadlineMs: number;
  readonly #pending = new Map<number, Pending>();
  readonly #ended: Promise<void>;
  #nextId = 0;
  #failure: Error | undefined;

  constructor(module: URL, options: WorkerHostOptions = {}) {
    this.#name = options.name ?? 'worker';
    this.#closeDeadlineMs = options.closeDeadlineMs ?? CLOSE_DEADLINE_MS;
    this.#worker = startThread(module, {
      name: this.#name,
      workerData: options.workerData,
      execArgv: [],
      resourceLimits: {
        maxOldGenerationSizeMb: options.oldGenerationMb ?? threadLimits.maxOldGenerationSizeMb,
        maxYoungGenerationSizeMb: options.youngGenerationMb ?? threadLimits.maxYoungGenerationSizeMb,
      },
    });
    this.#worker.on('message', (reply: CallReply) => {
      this.#settle(reply);
    });
    this.#worker.on('error', (error: unknown) => {
      this.#fail(error);
    });
    this.#ended = new Promise((resolve) => {
      this.#worker.on('exit', () => {
        this.#fail(undefined);
        resolve();
      });
    });
    this.#worker.unref();
  }

  /** Calls one function of the thread's table. Arguments are cloned at once: the caller may change them after. */
  call<Name extends keyof Calls & string>(
    name: Name,
    ...args: Parameters<Calls[Name]>
  ): Promise<ReturnType<Calls[Name]>> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const id = this.#nextId++;
    const request: CallRequest = { id, name, args: args.map(ownBytes) };
    return new Promise((resolve, reject) => {
      this.#worker.postMessage(request);
      if (this.#pending.size === 0) this.#worker.ref();
      this.#pending.set(id, { resolve: resolve as (value: unknown) => void, reject });
    });
  }

  /** Lets the calls under way finish, frees what the library holds, and ends the thread. Safe to repeat. */
  async close(): Promise<void> {
    this.#failure ??= new TvmmpError('worker-failed', `the ${this.#name} thread was closed`);
    const request: CloseRequest = { close: true };
    this.#worker.postMessage(request);
    this.#worker.ref();
    const timer = setTimeout(() => void this.#worker.terminate(), this.#closeDeadlineMs);
    await this.#ended;
    clearTimeout(timer);
  }

  #settle(reply: CallReply): void {
    const pending = this.#pending.get(reply.id);
    if (pending === undefined) return;
    this.#pending.delete(reply.id);
    if (this.#pending.size === 0) this.#worker.unref();
    if ('error' in reply) {
      const { code, message, details } = reply.error;
      pending.reject(new TvmmpError(code, message, { details }));
    } else {
      pending.resolve(reply.value);
    }
  }

  #fail(cause: unknown): void {
    this.#failure ??= new TvmmpError('worker-failed', `the ${this.#name} thread ended`, { cause });
    for (const pending of this.#pending.values()) pending.reject(this.#failure);
    this.#pending.clear();
  }
}

/**
 * Threads of Node 20 do not inherit tsx's loader, so a module run from its source registers it first (development
 * and tests: what is installed is built, and takes the first branch).
 */
function startThread(module: URL, options: WorkerOptions): Worker {
  if (!module.pathname.endsWith('.ts')) return new Worker(module, options);
  const bootstrap = `import('tsx/esm/api').then((tsx) => { tsx.register(); return import(${JSON.stringify(module.href)}); });`;
  return new Worker(bootstrap, { ...options, eval: true });
}

/** A view into a larger (pooled) buffer would be cloned with all of that buffer: send its own bytes alone. */
function ownBytes(value: unknown): unknown {
  return value instanceof Uint8Array && value.byteLength !== value.buffer.byteLength
    ? Uint8Array.from(value)
    : value;
}
