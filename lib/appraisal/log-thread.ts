/** Where logs of peers are replayed and judged (SPEC 6.11): the port, and the thread behind it. */
import type { LogKind } from '../evidence/logs-wanted.ts';
import { WorkerHost, workerModule } from '../worker/host.ts';
import type { KnownLogs, LogFindings } from './log-evidence.ts';
import type { QuoteToMatch } from './log-table.ts';
import type { LogCalls } from './thread.ts';

/** The calls of LogTable, one after another. */
export interface LogJudges {
  open(id: number, envelope: string, known: KnownLogs | null): Promise<void>;
  add(id: number, log: LogKind, from: number, data: Uint8Array): Promise<void>;
  finish(id: number, quote: QuoteToMatch): Promise<LogFindings | null>;
  drop(id: number): Promise<void>;
}

/** A thread that begins with the first call: an agent whose policy asks for no logs has none. */
export class LogThread implements LogJudges {
  #host: WorkerHost<LogCalls> | null = null;

  open(id: number, envelope: string, known: KnownLogs | null): Promise<void> {
    return this.#thread().call('open', id, envelope, known);
  }

  add(id: number, log: LogKind, from: number, data: Uint8Array): Promise<void> {
    return this.#thread().call('add', id, log, from, data);
  }

  finish(id: number, quote: QuoteToMatch): Promise<LogFindings | null> {
    return this.#thread().call('finish', id, quote);
  }

  drop(id: number): Promise<void> {
    return this.#thread().call('drop', id);
  }

  async close(): Promise<void> {
    await this.#host?.close();
  }

  #thread(): WorkerHost<LogCalls> {
    return (this.#host ??= new WorkerHost<LogCalls>(workerModule(import.meta.url, './thread'), {
      name: 'logs',
      oldGenerationMb: 256,
      youngGenerationMb: 32,
    }));
  }
}
