/** The vectors of IMA lists (test/vectors/ima): each list has one property or one fault. */
import { ByteWriter } from '../../lib/bytes/writer.ts';
import type { LogFault } from '../../lib/evidence/log-fault.ts';
import { imaData, imaEntry, imaList, rawEntry } from './ima-builder.ts';
import type { BuiltImaEntry } from './ima-builder.ts';

/** `expect`: the fault that must be named, or null where the list is read and replayed. */
export interface ImaCase {
  readonly name: string;
  readonly why: string;
  readonly expect: LogFault | null;
  readonly entries?: number;
  readonly violations?: number;
  readonly build: () => Uint8Array;
}

const files: readonly BuiltImaEntry[] = [
  { path: 'boot_aggregate', contents: 'PCRs' },
  { path: '/usr/bin/bash', contents: 'bash' },
  { path: '/etc/a_name_with_spaces', contents: 'x' },
];
const good = (): Uint8Array => imaList(files);
const all = (change: Partial<BuiltImaEntry>): (() => Uint8Array) => {
  return () => imaList(files.map((entry) => ({ ...entry, ...change })));
};
const after = (bytes: Uint8Array): (() => Uint8Array) => {
  return () => Uint8Array.from(Buffer.concat([good(), bytes]));
};
const text = (value: string): Uint8Array => Uint8Array.from(Buffer.from(value, 'latin1'));
const u32 = (value: number): Uint8Array => new ByteWriter().u32le(value).finish();
const patched = (at: number, bytes: Uint8Array): (() => Uint8Array) => {
  return () => {
    const list = Uint8Array.from(good());
    list.set(bytes, at);
    return list;
  };
};
const violation: BuiltImaEntry = { path: '/var/log/raced', violation: true };
const fields = (...parts: readonly Uint8Array[]): Uint8Array => {
  const writer = new ByteWriter();
  for (const part of parts) writer.sized32le(part);
  return writer.finish();
};
const DIGEST = Buffer.alloc(32, 7);
const SHA256 = Buffer.concat([text('sha256:\0'), DIGEST]);
/** Stands for a PKCS #7 signature: what it holds is not read. */
const PKCS7 = text('\x30\x03\x02\x01\x01');
/** Offsets in the first entry: PCR, template hash, length of the name, name (6), length of the data. */
const NAME_LENGTH = 24;
const DATA_LENGTH = 34;

