/** Lower-case hexadecimal text, and the values that have a form in it wherever they are written. */
export const sha256Form = /^[0-9a-f]{64}$/;
/** A TPM name whose nameAlg is SHA-256 (0x000b): 34 bytes. */
export const tpmNameForm = /^000b[0-9a-f]{64}$/;

/** Bytes as text. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** The bytes of a text whose form was looked at before. */
export function unhex(digits: string): Uint8Array {
  return Uint8Array.from(Buffer.from(digits, 'hex'));
}
