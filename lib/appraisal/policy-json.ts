import { JsonShapeError } from '../encoding/json-object.ts';
import { JsonFaultError, JsonPlace } from '../encoding/json-place.ts';
import { policyError } from './policy-error.ts';

/** Reads a JSON text that the authority, an operator or a tenant wrote; `what` names it in the error. Throws `policy-invalid`, reason malformed. */
export function readJson<T>(what: string, text: string, read: (place: JsonPlace) => T): T {
  try {
    return read(new JsonPlace(JSON.parse(text)));
  } catch (cause) {
    if (!(cause instanceof JsonShapeError || cause instanceof SyntaxError)) throw cause;
    const where = cause instanceof JsonFaultError ? { fault: cause.fault, pointer: cause.pointer } : {};
    throw policyError('malformed', `${what} cannot be read: ${cause.message}`, cause, where);
  }
}
