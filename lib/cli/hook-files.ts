/** Our entry among libvirt's hooks: `qemu.d/50-tvmmp`, a copy of the hook client (hooks/README.md). */
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { syncDirectory } from '../authority/files.ts';
import { TvmmpError } from '../errors.ts';
import { nativePath } from '../native/load.ts';
import { usageError } from './exit.ts';
import { reason } from './files.ts';

export const defaultHooksDirectory = '/etc/libvirt/hooks';
/** Runs after hooks with lower names: what they print is the domain XML that ours is asked about. */
const ENTRY = '50-tvmmp';
const ENTRY_DIRECTORY = 'qemu.d';
/** Which libvirtd was told to look for hooks after ours was installed. */
const RELOAD_MARK = '.tvmmp-reloaded';

/** Paths of our entry and what belongs to it. */
export interface HookPaths {
  readonly directory: string;
  readonly entry: string;
  readonly reloadMark: string;
}

/** Where things go under a hooks directory. */
export function hookPaths(hooksDirectory: string): HookPaths {
  const directory = join(hooksDirectory, ENTRY_DIRECTORY);
  return { directory, entry: join(directory, ENTRY), reloadMark: join(hooksDirectory, RELOAD_MARK) };
}

/** The hook client of this package. Throws `native-missing`. */
export function packagedHook(): Buffer {
  const path = nativePath('tvmmp-hook');
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new TvmmpError('native-missing', `${path} is not built; run npm run build:native`, { cause });
  }
}

/** SHA-256, hexadecimal. */
export function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** What an installation did. */
export interface HookInstallation {
  readonly entry: string;
  readonly digest: string;
  /** False where the same client was there already. */
  readonly changed: boolean;
}

/**
 * Copies the hook client to its place, beside whatever hooks the operator has. libvirt runs every executable in `qemu.d`,
 * so the copy is made outside of it and moved in whole. Throws `usage-invalid`, `native-missing`.
 */
export function installHook(hooksDirectory: string): HookInstallation {
  const client = packagedHook();
  const { directory, entry } = hookPaths(hooksDirectory);
  const digest = digestOf(client);
  if (isInstalled(entry, digest)) return { entry, digest, changed: false };
  const staged = join(hooksDirectory, `.tvmmp.${randomBytes(6).toString('hex')}`);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    place(client, staged, entry);
    syncDirectory(directory);
  } catch (cause) {
    throw usageError(`cannot install ${entry}: ${reason(cause)}`, cause);
  }
  return { entry, digest, changed: true };
}

function place(client: Uint8Array, staged: string, entry: string): void {
  try {
    writeFileSync(staged, client, { flag: 'wx', mode: 0o600, flush: true });
    if (process.getuid?.() === 0) chownSync(staged, 0, 0);
    chmodSync(staged, 0o755);
    renameSync(staged, entry);
  } catch (cause) {
    rmSync(staged, { force: true });
    throw cause;
  }
}

/** Takes our entry away, and nothing else. Returns whether it was there. */
export function removeHook(hooksDirectory: string): boolean {
  const { directory, entry, reloadMark } = hookPaths(hooksDirectory);
  try {
    const was = existsSync(entry);
    rmSync(reloadMark, { force: true });
    rmSync(entry, { force: true });
    if (was) syncDirectory(directory);
    return was;
  } catch (cause) {
    throw usageError(`cannot remove ${entry}: ${reason(cause)}`, cause);
  }
}

function isInstalled(entry: string, digest: string): boolean {
  try {
    const status = lstatSync(entry);
    const mine = status.isFile() && (status.mode & 0o7777) === 0o755;
    return mine && status.uid === process.getuid?.() && digestOf(readFileSync(entry)) === digest;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw usageError(`cannot read ${entry}: ${reason(error)}`, error);
  }
}
