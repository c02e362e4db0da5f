/** A VM's UUID: 16 bytes in messages and entries, lower-case text with hyphens elsewhere, as libvirt prints it. */
import { TvmmpError } from '../errors.ts';
import { hex, unhex } from './hex.ts';

/** The text's form. */
export const uuidForm = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The 16 bytes of a UUID's text. Throws `encoding-invalid` for any other form, upper case included. */
export function uuidBytes(text: string): Uint8Array {
  if (!uuidForm.test(text))
    throw new TvmmpError('encoding-invalid', `not a UUID in lower case with hyphens: ${text}`);
  return unhex(text.replaceAll('-', ''));
}

/** The text of a UUID of 16 bytes. */
export function uuidText(bytes: Uint8Array): string {
  if (bytes.byteLength !== 16)
    throw new TvmmpError('encoding-invalid', `a UUID has 16 bytes, not ${bytes.byteLength}`);
  const digits = hex(bytes);
  return [
    digits.slice(0, 8),
    digits.slice(8, 12),
    digits.slice(12, 16),
    digits.slice(16, 20),
    digits.slice(20),
  ].join('-');
}
