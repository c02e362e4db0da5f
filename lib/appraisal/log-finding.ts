/** What an event log holds that cannot be believed, although it can be read (SPEC 14.2). */

/** Names of findings. */
export type FindingName =
  | 'unknown-type'
  | 'unexpected-type'
  | 'digest-mismatch'
  | 'malformed-variable'
  | 'duplicate-variable'
  | 'late-variable'
  | 'duplicate-separator'
  | 'error-separator'
  | 'debug-mode'
  | 'unexpected-action';

/** One finding, about one event. */
export interface LogFinding {
  readonly name: FindingName;
  /** Number of the event in the log. */
  readonly event: number;
  readonly pcr: number | null;
  readonly text: string;
}

/** A finding as one line. */
export function findingText({ name, event, pcr, text }: LogFinding): string {
  return `${name}: event ${event}${pcr === null ? '' : ` (PCR ${pcr})`}: ${text}`;
}
