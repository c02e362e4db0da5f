/**
 * Changes that keep a format's outer form, so that what lies inside is reached: CBOR, JSON and DER are read into a tree, a node is
 * changed, and the tree is written again with right lengths. Byte strings and texts inside are tried as trees in turn.
 */
import { decode, encode } from 'cborg';
import { mutateBytes } from './mutate.ts';
import type { Material } from './mutate.ts';

/** The outer form of a target's inputs. */
export type Form = 'bytes' | 'cbor' | 'der' | 'json' | 'xml';

type Tree = null | boolean | number | string | Uint8Array | readonly Tree[] | ReadonlyMap<string, Tree>;

/** A changed copy of `bytes`; byte by byte where they are not of the form. */
export function mutateAs(form: Form, bytes: Uint8Array, material: Material): Uint8Array {
  const changed = form === 'bytes' || material.random.once(4) ? null : changeInForm(form, bytes, material);
  return changed === null || changed.length > material.bytesMax ? mutateBytes(bytes, material) : changed;
}

function changeInForm(form: Form, bytes: Uint8Array, material: Material): Uint8Array | null {
  try {
    if (form === 'cbor') return encode(changed(decode(bytes, { useMaps: true }) as Tree, material, 0));
    if (form === 'der') return changedDer(bytes, material);
    const text = Buffer.from(bytes).toString();
    if (form === 'xml') return Buffer.from(changedXml(text, material));
    return Buffer.from(jsonText(changed(treeOf(JSON.parse(text)), material, 0)));
  } catch {
    return null;
  }
}

/** One node of the tree, changed; which one is chance, deeper ones are likelier. */
function changed(tree: Tree, material: Material, depth: number): Tree {
  const { random } = material;
  if (depth > 0 && random.once(16)) return strange(material);
  if (Array.isArray(tree)) {
    const items = tree as readonly Tree[];
    if (items.length > 0 && !random.once(5)) {
      const at = random.below(items.length);
      return items.map((item, index) => (index === at ? changed(item, material, depth + 1) : item));
    }
    return changedList(items, material);
  }
  if (tree instanceof Map) {
    const entries = [...(tree as ReadonlyMap<string, Tree>)];
    if (entries.length > 0 && !random.once(6)) {
      const at = random.below(entries.length);
      return new Map(
        entries.map(([key, value], i) => [key, i === at ? changed(value, material, depth + 1) : value]),
      );
    }
    return changedMap(entries, material);
  }
  return random.once(12)
    ? strange(material)
    : changedLeaf(tree as string | number | Uint8Array | null | boolean, material);
}

function changedList(items: readonly Tree[], material: Material): Tree {
  const { random } = material;
  const [a, b] = [random.below(items.length), random.below(items.length)];
  const one = items[a] ?? null;
  switch (random.below(5)) {
    case 0:
      return items.filter((_, index) => index !== a);
    case 1:
      return [...items.slice(0, b), one, ...items.slice(b)];
    case 2:
      return items.map((item, index) => (index === a ? (items[b] ?? null) : index === b ? one : item));
    case 3:
      return [...items, strange(material)];
    default:
      return strange(material);
  }
}

function changedMap(entries: readonly (readonly [string, Tree])[], material: Material): Tree {
  const { random } = material;
  const at = random.below(entries.length);
  const [key = '', value = null] = entries[at] ?? [];
  switch (random.below(4)) {
    case 0:
      return new Map(entries.filter((_, index) => index !== at));
    case 1:
      return new Map([...entries, [`${key}${random.below(3)}`, value]]);
    case 2:
      return new Map([...entries].reverse());
    default:
      return new Map([...entries, [random.once(2) ? '__proto__' : 'constructor', strange(material)]]);
  }
}

const oddNumbers = [0, 1, 23, 24, 255, 256, 65535, 65536, 2 ** 32, Number.MAX_SAFE_INTEGER, -1, 1.5];

function strange({ random, words }: Material): Tree {
  const values: Tree[] = [
    null,
    true,
    [],
    new Map(),
    '',
    new Uint8Array(),
    new Uint8Array([0, 32, 34, 65][random.below(4)] ?? 0),
    random.pick(oddNumbers) ?? 0,
    Buffer.from(random.pick(words) ?? []).toString(),
    'x'.repeat(random.below(300)),
    Array.from({ length: random.below(40) }, () => null),
    [[[[[[[[[]]]]]]]]],
  ];
  return random.pick(values) ?? null;
}

function changedLeaf(leaf: null | boolean | number | string | Uint8Array, material: Material): Tree {
  const { random } = material;
  if (leaf instanceof Uint8Array) {
    const form = random.pick(['cbor', 'der', 'bytes'] as const) ?? 'bytes';
    return changeInForm(form, leaf, material) ?? mutateBytes(leaf, material);
  }
  if (typeof leaf === 'string') return changedText(leaf, material);
  if (typeof leaf === 'number' && !random.once(3)) return Math.abs(leaf + random.below(5) - 2);
  return strange(material);
}

