/** What can be wrong with an event log or an IMA list: a closed set of names (SPEC 14.4), one for each kind of bad input. */
import { TvmmpError } from '../errors.ts';

/** `details.fault` of every `event-log-invalid` and `ima-list-invalid`. */
export const logFaults = [
  'empty',
  'too-large',
  'too-many',
  'truncated',
  'trailing-bytes',
  'data-too-large',
  'pcr-out-of-range',
  'digest-count',
  'digest-size',
  'algorithm-unknown',
  'algorithm-twice',
  'spec-id-missing',
  'spec-id-duplicate',
  'spec-id-invalid',
  'startup-locality',
  'text-not-binary',
  'template-unknown',
  'template-data',
  'template-hash',
] as const;
export type LogFault = (typeof logFaults)[number];

/** Codes of logs that cannot be read. */
export type LogErrorCode = 'event-log-invalid' | 'ima-list-invalid';

const WHAT: Readonly<Record<LogErrorCode, string>> = {
  'event-log-invalid': 'event log',
  'ima-list-invalid': 'IMA list',
};

/** Makes the error of a log that is not accepted: its name first, so that it can be seen and searched for. */
export function faultyLog(
  code: LogErrorCode,
  fault: LogFault,
  reason: string,
  details: Readonly<Record<string, unknown>> = {},
): TvmmpError {
  return new TvmmpError(code, `${WHAT[code]}: ${fault}: ${reason}`, { details: { ...details, fault } });
}

/** The name of what is wrong with a log, of an error that its parser threw. */
export function logFaultOf(error: unknown): LogFault | undefined {
  const fault = error instanceof TvmmpError ? error.details['fault'] : undefined;
  return logFaults.find((name) => name === fault);
}
