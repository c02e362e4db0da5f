import { TvmmpError } from '../errors.ts';

/** Why a policy was not accepted: `details.reason` of every `policy-invalid`. */
export type PolicyReason =
  | 'malformed'
  | 'too-large'
  | 'not-canonical'
  | 'wrong-payload-type'
  | 'untrusted-signer'
  | 'bad-signature'
  | 'bad-approval'
  | 'rollback'
  | 'version-conflict'
  | 'conflict';

/** Makes the error of a policy that is not accepted; `where` says more of one that is malformed. */
export function policyError(
  reason: PolicyReason,
  message: string,
  cause?: unknown,
  where: { readonly fault?: string; readonly pointer?: string } = {},
): TvmmpError {
  return new TvmmpError('policy-invalid', message, { cause, details: { reason, ...where } });
}
