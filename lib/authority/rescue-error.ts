import { TvmmpError } from '../errors.ts';

/** Why an authority does not sign a recovery statement: `details.reason` of every `rescue-refused`. */
export type RescueReason =
  | 'escrow-off'
  | 'proof-invalid'
  | 'not-held'
  | 'policy-other'
  | 'tenant-forbids'
  | 'lost-host-not-revoked'
  | 'new-host-unsuitable'
  | 'already-rescued'
  | 'escrow-of-another';

/** Makes the error of a rescue that is refused. */
export function rescueError(reason: RescueReason, message: string, cause?: unknown): TvmmpError {
  return new TvmmpError('rescue-refused', `${reason}: ${message}`, { cause, details: { reason } });
}
