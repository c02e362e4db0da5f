/** The authority's escrow key (SPEC 15.1), in its directory beside the other keys, and never one of them. */
import { randomBytes } from 'node:crypto';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { keyOfSpki } from '../certificates/public-key.ts';
import { TvmmpError } from '../errors.ts';
import type { Bridge, EscrowKeyFile } from '../native/bridge.ts';
import { replaceFiles } from './files.ts';

const KEY_FILE = 'escrow-key.pem';
const PUBLIC_FILE = 'escrow.pem';

/** Which passphrase protects the key: a file with it in the first line. */
export type EscrowPassphrase = Pick<EscrowKeyFile, 'passphraseFile'>;

/** Makes the key, once. Throws `authority-invalid`. Returns its public half, SPKI DER. */
export async function initEscrow(
  bridge: Pick<Bridge, 'createEscrowKey'>,
  directory: string,
  passphrase: EscrowPassphrase,
): Promise<Uint8Array> {
  const keyFile = escrowKeyPath(directory);
  if (!existsSync(join(directory, 'root.pem')))
    throw invalid(`${directory} is not an authority's directory: no root.pem`);
  if (existsSync(keyFile) || existsSync(join(directory, PUBLIC_FILE)))
    throw invalid(`${directory} has an escrow key: what was sealed for it could not be opened with another`);
  const staged = join(directory, `.${KEY_FILE}.${randomBytes(6).toString('hex')}`);
  try {
    const spki = await bridge.createEscrowKey({ keyFile: staged, ...passphrase });
    renameSync(staged, keyFile);
    const publicPem = keyOfSpki(spki).export({ type: 'spki', format: 'pem' });
    replaceFiles([{ path: join(directory, PUBLIC_FILE), contents: publicPem, mode: 0o644 }]);
    return spki;
  } finally {
    rmSync(staged, { force: true });
  }
}

/** Where the private half is, unless it is kept elsewhere. */
export function escrowKeyPath(directory: string): string {
  return join(directory, KEY_FILE);
}

function invalid(message: string): TvmmpError {
  return new TvmmpError('authority-invalid', message);
}
