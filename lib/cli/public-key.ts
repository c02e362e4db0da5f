import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { usageError } from './exit.ts';
import { readText } from './files.ts';

const PEM_BYTES_MAX = 64 * 1024;

/** The public key of a PEM file, as `tpm2_readpublic -f pem` writes it. Throws `usage-invalid`. */
export function publicKeyFrom(file: string): KeyObject {
  const pem = readText(file, PEM_BYTES_MAX);
  if (!pem.includes('-----BEGIN PUBLIC KEY-----')) throw usageError(`${file} is no public key in PEM`);
  try {
    return createPublicKey(pem);
  } catch (cause) {
    throw usageError(`${file} is no public key in PEM`, cause);
  }
}
