/**
 * Conditions over attributes of a host (SPEC 10.1), such as `region == "eu" and level >= 2`. What an attribute that is missing
 * or of another type leaves open counts as not fulfilled, also under `not`.
 */
import { limits } from '../limits.ts';
import { policyError } from './policy-error.ts';

type Literal = string | number;
type Comparison = '==' | '!=' | '<' | '<=' | '>' | '>=';

type Node =
  | { readonly is: 'and' | 'or'; readonly left: Node; readonly right: Node }
  | { readonly is: 'not'; readonly of: Node }
  | { readonly is: 'compare'; readonly name: string; readonly by: Comparison; readonly with: Literal }
  | { readonly is: 'in'; readonly name: string; readonly values: readonly Literal[] };

/** A condition that was read. */
export interface Expression {
  /** As it was written. */
  readonly text: string;
  /** Names of the attributes in it, each once. */
  readonly names: readonly string[];
  /** `unknown`: an attribute that decides is missing, or of another type than it is compared with. */
  readonly holds: (attributes: ReadonlyMap<string, Literal>) => boolean | 'unknown';
}

const TOKEN = /\s*(?:([a-z][a-z0-9_]*)|(\d+)|"([^"\\]*)"|(==|!=|<=|>=|<|>|\(|\)|\[|\]|,))/y;
const COMPARISONS: ReadonlySet<string> = new Set(['==', '!=', '<', '<=', '>', '>=']);
const WORDS: ReadonlySet<string> = new Set(['and', 'or', 'not', 'in']);
const NUMBER_MAX = 2 ** 31 - 1;

type Token =
  | { readonly is: 'word' | 'sign'; readonly text: string }
  | { readonly is: 'literal'; readonly value: Literal };

/** Reads a condition. Throws `policy-invalid`, reason malformed, with the place. */
export function parseExpression(text: string): Expression {
  if (text.length > limits.expressionCharactersMax || !/^[\x20-\x7e]*$/.test(text))
    throw wrong(`a condition has at most ${limits.expressionCharactersMax} printable ASCII characters`);
  const parser = new Parser(tokens(text), text);
  const root = parser.whole();
  return { text, names: [...new Set(parser.names)], holds: (attributes) => evaluate(root, attributes) };
}

function tokens(text: string): readonly Token[] {
  const found: Token[] = [];
  const rest = text.trimEnd();
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < rest.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(rest);
    if (match === null) throw wrong(`at character ${at + 1} of the condition: ${rest.slice(at, at + 20)}`);
    const [, word, digits, quoted, sign] = match;
    if (word !== undefined) found.push({ is: 'word', text: word });
    else if (sign !== undefined) found.push({ is: 'sign', text: sign });
    else if (quoted !== undefined) found.push({ is: 'literal', value: quoted });
    else {
      const value = Number(digits);
      if (value > NUMBER_MAX) throw wrong(`${digits ?? ''} is above ${NUMBER_MAX}`);
      found.push({ is: 'literal', value });
    }
  }
  return found;
}

/** Recursive descent; depth is bounded. */
class Parser {
  readonly names: string[] = [];
  readonly #tokens: readonly Token[];
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(found: readonly Token[], text: string) {
    this.#tokens = found;
    this.#text = text;
  }

  whole(): Node {
    const node = this.#or();
    if (this.#at !== this.#tokens.length) throw this.#unexpected('the end');
    return node;
  }

  #or(): Node {
    let left = this.#and();
    while (this.#takes('word', 'or')) left = { is: 'or', left, right: this.#and() };
    return left;
  }

  #and(): Node {
    let left = this.#not();
    while (this.#takes('word', 'and')) left = { is: 'and', left, right: this.#not() };
    return left;
  }

  #not(): Node {
    this.#depth += 1;
    if (this.#depth > limits.expressionDepthMax) throw wrong('the condition is nested too deep');
    try {
      if (this.#takes('word', 'not')) return { is: 'not', of: this.#not() };
      if (!this.#takes('sign', '(')) return this.#comparison();
      const node = this.#or();
      this.#demand('sign', ')');
      return node;
    } finally {
      this.#depth -= 1;
    }
  }

  #comparison(): Node {
    const token = this.#tokens[this.#at];
    if (token?.is !== 'word' || WORDS.has(token.text)) throw this.#unexpected('the name of an attribute');
    this.#at += 1;
    const name = token.text;
    this.names.push(name);
    if (this.#takes('word', 'in')) return { is: 'in', name, values: this.#list() };
    const sign = this.#tokens[this.#at];
    if (sign?.is !== 'sign' || !COMPARISONS.has(sign.text)) throw this.#unexpected('a comparison');
    this.#at += 1;
    const by = sign.text as Comparison;
    const value = this.#literal();
    if (typeof value === 'string' && by !== '==' && by !== '!=')
      throw wrong(`texts have no order: ${name} ${by} "${value}"`);
    return { is: 'compare', name, by, with: value };
  }

  #list(): readonly Literal[] {
    this.#demand('sign', '[');
    const values = [this.#literal()];
    while (this.#takes('sign', ',')) values.push(this.#literal());
    this.#demand('sign', ']');
    return values;
  }

  #literal(): Literal {
    const token = this.#tokens[this.#at];
    if (token?.is !== 'literal') throw this.#unexpected('a number or a text in double quotes');
    this.#at += 1;
    return token.value;
  }

  #takes(is: 'word' | 'sign', text: string): boolean {
    const token = this.#tokens[this.#at];
    if (token?.is !== is || token.text !== text) return false;
    this.#at += 1;
    return true;
  }

  #demand(is: 'word' | 'sign', text: string): void {
    if (!this.#takes(is, text)) throw this.#unexpected(text);
  }

  #unexpected(wanted: string): Error {
    const token = this.#tokens[this.#at];
    const found =
      token === undefined ? 'the end' : token.is === 'literal' ? JSON.stringify(token.value) : token.text;
    return wrong(`${found} where ${wanted} is due, in: ${this.#text}`);
  }
}

function evaluate(node: Node, attributes: ReadonlyMap<string, Literal>): boolean | 'unknown' {
  switch (node.is) {
    case 'or':
    case 'and': {
      const decides = node.is === 'or';
      const left = evaluate(node.left, attributes);
      const right = evaluate(node.right, attributes);
      if (left === decides || right === decides) return decides;
      return left === 'unknown' || right === 'unknown' ? 'unknown' : !decides;
    }
    case 'not': {
      const value = evaluate(node.of, attributes);
      return value === 'unknown' ? value : !value;
    }
    case 'in': {
      const value = attributes.get(node.name);
      if (!node.values.some((one) => typeof one === typeof value)) return 'unknown';
      return node.values.some((one) => one === value);
    }
    case 'compare':
      return compare(attributes.get(node.name), node.by, node.with);
  }
}

function compare(value: Literal | undefined, by: Comparison, wanted: Literal): boolean | 'unknown' {
  if (typeof value !== typeof wanted || value === undefined) return 'unknown';
  if (by === '==') return value === wanted;
  if (by === '!=') return value !== wanted;
  if (by === '<') return value < wanted;
  if (by === '<=') return value <= wanted;
  return by === '>' ? value > wanted : value >= wanted;
}

function wrong(message: string): Error {
  return policyError('malformed', `the condition cannot be read: ${message}`);
}
