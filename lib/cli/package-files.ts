/** Digests of the files of packages, before they are installed anywhere (SPEC 10.4). */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { globOf } from '../appraisal/ima-rules.ts';
import { usageError } from './exit.ts';
import { reason } from './files.ts';

/** What of the files counts, and how their paths are written. */
export interface PackageOptions {
  /** The kernel's names of the algorithms that hosts measure with. */
  readonly algorithms: readonly string[];
  /** Patterns of paths, as in `ima.excluded`; empty for all. */
  readonly only: readonly string[];
  readonly except: readonly string[];
  /** Whether /bin, /sbin and /lib are directories of their own, and no links into /usr. */
  readonly splitUsr: boolean;
}

/** A package or tree that was read. */
export interface PackageFiles {
  readonly name: string;
  /** Digests (`sha256:<hexadecimal>`) by path on a host. */
  readonly files: ReadonlyMap<string, readonly string[]>;
}

const CHUNK_BYTES = 1024 * 1024;
const MERGED = /^\/(?:bin|sbin|lib|lib32|lib64|libx32)\//;
const DEB_MAGIC = '!<arch>\n';

/** Reads a .deb, or a directory that stands for the root of a file system. Throws `usage-invalid`. */
export function readPackage(path: string, options: PackageOptions): PackageFiles {
  try {
    if (statSync(path).isDirectory())
      return { name: basename(path) || '/', files: filesUnder(path, options) };
    if (!isDeb(path)) throw new Error('it is neither a directory nor a .deb');
    return readDeb(path, options);
  } catch (cause) {
    throw usageError(`cannot read ${path}: ${reason(cause)}`, cause);
  }
}

/** Unpacks with dpkg's own tool into a directory of ours; nothing of the package is run. */
function readDeb(file: string, options: PackageOptions): PackageFiles {
  const directory = mkdtempSync(join(tmpdir(), 'tvmmp-package-'));
  try {
    const format = '--showformat=${Package} ${Version} ${Architecture}';
    const name = execFileSync('dpkg-deb', [format, '--show', '--', file], { encoding: 'utf8' });
    execFileSync('dpkg-deb', ['--extract', '--', file, directory]);
    return { name, files: filesUnder(directory, options) };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function isDeb(file: string): boolean {
  const descriptor = openSync(file, 'r');
  try {
    const head = Buffer.alloc(DEB_MAGIC.length);
    return readSync(descriptor, head) === head.length && head.toString('latin1') === DEB_MAGIC;
  } finally {
    closeSync(descriptor);
  }
}

/** Regular files alone: links are not followed, they are no files of their own. */
function filesUnder(root: string, options: PackageOptions): ReadonlyMap<string, readonly string[]> {
  const [only, except] = [options.only.map(globOf), options.except.map(globOf)];
  const files = new Map<string, readonly string[]>();
  const walk = (relative: string): void => {
    for (const entry of readdirSync(join(root, relative), { withFileTypes: true })) {
      const path = `${relative}/${entry.name}`;
      if (entry.isDirectory()) walk(path);
      if (!entry.isFile()) continue;
      if (path.includes('\ufffd')) throw new Error(`${path} has a name that is not UTF-8`);
      const onHost = !options.splitUsr && MERGED.test(path) ? `/usr${path}` : path;
      const wanted = only.length === 0 || only.some((glob) => glob.test(onHost));
      if (wanted && !except.some((glob) => glob.test(onHost)))
        files.set(onHost, digestsOf(join(root, path), options.algorithms));
    }
  };
  walk('');
  return files;
}

function digestsOf(file: string, algorithms: readonly string[]): readonly string[] {
  const hashes = algorithms.map((algorithm) => createHash(algorithm));
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const descriptor = openSync(file, 'r');
  try {
    for (let bytes = readSync(descriptor, chunk); bytes > 0; bytes = readSync(descriptor, chunk))
      for (const one of hashes) one.update(chunk.subarray(0, bytes));
  } finally {
    closeSync(descriptor);
  }
  return hashes.map((one, index) => `${algorithms[index] ?? ''}:${one.digest('hex')}`);
}
