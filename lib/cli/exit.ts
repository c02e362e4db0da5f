/** Exit codes of `tvmmp` (SPEC 12) and the one line that says why. */
import { TvmmpError } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';

/** 0 done, 1 refused, 2 unusable input or usage, 3 fault. */
export type ExitCode = 0 | 1 | 2 | 3;

/** Decisions against something; everything works, and the answer is no. */
const refusals: ReadonlySet<string> = new Set<ErrorCode | 'refused'>([
  'refused',
  'enrolment-refused',
  'peer-untrusted',
  'policy-invalid',
  'rescue-refused',
  'seal-refused',
  'session-replayed',
  'vm-protected',
  'vm-unsuitable',
]);

/** What the user gave, or set up, cannot be used. */
const unusable: ReadonlySet<string> = new Set<ErrorCode>([
  'authority-invalid',
  'certificate-invalid',
  'config-invalid',
  'domain-not-found',
  'domain-xml-invalid',
  'encoding-invalid',
  'event-log-invalid',
  'ima-list-invalid',
  'limit-exceeded',
  'not-enrolled',
  'usage-invalid',
  'vm-unknown',
]);

/** A policy that cannot be read is unusable input; one that can be read and is not accepted is refused. */
const unreadable: ReadonlySet<unknown> = new Set([
  'malformed',
  'not-canonical',
  'too-large',
  'wrong-payload-type',
]);

/** A failure with a code that need not be one of lib/errors.ts, such as the agent's answer `refused`. */
export class CliError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options: { cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CliError';
    this.code = code;
  }
}

/** The answer is no: exit 1. */
export function refused(message: string): CliError {
  return new CliError('refused', message);
}

/** The user's input cannot be used: exit 2. */
export function usageError(message: string, cause?: unknown): TvmmpError {
  return new TvmmpError('usage-invalid', message, { cause });
}

/** The code of an error, for its line and for scripts. */
export function codeOf(error: unknown): string {
  return error instanceof TvmmpError || error instanceof CliError ? error.code : 'internal';
}

/** How the process ends after an error. */
export function exitCodeOf(error: unknown): ExitCode {
  const code = codeOf(error);
  if (error instanceof TvmmpError && code === 'policy-invalid' && unreadable.has(error.details['reason']))
    return 2;
  if (refusals.has(code)) return 1;
  return unusable.has(code) ? 2 : 3;
}

/** `tvmmp: <reason> (<code>)`, on one line whatever the reason holds. */
export function errorLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return `tvmmp: ${message.replace(/[\s\p{Cc}]+/gu, ' ').trim()} (${codeOf(error)})`;
}
