/**
 * Edits of a domain's persistent XML that bind its vTPM's state to a libvirt secret, or release it. Everything outside the edited element stays
 * byte for byte: what the operator wrote is theirs.
 */
import { uuidForm } from '../encoding/uuid.ts';
import { TvmmpError } from '../errors.ts';
import { facts } from './facts.ts';
import { type Tag, escapeXml, tagsOf } from './xml.ts';

interface Span {
  readonly start: number;
  readonly end: number;
}

interface BackendPlace {
  /** The backend's start tag. */
  readonly tag: Tag;
  /** The encryption element, with the white space before it; null when there is none. */
  readonly encryption: Span | null;
}

/**
 * The XML with `<encryption secret='UUID'/>` in the backend of its one emulator vTPM, in the place of another one. Throws `domain-xml-invalid` for
 * XML without exactly one emulator vTPM.
 */
export function withEncryption(xml: string, secretUuid: string): string {
  if (!uuidForm.test(secretUuid.toLowerCase()))
    throw new TvmmpError('domain-xml-invalid', 'the secret’s UUID is none');
  const bare = withoutEncryption(xml);
  const { tag } = backendPlace(bare);
  const element = `<encryption secret='${escapeXml(secretUuid.toLowerCase())}'/>`;
  const result =
    tag.kind === 'empty'
      ? `${bare.slice(0, tag.end - 2).trimEnd()}>${element}</backend>${bare.slice(tag.end)}`
      : `${bare.slice(0, tag.end)}${indentAfter(bare, tag.end)}${element}${bare.slice(tag.end)}`;
  checkResult(result, secretUuid.toLowerCase());
  return result;
}

/** The XML without the encryption of its one emulator vTPM; unchanged when it has none. Throws as `withEncryption` does. */
export function withoutEncryption(xml: string): string {
  if (emulatorSecret(xml) === null) return xml;
  const { encryption } = backendPlace(xml);
  if (encryption === null) throw misread();
  const result = xml.slice(0, encryption.start) + xml.slice(encryption.end);
  checkResult(result, null);
  return result;
}

function misread(): TvmmpError {
  return new TvmmpError(
    'domain-xml-invalid',
    'the vTPM’s backend was not found in the text of the domain XML',
  );
}

/** The secret of the only vTPM, which must be an emulator. */
function emulatorSecret(xml: string): string | null {
  const { tpms } = facts(xml);
  const tpm = tpms[0];
  if (tpms.length !== 1 || tpm?.backend !== 'emulator') {
    throw new TvmmpError('domain-xml-invalid', 'the domain XML has not exactly one emulator vTPM');
  }
  return tpm.encryptionSecret;
}

/** An edit of the text is only trusted once the parser has read the wanted secret out of it. */
function checkResult(xml: string, secret: string | null): void {
  if (emulatorSecret(xml) !== secret) throw misread();
}

/** Finds domain/devices/tpm/backend, and encryption in it, in the text. */
function backendPlace(xml: string): BackendPlace {
  const path: string[] = [];
  let tag: Tag | undefined;
  let encryptionStart: number | undefined;
  let encryption: Span | null = null;
  for (const one of tagsOf(xml)) {
    if (one.kind === 'close') {
      if (path.join('/') === 'domain/devices/tpm/backend/encryption' && encryptionStart !== undefined) {
        encryption ??= { start: encryptionStart, end: one.end };
      }
      path.pop();
      continue;
    }
    path.push(one.name);
    const at = path.join('/');
    if (at === 'domain/devices/tpm/backend') tag ??= one;
    if (at === 'domain/devices/tpm/backend/encryption') {
      encryptionStart ??= beforeWhiteSpace(xml, one.start);
      if (one.kind === 'empty') encryption ??= { start: encryptionStart, end: one.end };
    }
    if (one.kind === 'empty') path.pop();
  }
  if (tag === undefined) throw misread();
  return { tag, encryption };
}

function beforeWhiteSpace(xml: string, at: number): number {
  let start = at;
  while (start > 0 && /\s/.test(xml.charAt(start - 1))) start -= 1;
  return start;
}

/** The white space that follows a start tag, so that what is put there lines up with its siblings; two more columns before an end tag. */
function indentAfter(xml: string, at: number): string {
  const space = /^\s*/.exec(xml.slice(at))?.[0] ?? '';
  return space.includes('\n') && xml.startsWith('</', at + space.length) ? `${space}  ` : space;
}
