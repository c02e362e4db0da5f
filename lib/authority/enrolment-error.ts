import { TvmmpError } from '../errors.ts';

/** Why an enrolment was refused: `details.reason` of every `enrolment-refused`. */
export type EnrolmentReason =
  | 'malformed'
  | 'out-of-turn'
  | 'ended'
  | 'timeout'
  | 'ek-missing'
  | 'ek-untrusted'
  | 'ek-mismatch'
  | 'platform-missing'
  | 'platform-untrusted'
  | 'ak-unsuitable'
  | 'receive-key-unsuitable'
  | 'vtpm-ca-key-unsuitable'
  | 'certification-invalid'
  | 'tls-request-invalid'
  | 'answer-wrong'
  | 'already-enrolled'
  | 'not-a-renewal'
  | 'revoked'
  | 'issue-invalid'
  | 'name-mismatch'
  | 'refused-by-authority';

/** Makes the error of an enrolment that is refused. */
export function enrolmentError(reason: EnrolmentReason, message: string, cause?: unknown): TvmmpError {
  return new TvmmpError('enrolment-refused', message, { cause, details: { reason } });
}
