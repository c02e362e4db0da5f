/** This host's own logs, as its kernel shows them (SPEC 14), for peers that want them. */
import { open, readFile, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { limits } from '../limits.ts';

/** Own logs. What is not there is null: the peer that wants it says so. */
export interface LogFiles {
  readonly eventLog: () => Promise<Uint8Array | null>;
  /** The IMA list from a byte on, piece by piece as it is read; null where there is none. */
  readonly imaList: (from: number) => Promise<AsyncIterable<Uint8Array> | null>;
  /** A text that changes when the IMA list grows; null where there is none. */
  readonly imaLength: () => Promise<string | null>;
}

/** The logs in these files. */
export function logFiles(paths: { readonly eventLog: string; readonly ima: string }): LogFiles {
  return {
    eventLog: () => unlessMissing(async () => new Uint8Array(await readFile(paths.eventLog))),
    imaList: (from) => unlessMissing(async () => pieces(await open(paths.ima, 'r'), from)),
    imaLength: () => lengthOf(paths.ima),
  };
}

/** The kernel counts its list's entries in a file beside it; those it shows have no length of their own. */
async function lengthOf(list: string): Promise<string | null> {
  const counter = join(dirname(list), 'runtime_measurements_count');
  const counted = await unlessMissing(async () => (await readFile(counter, 'utf8')).trim());
  return counted ?? unlessMissing(async () => String((await stat(list)).size));
}

/** What a file holds from a place on. The kernel shows whole entries, however many there are by then. */
async function* pieces(file: FileHandle, from: number): AsyncGenerator<Uint8Array> {
  try {
    for (let at = from; ;) {
      const { bytesRead, buffer } = await file.read(
        Buffer.alloc(limits.logPieceBytesMax),
        0,
        limits.logPieceBytesMax,
        at,
      );
      if (bytesRead === 0) return;
      at += bytesRead;
      yield Uint8Array.from(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}

async function unlessMissing<T>(read: () => Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'EACCES' || code === 'EPERM') return null;
    throw error;
  }
}
