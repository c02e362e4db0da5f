import { TvmmpError } from '../errors.ts';

/** A fault as the operator reads it beside a session: its code first (lib/errors.ts), on one line. */
export function problemText(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof TvmmpError ? error.code : 'internal';
  return `${error instanceof Error && error.name === 'Refused' ? 'refused' : code}: ${message}`;
}
