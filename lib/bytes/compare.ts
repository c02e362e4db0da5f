/** Equality of byte strings that are not secret (names, digests, public areas). */
export function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && Buffer.compare(a, b) === 0;
}

/** Whether bytes begin with a text of one byte a character. */
export function startsWithText(bytes: Uint8Array, text: string): boolean {
  const head = bytes.subarray(0, text.length);
  return Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString('latin1') === text;
}
