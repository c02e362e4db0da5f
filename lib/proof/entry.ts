/** Entries of a trusted proof (SPEC 2 and 4): what one host states about one step of a VM's life, and their encoding. */
import {
  bytesUpTo,
  decodeAs,
  encodeAs,
  hash,
  literal,
  nullable,
  numbered,
  record,
  time,
  tpmName,
  uintUpTo,
  uuid,
} from '../encoding/shape.ts';
import type { Of } from '../encoding/shape.ts';
import { Remembered } from '../encoding/remembered.ts';
import { H } from '../encoding/hash.ts';
import { hostId, policyId } from '../evidence/identity.ts';
import { attestBytes, signatureBytes } from '../evidence/claim.ts';
import { leafHash, merklePath } from '../evidence/merkle.ts';
import { limits } from '../limits.ts';

export type { HostId, PolicyId } from '../evidence/identity.ts';

/** Numbers of the entry kinds on the wire (SPEC 2). */
export const entryKinds = {
  created: 1,
  started: 2,
  suspended: 3,
  resumed: 4,
  saved: 5,
  restored: 6,
  departing: 7,
  arrived: 8,
  departed: 9,
  aborted: 10,
  stopped: 11,
  destroyed: 12,
  resolved: 13,
  checkpoint: 14,
  adopted: 15,
  bound: 16,
  quarantined: 17,
  released: 18,
  recovered: 19,
} as const;

/** One step of a VM's life. */
export type EntryKind = keyof typeof entryKinds;

/** Largest encoded entry, in bytes: two host names and a policy id of full length fit. */
const ENTRY_BYTES_MAX = 2048;
const SIGNED_ENTRY_BYTES_MAX = 8192;

/** `entry` of SPEC 4. Members in the order of the encoding. */
export const entryShape = record({
  version: literal(1),
  vm: uuid,
  epoch: uintUpTo(),
  sequence: uintUpTo(),
  kind: numbered(entryKinds),
  previous: hash,
  facts: hash,
  vtpm: nullable(tpmName),
  host: hostId,
  policy: policyId,
  peer: nullable(hostId),
  session: nullable(hash),
  verdict: nullable(hash),
  time,
});
export type Entry = Of<typeof entryShape>;

/** `signed-entry`: an entry's bytes and the quote that signs them. */
export const signedEntryShape = record({
  entry: bytesUpTo(ENTRY_BYTES_MAX),
  path: merklePath,
  attest: attestBytes,
  signature: signatureBytes,
});
export type SignedEntry = Of<typeof signedEntryShape>;

/** `previous` of the first entry of a chain. */
export const noPrevious: Uint8Array = new Uint8Array(32);

/** Bytes of an entry: what is hashed and signed. */
export function encodeEntry(entry: Entry): Uint8Array {
  return encodeAs(entryShape, entry);
}

/** Reads an entry; throws `encoding-invalid` or `limit-exceeded`. Says nothing about its truth. */
export function decodeEntry(bytes: Uint8Array): Entry {
  const read = (): Entry => decodeAs(entryShape, 'entry', bytes, { bytesMax: ENTRY_BYTES_MAX });
  return bytes.byteLength > ENTRY_BYTES_MAX ? read() : entries.get(keyOf(bytes), read);
}

/** The same entries are read at each step of a hand-over, and most of them again at the next one. Nobody changes what was read. */
const entries = new Remembered<Entry>(limits.entriesRememberedMax);
const hashes = new Remembered<Uint8Array>(limits.entriesRememberedMax);
const signedEntries = new Remembered<SignedEntry>(limits.entriesRememberedMax);

/** The bytes as a text, one character each. */
function keyOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

/** `H("tvmmp/entry/1", entry bytes)`: names an entry in `previous` and in *staged*. */
export function entryHash(entryBytes: Uint8Array): Uint8Array {
  const hashed = (): Uint8Array => H('tvmmp/entry/1', entryBytes);
  return entryBytes.byteLength > ENTRY_BYTES_MAX ? hashed() : hashes.get(keyOf(entryBytes), hashed);
}

/** The leaf that stands for an entry in a quote's tree. */
export function entryLeaf(entryBytes: Uint8Array): Uint8Array {
  return leafHash(entryHash(entryBytes));
}

/** Bytes of a signed entry, as journals keep them. */
export function encodeSignedEntry(signed: SignedEntry): Uint8Array {
  return encodeAs(signedEntryShape, signed);
}

/** Reads a signed entry; throws `encoding-invalid` or `limit-exceeded`. */
export function decodeSignedEntry(bytes: Uint8Array): SignedEntry {
  const read = (): SignedEntry =>
    decodeAs(signedEntryShape, 'signed entry', bytes, { bytesMax: SIGNED_ENTRY_BYTES_MAX });
  return bytes.byteLength > SIGNED_ENTRY_BYTES_MAX ? read() : signedEntries.get(keyOf(bytes), read);
}