export const imaCases: readonly ImaCase[] = [
  { name: 'ima-ng', why: 'the usual template', expect: null, entries: 3, build: good },
  {
    name: 'ima-sig',
    why: 'with and without a signature',
    expect: null,
    entries: 4,
    build: () =>
      imaList([
        ...files.map((entry) => ({ ...entry, template: 'ima-sig' as const })),
        { path: '/usr/bin/signed', template: 'ima-sig', signature: text('\x03\x02\x04....') },
      ]),
  },
  {
    name: 'ima-buf',
    why: 'what was measured is in the list',
    expect: null,
    entries: 2,
    build: () =>
      imaList([
        { path: 'boot_aggregate', contents: 'PCRs' },
        { path: 'kernel_version', template: 'ima-buf', buffer: text('6.1.0-56-cloud-amd64') },
      ]),
  },
  {
    name: 'ima-ngv2',
    why: 'digests that say that they are those of files, or of fs-verity',
    expect: null,
    entries: 5,
    build: () =>
      imaList([
        ...files.map((entry) => ({ ...entry, template: 'ima-ngv2' as const })),
        { path: '/usr/bin/sealed', template: 'ima-ngv2', type: 'verity' },
        { path: '/usr/bin/sealed-512', template: 'ima-ngv2', type: 'verity', algorithm: 'sha512' },
      ]),
  },
  {
    name: 'ima-sigv2',
    why: 'typed digests, with and without a signature',
    expect: null,
    entries: 2,
    build: () =>
      imaList([
        { path: '/usr/bin/signed', template: 'ima-sigv2', signature: text('\x03\x02\x04....') },
        { path: '/usr/bin/sealed', template: 'ima-sigv2', type: 'verity' },
      ]),
  },
  {
    name: 'ima-modsig',
    why: 'with and without a signature that is appended to the file',
    expect: null,
    entries: 2,
    build: () =>
      imaList([
        {
          path: '/usr/lib/modules/a.ko',
          template: 'ima-modsig',
          modsig: { digest: DIGEST, signature: PKCS7 },
        },
        { path: '/usr/lib/modules/b.ko', template: 'ima-modsig' },
      ]),
  },
  {
    name: 'violation-ngv2',
    why: 'a violation with a typed digest',
    expect: null,
    entries: 1,
    violations: 1,
    build: () => imaList([{ ...violation, template: 'ima-ngv2' }]),
  },
  {
    name: 'violation-ngv2-untyped',
    why: 'a violation without type and algorithm, as no kernel writes it that knows types',
    expect: 'algorithm-unknown',
    build: () =>
      Uint8Array.from(
        rawEntry('ima-ngv2', fields(new Uint8Array(20), text('/var/log/raced\0')), '0'.repeat(40)),
      ),
  },
  {
    name: 'digest-untyped',
    why: 'a digest without its type, in a template that has types',
    expect: 'algorithm-unknown',
    build: () => Uint8Array.from(rawEntry('ima-ngv2', fields(SHA256, text('/x\0')))),
  },
  {
    name: 'digest-typed',
    why: 'a digest with a type, in a template that has none',
    expect: 'algorithm-unknown',
    build: () =>
      Uint8Array.from(rawEntry('ima-ng', fields(Buffer.concat([text('ima:'), SHA256]), text('/x\0')))),
  },
  {
    name: 'digest-type-unknown',
    why: 'a digest of a type that nobody knows',
    expect: 'algorithm-unknown',
    build: () => imaList([{ path: '/x', template: 'ima-ngv2', type: 'evm' }]),
  },
  {
    name: 'digest-verity-sha1',
    why: 'a digest of fs-verity by an algorithm that it does not have',
    expect: 'algorithm-unknown',
    build: () => imaList([{ path: '/x', template: 'ima-ngv2', type: 'verity', algorithm: 'sha1' }]),
  },
  {
    name: 'digest-size-verity',
    why: 'a digest of fs-verity of 20 bytes',
    expect: 'digest-size',
    build: () => imaList([{ path: '/x', template: 'ima-ngv2', type: 'verity', digest: new Uint8Array(20) }]),
  },
  {
    name: 'sigv2-field-missing',
    why: 'an ima-sigv2 entry without its third field',
    expect: 'template-data',
    build: () =>
      Uint8Array.from(rawEntry('ima-sigv2', fields(Buffer.concat([text('ima:'), SHA256]), text('/x\0')))),
  },
  {
    name: 'modsig-field-missing',
    why: 'an ima-modsig entry without its fifth field',
    expect: 'template-data',
    build: () => Uint8Array.from(rawEntry('ima-modsig', fields(SHA256, text('/x\0'), text(''), SHA256))),
  },
  {
    name: 'modsig-no-digest',
    why: 'an appended signature without the digest that it would be over',
    expect: 'template-data',
    build: () =>
      Uint8Array.from(rawEntry('ima-modsig', fields(SHA256, text('/x\0'), text(''), text(''), PKCS7))),
  },
  {
    name: 'modsig-no-signature',
    why: 'the digest without an appended signature, and no such signature',
    expect: 'template-data',
    build: () =>
      Uint8Array.from(rawEntry('ima-modsig', fields(SHA256, text('/x\0'), text(''), SHA256, text('')))),
  },
  {
    name: 'modsig-digest-size',
    why: 'a digest without the appended signature that is too short',
    expect: 'digest-size',
    build: () =>
      Uint8Array.from(
        rawEntry('ima-modsig', fields(SHA256, text('/x\0'), text(''), SHA256.subarray(0, -1), PKCS7)),
      ),
  },
  {
    name: 'ima',
    why: 'the old template of SHA-1',
    expect: null,
    entries: 3,
    build: all({ template: 'ima' }),
  },
  {
    name: 'sha512',
    why: 'files hashed with SHA-512',
    expect: null,
    entries: 3,
    build: all({ algorithm: 'sha512' }),
  },
  {
    name: 'violation',
    why: 'a file was written while it was measured: zeros in the list, ones into the PCR',
    expect: null,
    entries: 4,
    violations: 1,
    build: () => imaList([...files, violation]),
  },
  {
    name: 'violation-old',
    why: 'a violation as older kernels write it: 20 zeros and no algorithm',
    expect: null,
    entries: 1,
    violations: 1,
    build: () =>
      Uint8Array.from(
        rawEntry('ima-ng', fields(new Uint8Array(20), text('/var/log/raced\0')), '0'.repeat(40)),
      ),
  },
  {
    name: 'other-pcr',
    why: 'a rule may name another PCR',
    expect: null,
    entries: 3,
    build: all({ pcr: 11 }),
  },
  {
    name: 'violation-hidden',
    why: 'the zeros of a violation were replaced by the hash of its data, to hide it: only the replay shows it',
    expect: null,
    entries: 4,
    build: () => Uint8Array.from(Buffer.concat([good(), rawEntry('ima-ng', imaData(violation).whole)])),
  },
  { name: 'empty', why: 'no bytes at all', expect: 'empty', build: () => new Uint8Array() },
  {
    name: 'truncated',
    why: 'cut off within the last entry',
    expect: 'truncated',
    build: () => good().slice(0, -4),
  },
  {
    name: 'trailing-bytes',
    why: 'three bytes after the last entry',
    expect: 'trailing-bytes',
    build: after(text('abc')),
  },
  {
    name: 'trailing-zeros',
    why: 'zeros after the last entry',
    expect: 'template-unknown',
    build: after(new Uint8Array(64)),
  },
  {
    name: 'name-huge',
    why: 'a template name of four gigabytes',
    expect: 'template-unknown',
    build: patched(NAME_LENGTH, u32(0xffffffff)),
  },
  {
    name: 'data-huge',
    why: 'template data of four gigabytes',
    expect: 'data-too-large',
    build: patched(DATA_LENGTH, u32(0xfffffff0)),
  },
  {
    name: 'field-huge',
    why: 'a field of four gigabytes',
    expect: 'template-data',
    build: patched(DATA_LENGTH + 4, u32(0xffffffff)),
  },
  {
    name: 'big-endian',
    why: 'a list of a big-endian machine',
    expect: 'pcr-out-of-range',
    build: patched(0, Uint8Array.of(0, 0, 0, 10)),
  },
  {
    name: 'pcr-out-of-range',
    why: 'an entry of PCR 24',
    expect: 'pcr-out-of-range',
    build: patched(0, u32(24)),
  },
  {
    name: 'template-unknown',
    why: 'a template that is not read here',
    expect: 'template-unknown',
    build: () => Uint8Array.from(rawEntry('evm-sig', fields(SHA256, text('/x\0'), text('')))),
  },
  {
    name: 'field-missing',
    why: 'an ima-sig entry without its third field',
    expect: 'template-data',
    build: () => Uint8Array.from(rawEntry('ima-sig', fields(SHA256, text('/x\0')))),
  },
  {
    name: 'field-more',
    why: 'an ima-ng entry with a third field',
    expect: 'template-data',
    build: () => Uint8Array.from(rawEntry('ima-ng', fields(SHA256, text('/x\0'), text('')))),
  },
  {
    name: 'path-no-nul',
    why: 'a path that is not ended',
    expect: 'template-data',
    build: () => Uint8Array.from(rawEntry('ima-ng', fields(SHA256, text('/x')))),
  },
  {
    name: 'path-two-nuls',
    why: 'a path with a NUL within, which would be read as another one',
    expect: 'template-data',
    build: () => Uint8Array.from(rawEntry('ima-ng', fields(SHA256, text('/x\0/y\0')))),
  },
  {
    name: 'digest-size',
    why: 'a SHA-256 digest of 20 bytes',
    expect: 'digest-size',
    build: all({ digest: new Uint8Array(20).fill(7) }),
  },
  {
    name: 'algorithm-unknown',
    why: 'a digest of an algorithm that nobody knows',
    expect: 'algorithm-unknown',
    build: all({ algorithm: 'sha999', digest: new Uint8Array(32) }),
  },
  {
    name: 'zeros-without-violation',
    why: 'a digest of zeros without an algorithm, in an entry that is no violation',
    expect: 'algorithm-unknown',
    build: () => Uint8Array.from(rawEntry('ima-ng', fields(new Uint8Array(20), text('/x\0')))),
  },
  {
    name: 'template-hash',
    why: 'a path was changed and its template hash was not',
    expect: 'template-hash',
    build: () => {
      const list = imaEntry({ path: '/usr/bin/bash', contents: 'bash' });
      list.set(text('d'), list.byteLength - 2);
      return list;
    },
  },
  {
    name: 'text-not-binary',
    why: 'the list that is meant for people',
    expect: 'text-not-binary',
    build: () => text(`10 ${'ab'.repeat(20)} ima-ng sha256:${'cd'.repeat(32)} boot_aggregate\n`),
  },
];
