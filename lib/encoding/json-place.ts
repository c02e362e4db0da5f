/** Reads a JSON document whose author is told, by a JSON pointer (RFC 6901), where and how it is not as it has to be. */
import { JsonShapeError } from './json-object.ts';

/** The form of a time: UTC with milliseconds, as `Date.toISOString` writes it. */
export const timeForm = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** What can be wrong at a place. All but `inconsistent` are things that a JSON Schema says too. */
export type JsonFault =
  | 'wrong-type'
  | 'unknown-member'
  | 'missing-member'
  | 'wrong-text'
  | 'out-of-range'
  | 'wrong-count'
  | 'repeated'
  | 'inconsistent';

/** A fault and its place. */
export class JsonFaultError extends JsonShapeError {
  readonly fault: JsonFault;
  /** JSON pointer; empty for the whole document. */
  readonly pointer: string;

  constructor(fault: JsonFault, pointer: string, text: string) {
    super(`${pointer === '' ? 'the document' : pointer} ${text} (${fault})`);
    this.fault = fault;
    this.pointer = pointer;
  }
}

/** Members of an object that was read, by name. */
export type JsonMembers<R extends string, O extends string = never> = Readonly<
  Record<R, JsonPlace> & Partial<Record<O, JsonPlace>>
>;

/** Longest part of a name that is repeated in an error. */
const SHOWN_MAX = 256;
const CONTROLS = /\p{Cc}/gu;

/** A value and its place in the document. */
export class JsonPlace {
  readonly value: unknown;
  readonly pointer: string;

  constructor(value: unknown, pointer = '') {
    this.value = value;
    this.pointer = pointer;
  }

  /** What is thrown where the value is not as it has to be. */
  fault(fault: JsonFault, text: string): JsonFaultError {
    return new JsonFaultError(fault, this.pointer, text);
  }

  /** A member of an object that was read before, or an item. */
  at(name: string | number): JsonPlace {
    const step = String(name).slice(0, SHOWN_MAX).replaceAll('~', '~0').replaceAll('/', '~1');
    const parent = this.value as Readonly<Record<string, unknown>>;
    return new JsonPlace(parent[name], `${this.pointer}/${step.replaceAll(CONTROLS, '?')}`);
  }

  /** The names in an object. */
  names(): readonly string[] {
    if (typeof this.value !== 'object' || this.value === null || Array.isArray(this.value))
      throw this.fault('wrong-type', 'is not an object');
    return Object.keys(this.value);
  }

  /** The members of an object that has all of `required`, and none but these and `optional`. */
  object<R extends string, O extends string = never>(
    required: readonly R[],
    optional: readonly O[] = [],
  ): JsonMembers<R, O> {
    const known: readonly string[] = [...required, ...optional];
    const names = this.names();
    const unknown = names.find((name) => !known.includes(name));
    if (unknown !== undefined)
      throw this.at(unknown).fault('unknown-member', 'is not a member that it may have');
    const missing = required.find((name) => !names.includes(name));
    if (missing !== undefined) throw this.fault('missing-member', `lacks "${missing}"`);
    return Object.fromEntries(names.map((name) => [name, this.at(name)])) as JsonMembers<R, O>;
  }

  /** The members of an object that has at least one of `optional` and no others. */
  someOf<O extends string>(optional: readonly O[]): JsonMembers<never, O> {
    const members = this.object([], optional);
    if (Object.keys(members).length === 0) throw this.fault('wrong-count', 'has no member');
    return members;
  }

  /** `min` to `max` items. */
  items(min: number, max: number): readonly JsonPlace[] {
    if (!Array.isArray(this.value)) throw this.fault('wrong-type', 'is not an array');
    const { length } = this.value;
    if (length < min || length > max)
      throw this.fault('wrong-count', `has ${length} items, not ${min} to ${max}`);
    return this.value.map((_, index) => this.at(index));
  }

  /** A text of a form. */
  text(form: RegExp): string {
    if (typeof this.value !== 'string') throw this.fault('wrong-type', 'is not a text');
    if (!form.test(this.value)) throw this.fault('wrong-text', `is not of the form ${form.source}`);
    return this.value;
  }

  /** A time of `timeForm`. */
  time(): Date {
    const time = new Date(this.text(timeForm));
    if (Number.isNaN(time.getTime())) throw this.fault('inconsistent', 'is no time');
    return time;
  }

  /** One text. */
  constant(text: string): string {
    if (this.value !== text) throw this.fault('wrong-text', `is not "${text}"`);
    return text;
  }

  integer(min: number, max: number): number {
    const { value } = this;
    if (typeof value !== 'number' || !Number.isInteger(value))
      throw this.fault('wrong-type', 'is not an integer');
    if (value < min || value > max) throw this.fault('out-of-range', `is not ${min} to ${max}`);
    return value;
  }

  boolean(): boolean {
    if (typeof this.value !== 'boolean') throw this.fault('wrong-type', 'is neither true nor false');
    return this.value;
  }

  /** Texts of a form, each once where they have to be. */
  texts(form: RegExp, min: number, max: number, { once = false } = {}): readonly string[] {
    const items = this.items(min, max);
    const texts = items.map((item) => item.text(form));
    const again = once ? items.find((_, index) => texts.indexOf(texts[index] ?? '') !== index) : undefined;
    if (again !== undefined) throw again.fault('repeated', 'is there twice');
    return texts;
  }
}
