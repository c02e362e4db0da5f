/** Writes IMA lists as the kernel does, right and wrong, for tests, vectors and the bench. */
import { hash } from 'node:crypto';
import { ByteWriter } from '../../lib/bytes/writer.ts';
import type { ImaTemplate } from '../../lib/evidence/ima-list.ts';

/** An entry to be written; `contents` is what the file holds, unless its digest is given. */
export interface BuiltImaEntry {
  readonly path: string;
  readonly contents?: string;
  readonly pcr?: number;
  readonly template?: ImaTemplate;
  /** Name of the digest's algorithm; default sha256. */
  readonly algorithm?: string;
  readonly digest?: Uint8Array;
  readonly signature?: Uint8Array;
  readonly buffer?: Uint8Array;
  /** Of the digest in ima-ngv2 and ima-sigv2; default ima. */
  readonly type?: string;
  /** ima-modsig: the digest without the appended signature (SHA-256), and the signature. */
  readonly modsig?: { readonly digest: Uint8Array; readonly signature: Uint8Array };
  readonly violation?: boolean;
}

const SIGNED: readonly ImaTemplate[] = ['ima-sig', 'ima-sigv2', 'ima-modsig'];
const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'utf8'));

/** A list with these entries. */
export function imaList(entries: readonly BuiltImaEntry[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(entries.map(imaEntry)));
}

/** One entry in binary form. */
export function imaEntry(entry: BuiltImaEntry): Uint8Array {
  const template = entry.template ?? 'ima-ng';
  const data = template === 'ima' ? oldData(entry) : imaData(entry);
  const hashed = template === 'ima' ? Buffer.concat([data.digest, data.name], 276) : data.whole;
  const writer = new ByteWriter().u32le(entry.pcr ?? 10).bytes(templateHash(entry, hashed));
  writer.sized32le(bytesOf(template));
  if (template === 'ima') return writer.bytes(data.digest).sized32le(data.name).finish();
  return writer.sized32le(data.whole).finish();
}

/** The template data of an entry that is not of the template `ima`. */
export function imaData(entry: BuiltImaEntry): { whole: Uint8Array; digest: Uint8Array; name: Uint8Array } {
  const algorithm = entry.algorithm ?? 'sha256';
  const digest = digestOf(entry, algorithm);
  const name = bytesOf(`${entry.path}\0`);
  const typed = entry.template === 'ima-ngv2' || entry.template === 'ima-sigv2';
  const type = typed ? `${entry.type ?? 'ima'}:` : '';
  const writer = new ByteWriter()
    .sized32le(Buffer.concat([bytesOf(`${type}${algorithm}:\0`), digest]))
    .sized32le(name);
  if (SIGNED.includes(entry.template ?? 'ima-ng')) writer.sized32le(entry.signature ?? new Uint8Array());
  if (entry.template === 'ima-modsig') {
    const { modsig } = entry;
    writer.sized32le(
      modsig === undefined ? new Uint8Array() : Buffer.concat([bytesOf('sha256:\0'), modsig.digest]),
    );
    writer.sized32le(modsig?.signature ?? new Uint8Array());
  }
  if (entry.template === 'ima-buf') writer.sized32le(entry.buffer ?? new Uint8Array());
  return { whole: writer.finish(), digest, name };
}

/** An entry with any bytes as template data. */
export function rawEntry(template: string, data: Uint8Array, sha1 = hash('sha1', data, 'hex')): Uint8Array {
  const writer = new ByteWriter().u32le(10).bytes(Buffer.from(sha1, 'hex'));
  return writer.sized32le(bytesOf(template)).sized32le(data).finish();
}

/** A list of `count` entries, as that of a busy host. */
export function longImaList(count: number): Uint8Array {
  const writer = new ByteWriter();
  for (let i = 0; i < count; i++) writer.bytes(imaEntry({ path: longListPath(i), contents: String(i) }));
  return writer.finish();
}

/** Path of an entry of a long list. */
export function longListPath(index: number): string {
  return `/usr/lib/x86_64-linux-gnu/some-package/library-${index}.so.1`;
}

function oldData(entry: BuiltImaEntry): { whole: Uint8Array; digest: Uint8Array; name: Uint8Array } {
  return { whole: new Uint8Array(), digest: digestOf(entry, 'sha1'), name: bytesOf(entry.path) };
}

function digestOf(entry: BuiltImaEntry, algorithm: string): Uint8Array {
  if (entry.digest !== undefined) return entry.digest;
  const of = hash(algorithm, entry.buffer ?? entry.contents ?? '', 'hex');
  return Buffer.from(entry.violation === true ? '0'.repeat(of.length) : of, 'hex');
}

function templateHash(entry: BuiltImaEntry, hashed: Uint8Array): Uint8Array {
  return entry.violation === true ? new Uint8Array(20) : Buffer.from(hash('sha1', hashed, 'hex'), 'hex');
}
