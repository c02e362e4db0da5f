import { TvmmpError } from '../errors.ts';

/** Why a certificate was not accepted: `details.reason` of every `certificate-invalid`. */
export type CertificateReason =
  | 'malformed'
  | 'wrong-holder'
  | 'wrong-issuer'
  | 'bad-signature'
  | 'not-yet-valid'
  | 'expired'
  | 'wrong-usage'
  | 'wrong-name'
  | 'unknown-critical-extension';

/** Makes the error of a certificate that is not accepted. */
export function certificateError(reason: CertificateReason, message: string, cause?: unknown): TvmmpError {
  return new TvmmpError('certificate-invalid', message, { cause, details: { reason } });
}
