/** Digests of files in IMA lists (SPEC 14.5; Linux, security/integrity/ima/ima_template_lib.c). */
import type { LogReader } from './log-reader.ts';

/** Algorithm by the kernel's name (`verity:` before it, where it is fs-verity's digest), and the digest in hexadecimal. */
export interface ImaDigest {
  readonly algorithm: string;
  readonly value: string;
}

const SHA1_BYTES = 20;

/** Algorithms of file digests by the kernel's names, with the bytes of a digest. */
const ALGORITHMS = (
  [
    ['sha256', 32],
    ['sha1', 20],
    ['sha384', 48],
    ['sha512', 64],
    ['sha224', 28],
    ['md5', 16],
    ['sm3-256', 32],
  ] as const
).map(([name, bytes]) => ({ name, bytes }));

/** What a digest of an algorithm begins with in its field. */
interface DigestForm {
  readonly name: string;
  readonly bytes: number;
  readonly prefix: Uint8Array;
}
const formOf = (name: string, bytes: number, text: string): DigestForm => {
  return { name, bytes, prefix: Uint8Array.from(Buffer.from(`${text}:\0`)) };
};
/** The field d-ng. */
const DIGESTS = ALGORITHMS.map(({ name, bytes }) => formOf(name, bytes, name));
/** The field d-ngv2. fs-verity knows no other algorithms than these. */
const TYPED_DIGESTS = [
  ...ALGORITHMS.map(({ name, bytes }) => formOf(name, bytes, `ima:${name}`)),
  formOf('verity:sha256', 32, 'verity:sha256'),
  formOf('verity:sha512', 64, 'verity:sha512'),
];

/**
 * A field with a digest: algorithm (before it the type, where it is `typed`: d-ngv2), colon, NUL, digest. A violation may have a
 * digest of zeros without an algorithm, as kernels had it that did not know types. Throws `ima-list-invalid`.
 */
export function readImaDigest(
  reader: LogReader,
  length: number,
  entry: { readonly number: number; readonly violation: boolean },
  typed: boolean,
): ImaDigest {
  const { number, violation } = entry;
  for (const { name, bytes, prefix } of typed ? TYPED_DIGESTS : DIGESTS) {
    if (length < prefix.length || !reader.accept(prefix)) continue;
    const found = length - prefix.length;
    // A violation of an older kernel has 20 zeros, whatever the algorithm is.
    if (found !== bytes && !(violation && found === SHA1_BYTES))
      reader.fault('digest-size', `entry ${number} has a ${name} digest of ${found} bytes`);
    return { algorithm: name, value: reader.hex(found) };
  }
  if (violation && !typed && length === SHA1_BYTES && reader.isNext(0, SHA1_BYTES))
    return { algorithm: 'sha1', value: reader.hex(SHA1_BYTES) };
  return reader.fault('algorithm-unknown', `entry ${number} has a digest of an algorithm that is not known`);
}
