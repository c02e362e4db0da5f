import { unhex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import { usageError } from './exit.ts';

/** The nonce of an attestation (SPEC 4.3) from the command line. Throws `usage-invalid`. */
export function nonceFrom(digits: string): Uint8Array {
  const { attestationNonceBytesMin: min, attestationNonceBytesMax: max } = limits;
  if (!/^(?:[0-9a-fA-F]{2})+$/.test(digits) || digits.length < 2 * min || digits.length > 2 * max)
    throw usageError(`the nonce is not ${min} to ${max} bytes in hexadecimal`);
  return unhex(digits);
}
