/** Files that are there whole or not at all, also after a power cut. */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** One file to be: text or bytes, its mode whatever the umask (0600 for keys), and its group where not the process's. */
export interface NewFile {
  readonly path: string;
  readonly contents: string | Uint8Array;
  readonly mode: 0o600 | 0o640 | 0o644;
  readonly gid?: number;
}

/**
 * Writes files beside their places, then moves them there in the order given. Nothing of what was there before is touched
 * until all of the new is on disk. Directories must exist.
 */
export function replaceFiles(files: readonly NewFile[]): void {
  const staged: { from: string; to: string }[] = [];
  try {
    for (const file of files) {
      const name = `.${basename(file.path)}.${randomBytes(6).toString('hex')}`;
      const from = join(dirname(file.path), name);
      staged.push({ from, to: file.path });
      writeDurably(from, file);
    }
    for (const { from, to } of staged) renameSync(from, to);
  } finally {
    for (const { from } of staged) rmSync(from, { force: true });
  }
  for (const directory of new Set(files.map(({ path }) => dirname(path)))) syncDirectory(directory);
}

/** Makes a directory with its parents; an existing one is left as it is. */
export function ensureDirectory(path: string, mode: 0o700 | 0o755): void {
  mkdirSync(path, { recursive: true, mode });
}

function writeDurably(path: string, file: NewFile): void {
  const descriptor = openSync(path, 'wx', 0o600);
  try {
    if (file.gid !== undefined) fchownSync(descriptor, process.getuid?.() ?? -1, file.gid);
    fchmodSync(descriptor, file.mode);
    const bytes = Buffer.from(file.contents);
    let written = 0;
    while (written < bytes.byteLength) written += writeSync(descriptor, bytes, written);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Makes durable that files were moved into a directory, or taken out of it. */
export function syncDirectory(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
