/** The shipped journal as one life of an agent has it: it can end between any two durable writes, and its disk can be full. */
import { TvmmpError } from '../../lib/errors.ts';
import type { Journal } from '../../lib/ledger/journal.ts';
import type { Life } from './kernel.ts';

/** What goes wrong with a host's journal. */
export interface DiskMood {
  full: boolean;
  /** Durable writes that still succeed; the agent ends at the next one. Null: it does not. */
  endsAfter: number | null;
  /** Whether that last write is still done. */
  endsDone: boolean;
}

const reads = new Set([
  'vm',
  'vms',
  'entries',
  'entry',
  'historyBegins',
  'summaries',
  'summary',
  'firstSummaryFrom',
  'setAside',
  'sessionSteps',
  'departures',
  'credentials',
  'session',
  'sessions',
  'unfinishedSessions',
  'permit',
  'ledgerRow',
  'refusals',
  'setting',
  'settings',
  'vtpmState',
  'wasVtpmState',
]);

/** The shipped journal, or one that keeps the same promises. */
export type AnyJournal = Pick<Journal, keyof Journal>;

export function journalOf(journal: AnyJournal, mood: DiskMood, life: Life): Journal {
  let depth = 0;
  const write = (work: () => unknown): unknown => {
    if (depth > 0) return work();
    if (mood.full) throw new TvmmpError('journal-failed', 'SQLITE_FULL: database or disk is full');
    const ends = mood.endsAfter !== null && mood.endsAfter-- <= 0;
    if (ends) mood.endsAfter = null;
    if (ends && !mood.endsDone) {
      life.end();
      throw new Error('the agent ended before this was written');
    }
    depth += 1;
    try {
      return work();
    } finally {
      depth -= 1;
      if (ends) life.end();
    }
  };
  const lived = (name: string, work: () => unknown): unknown => {
    if (!life.alive && depth === 0) throw new Error('the agent has ended');
    return reads.has(name) ? work() : write(work);
  };
  const methods = new Map<PropertyKey, unknown>();
  return new Proxy(journal, {
    get(target, name) {
      const known = methods.get(name);
      if (known !== undefined) return known;
      const member = Reflect.get(target, name, target) as unknown;
      if (typeof member !== 'function') return member;
      const method = (...args: unknown[]): unknown =>
        lived(String(name), () => Reflect.apply(member, target, args) as unknown);
      methods.set(name, method);
      return method;
    },
    // Its class has private members, which nothing outside it sees.
  }) as unknown as Journal;
}
