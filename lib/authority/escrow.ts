/** The authority's escrow key (SPEC 15.1), in its directory beside the other keys, and never one of them. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { base64 } from '../encoding/base64.ts';
import { base64Of } from '../encoding/json-object.ts';
import { TvmmpError } from '../errors.ts';
import type { Bridge, EscrowKeyFile } from '../native/bridge.ts';
import { replaceFiles } from './files.ts';

const KEY_FILE = 'escrow-key.pem';
const PUBLIC_FILE = 'escrow.pem';
const SPKI_BYTES_MAX = 256;

/** Which passphrase protects the key: a file with it in the first line. */
export type EscrowPassphrase = Pick<EscrowKeyFile, 'passphraseFile'>;

/** Makes the key, once. Throws `authority-invalid`. Returns its public half, SPKI DER. */
export async function initEscrow(
  bridge: Pick<Bridge, 'createEscrowKey'>,
  directory: string,
  passphrase: EscrowPassphrase,
): Promise<Uint8Array> {
  const keyFile = join(directory, KEY_FILE);
  if (!existsSync(join(directory, 'root.pem')))
    throw invalid(`${directory} is not an authority's directory: no root.pem`);
  if (existsSync(keyFile) || existsSync(join(directory, PUBLIC_FILE)))
    throw invalid(`${directory} has an escrow key: what was sealed for it could not be opened with another`);
  const staged = join(directory, `.${KEY_FILE}.${randomBytes(6).toString('hex')}`);
  try {
    const spki = await bridge.createEscrowKey({ keyFile: staged, ...passphrase });
    renameSync(staged, keyFile);
    replaceFiles([{ path: join(directory, PUBLIC_FILE), contents: publicPem(spki), mode: 0o644 }]);
    return spki;
  } finally {
    rmSync(staged, { force: true });
  }
}

/** The key's public half, SPKI DER. Throws `authority-invalid` where there is none. */
export function readEscrowKey(directory: string): Uint8Array {
  const path = join(directory, PUBLIC_FILE);
  if (!existsSync(path))
    throw invalid(`${directory} has no escrow key (tvmmp authority escrow init ${directory})`);
  const [, body = ''] =
    /^-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=\n]+)-----END PUBLIC KEY-----\n$/.exec(
      readFileSync(path, 'utf8'),
    ) ?? [];
  try {
    return base64Of(body.replaceAll('\n', ''), PUBLIC_FILE, SPKI_BYTES_MAX);
  } catch (cause) {
    throw invalid(`${path} cannot be read`, cause);
  }
}

/** Where the private half is. */
export function escrowKeyFile(directory: string, passphrase: EscrowPassphrase): EscrowKeyFile {
  return { keyFile: join(directory, KEY_FILE), ...passphrase };
}

function publicPem(spki: Uint8Array): string {
  const lines = base64(spki).match(/.{1,64}/g) ?? [];
  return `-----BEGIN PUBLIC KEY-----\n${lines.join('\n')}\n-----END PUBLIC KEY-----\n`;
}

function invalid(message: string, cause?: unknown): TvmmpError {
  return new TvmmpError('authority-invalid', message, { cause });
}
