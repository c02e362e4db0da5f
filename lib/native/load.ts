import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TvmmpError, type ErrorCode } from '../errors.ts';

const require = createRequire(import.meta.url);

/** The codes that the addons give (native/operation-error.h); any other fault is `internal`. */
const nativeCodes: ReadonlySet<string> = new Set<ErrorCode>([
  'authority-invalid',
  'libvirt-call-failed',
  'policy-invalid',
  'seal-invalid',
  'seal-refused',
  'tpm-call-failed',
  'tpm-not-provisioned',
  'tpm-structure-invalid',
  'tpm-unreachable',
  'vtpm-busy',
  'vtpm-convert-failed',
  'vtpm-manufacture-failed',
  'vtpm-read-failed',
]);

/** The nearest directory above this file that holds package.json: the same from lib/ (tsx) and from dist/. */
function packageRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, 'package.json'))) {
    const parent = dirname(directory);
    if (parent === directory) throw new TvmmpError('native-missing', 'the package of tvmmp is not complete');
    directory = parent;
  }
  return directory;
}

/** Where node-gyp puts what binding.gyp builds; also the place of the hook client, `tvmmp-hook`. */
export function nativePath(file: string): string {
  return join(packageRoot(), 'build', 'Release', file);
}

/** Loads one addon, untyped. Throws TvmmpError `native-missing`. Everyone but lib/native wants loadBridge or loadLibvirtNative. */
export function loadAddon(name: 'bridge' | 'libvirt'): unknown {
  const path = nativePath(`${name}.node`);
  if (!existsSync(path)) {
    throw new TvmmpError('native-missing', `${path} is not built (run: npm run build:native)`);
  }
  try {
    return require(path);
  } catch (cause) {
    throw new TvmmpError('native-missing', `${path} cannot be loaded: ${messageOf(cause)}`, { cause });
  }
}

/** Calls into an addon; what it throws or rejects with becomes a TvmmpError. Programming errors (TypeError) stay as they are. */
export function callNative<T>(call: () => Promise<T>): Promise<T>;
export function callNative<T>(call: () => T): T;
export function callNative(call: () => unknown): unknown {
  let result: unknown;
  try {
    result = call();
  } catch (cause) {
    throw typed(cause);
  }
  if (!(result instanceof Promise)) return result;
  return result.catch((cause: unknown) => {
    throw typed(cause);
  });
}

function typed(cause: unknown): unknown {
  if (!(cause instanceof Error) || cause instanceof TypeError) return cause;
  const from = cause as Error & Record<string, unknown>;
  const code = typeof from['code'] === 'string' && nativeCodes.has(from['code']) ? from['code'] : 'internal';
  const details: Record<string, unknown> = {};
  for (const key of ['tpmCode', 'libvirtCode', 'libvirtDomain']) {
    if (from[key] !== undefined) details[key] = from[key];
  }
  return new TvmmpError(code as ErrorCode, cause.message, { cause, details });
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