/** Base64 is changed within, and so is the JSON in a text. */
function changedText(text: string, material: Material): string {
  if (!material.random.once(4)) {
    if (text.startsWith('{')) {
      const inner = changeInForm('json', Buffer.from(text), material);
      if (inner !== null) return Buffer.from(inner).toString();
    }
    const bytes = Buffer.from(text, 'base64');
    if (bytes.length > 0 && bytes.toString('base64') === text) {
      const form = bytes[0] === 0x7b ? 'json' : bytes[0] === 0x30 ? 'der' : 'bytes';
      return Buffer.from(changeInForm(form, bytes, material) ?? mutateBytes(bytes, material)).toString(
        'base64',
      );
    }
  }
  return Buffer.from(mutateBytes(Buffer.from(text), material)).toString();
}

function treeOf(value: unknown): Tree {
  if (Array.isArray(value)) return value.map(treeOf);
  if (typeof value === 'object' && value !== null) {
    return new Map(Object.entries(value).map(([key, item]) => [key, treeOf(item)]));
  }
  return value as Tree;
}

function jsonText(tree: Tree): string {
  if (Array.isArray(tree)) return `[${(tree as readonly Tree[]).map(jsonText).join(',')}]`;
  if (tree instanceof Map) {
    const entries = [...(tree as ReadonlyMap<string, Tree>)];
    return `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${jsonText(value)}`).join(',')}}`;
  }
  return JSON.stringify(tree instanceof Uint8Array ? Buffer.from(tree).toString('base64') : tree);
}

/** One DER element (X.690 8.1) and, where it is constructed or holds another element, the ones inside: one of them changed. */
function changedDer(bytes: Uint8Array, material: Material): Uint8Array {
  const elements = derElements(bytes);
  if (elements === null || elements.length === 0) return mutateBytes(bytes, material);
  const { random } = material;
  const at = random.below(elements.length);
  const one = elements[at];
  if (one === undefined) return bytes;
  if (elements.length > 1 && random.once(6)) {
    const parts = elements.map(({ whole }) => whole);
    if (random.once(2)) parts.splice(at, 1);
    else parts.splice(random.below(parts.length), 0, one.whole);
    return Buffer.concat(parts);
  }
  const inside = one.tag === 0x03 ? one.value.subarray(1) : one.value;
  const nested =
    (one.tag & 0x20) !== 0 || ((one.tag === 0x03 || one.tag === 0x04) && derElements(inside) !== null);
  const value = !nested
    ? mutateBytes(one.value, material)
    : Buffer.concat([one.value.subarray(0, one.value.length - inside.length), changedDer(inside, material)]);
  const tag = random.once(20) ? random.below(256) : one.tag;
  return Buffer.concat(elements.map((each, index) => (index === at ? derElement(tag, value) : each.whole)));
}

interface DerElement {
  readonly tag: number;
  readonly value: Uint8Array;
  readonly whole: Uint8Array;
}

function derElements(bytes: Uint8Array): readonly DerElement[] | null {
  const found: DerElement[] = [];
  for (let at = 0; at < bytes.length;) {
    const first = bytes[at + 1] ?? 0xff;
    const size = first < 0x80 ? 0 : first - 0x80;
    if (size > 2 || at + 2 + size > bytes.length) return null;
    const length = size === 0 ? first : Buffer.from(bytes).readUIntBE(at + 2, size);
    const start = at + 2 + size;
    if (start + length > bytes.length) return null;
    found.push({
      tag: bytes[at] ?? 0,
      value: bytes.subarray(start, start + length),
      whole: bytes.subarray(at, start + length),
    });
    at = start + length;
  }
  return found;
}

function derElement(tag: number, value: Uint8Array): Uint8Array {
  const { length } = value;
  const head =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Uint8Array.of(tag, ...head), value]);
}

/** Tags and texts between them as a list, of which some are left out, doubled, moved, or changed within. */
function changedXml(text: string, material: Material): string {
  const { random } = material;
  const parts = text.match(/<[^>]*>|[^<]+/g) ?? [text];
  for (let times = 1 + random.below(3); times > 0; times -= 1) {
    const [from, to] = [random.below(parts.length), random.below(parts.length)];
    const element = elementAt(parts, from);
    const part = parts[from] ?? '';
    switch (random.below(6)) {
      case 0:
        parts.splice(from, element);
        break;
      case 1:
        parts.splice(to, 0, ...parts.slice(from, from + element));
        break;
      case 2:
        parts.splice(from, 1);
        break;
      case 3:
        parts[from] = part.replace(
          /(['"])([^'"]*)\1/,
          (_, quote: string, value: string) => `${quote}${changedText(value, material)}${quote}`,
        );
        break;
      case 4:
        parts[from] = part.replace(
          /^<(\/?)([\w:]+)/,
          (_, slash: string) => `<${slash}${Buffer.from(random.pick(material.words) ?? []).toString()}`,
        );
        break;
      default:
        parts[from] = Buffer.from(mutateBytes(Buffer.from(part), material)).toString();
    }
  }
  return parts.join('');
}

/** How many parts the element takes that starts here; 1 for anything else. */
function elementAt(parts: readonly string[], from: number): number {
  let depth = 0;
  for (let at = from; at < parts.length; at += 1) {
    const part = parts[at] ?? '';
    if (part.startsWith('</')) depth -= 1;
    else if (part.startsWith('<') && !/^<[?!]|\/>$/.test(part)) depth += 1;
    if (depth <= 0) return at - from + 1;
  }
  return 1;
}
