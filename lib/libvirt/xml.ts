/**
 * Reading libvirt's XML with bounds first: size and nesting are capped, and document types and entities refused, before a parser
 * sees a byte (SPEC 11). What we read has passed through libvirt, which formats every description anew, so there is one reading of it.
 */
import { DOMParser, onWarningStopParsing } from '@xmldom/xmldom';
import type { Element } from '@xmldom/xmldom';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';

export type { Element } from '@xmldom/xmldom';

/** Bounds for one document; those of a domain's description by default. */
export interface XmlBounds {
  readonly bytesMax?: number;
  readonly depthMax?: number;
}

/** One tag of a document, as `tagsOf` finds it: its place in the text, and what it does to the nesting. */
export interface Tag {
  readonly kind: 'open' | 'close' | 'empty';
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

function invalid(message: string, cause?: unknown): TvmmpError {
  return new TvmmpError('domain-xml-invalid', message, cause === undefined ? {} : { cause });
}

/**
 * The root element of a document named `rootName`. Throws `limit-exceeded` when it is too large or too deep, and `domain-xml-invalid` when
 * it is not well-formed, has a document type, or has another root.
 */
export function parseXml(text: string, rootName: string, bounds: XmlBounds = {}): Element {
  checkBounds(text, bounds);
  let root: Element | null;
  try {
    root = new DOMParser({ onError: onWarningStopParsing }).parseFromString(text, 'text/xml').documentElement;
  } catch (cause) {
    throw invalid(`the XML is not well-formed: ${(cause as Error).message.split('\n')[0] ?? ''}`, cause);
  }
  if (root?.nodeName !== rootName) throw invalid(`the XML is not a <${rootName}>`);
  return root;
}

function checkBounds(text: string, bounds: XmlBounds): void {
  const bytesMax = bounds.bytesMax ?? limits.domainXmlBytesMax;
  const depthMax = bounds.depthMax ?? limits.domainXmlDepthMax;
  if (Buffer.byteLength(text) > bytesMax) {
    throw new TvmmpError('limit-exceeded', `XML of more than ${bytesMax} bytes`);
  }
  let depth = 0;
  for (const tag of tagsOf(text)) {
    if (tag.kind === 'close') depth -= 1;
    else if (depth + 1 > depthMax) throw new TvmmpError('limit-exceeded', `XML deeper than ${depthMax}`);
    else if (tag.kind === 'open') depth += 1;
  }
}

/** Every tag in the order of the text, in time linear in its length. Throws `domain-xml-invalid` for declarations and for loose ends. */
export function* tagsOf(text: string): Generator<Tag> {
  for (let start = text.indexOf('<'); start >= 0; start = text.indexOf('<', start)) {
    const skipped = skipUntagged(text, start);
    if (skipped !== null) {
      start = skipped;
      continue;
    }
    const end = tagEnd(text, start);
    const close = text[start + 1] === '/';
    const kind = close ? 'close' : text[end - 2] === '/' ? 'empty' : 'open';
    const name = /^[^\s/>]*/.exec(text.slice(start + (close ? 2 : 1), Math.min(end, start + 256)))?.[0] ?? '';
    yield { kind, name, start, end };
    start = end;
  }
}

/** The end of a comment, CDATA section or processing instruction that starts here; null for a tag. */
function skipUntagged(text: string, start: number): number | null {
  for (const [open, close] of [
    ['<!--', '-->'],
    ['<![CDATA[', ']]>'],
    ['<?', '?>'],
  ] as const) {
    if (!text.startsWith(open, start)) continue;
    const end = text.indexOf(close, start + open.length);
    if (end < 0) throw invalid(`the XML has an unended ${open}`);
    return end + close.length;
  }
  if (text.startsWith('<!', start)) throw invalid('the XML has a document type or an entity declaration');
  return null;
}

/** Where the tag ends: the first `>` outside quotes. */
function tagEnd(text: string, start: number): number {
  let quote = '';
  for (let at = start + 1; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (quote !== '') {
      if (character === quote) quote = '';
    } else if (character === '"' || character === "'") quote = character;
    else if (character === '>') return at + 1;
    else if (character === '<') break;
  }
  throw invalid('the XML has an unended tag');
}

/** Text as XML content or attribute value. Throws `domain-xml-invalid` for characters that XML 1.0 cannot hold. */
export function escapeXml(text: string): string {
  // eslint-disable-next-line no-control-regex -- the control characters are exactly what must be refused
  if (/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/.test(text))
    throw invalid('a character that XML cannot hold');
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    "'": '&apos;',
    '"': '&quot;',
    '\n': '&#10;',
    '\t': '&#9;',
    '\r': '&#13;',
  };
  return text.replace(/[&<>'"\n\t\r]/g, (character) => entities[character] ?? character);
}

/** Child elements of one name (a qualified name without namespace handling: libvirt's own elements have no prefix). */
export function children(parent: Element | null, name: string): Element[] {
  const found: Element[] = [];
  for (let node = parent?.firstChild ?? null; node !== null; node = node.nextSibling) {
    if (node.nodeType === 1 && node.nodeName === name) found.push(node as Element);
  }
  return found;
}

/** Child elements of one local name in one XML namespace. */
export function childrenNs(parent: Element | null, namespaceUri: string, localName: string): Element[] {
  const found: Element[] = [];
  for (let node = parent?.firstChild ?? null; node !== null; node = node.nextSibling) {
    if (node.nodeType !== 1) continue;
    const element = node as Element;
    if (element.namespaceURI === namespaceUri && element.localName === localName) found.push(element);
  }
  return found;
}

/** The first child on a path of names, or null. */
export function descend(parent: Element | null, ...path: readonly string[]): Element | null {
  let at = parent;
  for (const name of path) at = children(at, name)[0] ?? null;
  return at;
}

/** An attribute's value, or null when it is absent. */
export function attribute(element: Element | null, name: string): string | null {
  return element?.getAttribute(name) ?? null;
}

/** The trimmed text of an element, or null when there is no element. */
export function textOf(element: Element | null): string | null {
  return element === null ? null : (element.textContent ?? '').trim();
}
