/** The thread on which logs of peers are replayed and judged: the agent's event loop has other work. */
import { serve } from '../worker/thread.ts';
import type { LogKind } from '../evidence/logs-wanted.ts';
import type { KnownLogs } from './log-evidence.ts';
import { LogTable } from './log-table.ts';
import type { QuoteToMatch } from './log-table.ts';

const table = new LogTable();

const calls = {
  open: (id: number, envelope: string, known: KnownLogs | null) => {
    table.open(id, envelope, known);
  },
  add: (id: number, log: LogKind, from: number, data: Uint8Array) => {
    table.add(id, log, from, data);
  },
  finish: (id: number, quote: QuoteToMatch) => table.finish(id, quote),
  drop: (id: number) => {
    table.drop(id);
  },
};

/** The thread's calls, as its host side sees them. */
export type LogCalls = typeof calls;

serve(calls);
