import { TvmmpError } from '../errors.ts';
import type { Host } from './host.ts';

/** Notes beside a session what is in its way. A journal that cannot be written (a full disk) is in its way too, and only logged. */
export function noteTrouble({ journal, log, now }: Host, session: Uint8Array, error: unknown): void {
  try {
    journal.noteProblem(session, problemText(error), now());
  } catch (fault) {
    log.warn({ error: String(fault) }, 'what is in the way of a session could not be noted');
  }
}

/** A fault as the operator reads it beside a session: its code first (lib/errors.ts), on one line. */
function problemText(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof TvmmpError ? error.code : 'internal';
  return `${error instanceof Error && error.name === 'Refused' ? 'refused' : code}: ${message}`;
}
