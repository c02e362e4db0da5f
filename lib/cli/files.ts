/** Files that users name on the command line. */
import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { usageError } from './exit.ts';

/** Reads a file of at most `bytesMax` bytes; `-` is standard input. Throws `usage-invalid`. */
export function readInput(file: string, bytesMax: number): Buffer {
  try {
    if (file !== '-' && statSync(file).size > bytesMax)
      throw new Error(`it is larger than ${bytesMax} bytes`);
    const bytes = readFileSync(file === '-' ? 0 : file);
    if (bytes.length > bytesMax) throw new Error(`it is larger than ${bytesMax} bytes`);
    return bytes;
  } catch (cause) {
    throw usageError(`cannot read ${file === '-' ? 'standard input' : file}: ${reason(cause)}`, cause);
  }
}

/** The same as text. */
export function readText(file: string, bytesMax: number): string {
  return readInput(file, bytesMax).toString('utf8');
}

/** Writes a file whole or not at all. Throws `usage-invalid`. */
export function writeOutput(file: string, contents: string | Uint8Array, mode = 0o644): void {
  const staged = join(dirname(file), `.${basename(file)}.${randomBytes(6).toString('hex')}`);
  try {
    writeFileSync(staged, contents, { flag: 'wx', mode, flush: true });
    renameSync(staged, file);
  } catch (cause) {
    rmSync(staged, { force: true });
    throw usageError(`cannot write ${file}: ${reason(cause)}`, cause);
  }
}

/** Writes a text to a file, or to standard output where none is named. */
export function emit(text: string, file: string | undefined): void {
  if (file === undefined) process.stdout.write(text);
  else writeOutput(file, text);
}

/** Why a file could not be had, in few words. */
export function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const words: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file',
    EACCES: 'permission denied (run as root?)',
    EPERM: 'permission denied (run as root?)',
    EISDIR: 'it is a directory',
    ENOTDIR: 'a part of the path is not a directory',
    EROFS: 'the file system is read-only',
    ENOSPC: 'no space is left on the device',
  };
  return (code === undefined ? undefined : words[code]) ?? message;
}
