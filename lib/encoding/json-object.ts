/** Reads JSON objects of known shape: members that are missing or unknown are errors, never ignored. */

/** A JSON object of which nothing but its being one is known. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** What a reader of JSON throws; its caller turns it into the error of its area. */
export class JsonShapeError extends Error {
  override readonly name = 'JsonShapeError';
}

/** The value as an object with exactly these members. `what` names it in the error. */
export function objectOf(value: unknown, what: string, members: readonly string[]): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new JsonShapeError(`${what} is not an object`);
  }
  const names = Object.keys(value);
  const unknown = names.find((name) => !members.includes(name));
  if (unknown !== undefined)
    throw new JsonShapeError(`${what} has an unknown member "${unknown.slice(0, 64)}"`);
  const missing = members.find((name) => !names.includes(name));
  if (missing !== undefined) throw new JsonShapeError(`${what} lacks "${missing}"`);
  return value as JsonObject;
}

/** The value as an array of `min` to `max` items. */
export function arrayOf(value: unknown, what: string, min: number, max: number): readonly unknown[] {
  if (!Array.isArray(value)) throw new JsonShapeError(`${what} is not an array`);
  if (value.length < min || value.length > max) {
    throw new JsonShapeError(`${what} has ${value.length} items, not ${min} to ${max}`);
  }
  return value as readonly unknown[];
}

/** The value as a text that matches a pattern. */
export function textOf(value: unknown, what: string, pattern: RegExp): string {
  if (typeof value !== 'string' || !pattern.test(value)) {
    throw new JsonShapeError(`${what} is not a text of the form ${pattern.source}`);
  }
  return value;
}

/** The value as an integer between two bounds. */
export function integerOf(value: unknown, what: string, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
    throw new JsonShapeError(`${what} is not an integer from ${min} to ${max}`);
  }
  return value;
}

/** The value as bytes in standard base64 with padding, 1 to `max` of them; other spellings are refused. */
export function base64Of(value: unknown, what: string, max: number): Uint8Array {
  const text = typeof value === 'string' && value.length <= Math.ceil(max / 3) * 4 ? value : '';
  const bytes = Buffer.from(text, 'base64');
  if (bytes.byteLength === 0 || bytes.byteLength > max || bytes.toString('base64') !== text) {
    throw new JsonShapeError(`${what} is not base64 of 1 to ${max} bytes`);
  }
  return Uint8Array.from(bytes);
}
