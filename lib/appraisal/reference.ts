/**
 * Reference values (SPEC 10.4): what known-good hosts measured, and what files of packages hash to, in a text that people read,
 * the authority may sign, and policies are filled in from.
 */
import { unhex } from '../encoding/hex.ts';
import type { JsonPlace } from '../encoding/json-place.ts';
import { limits } from '../limits.ts';
import { parseLargeEnvelope, payloadText, signEnvelope } from './dsse.ts';
import { envelopeSigner } from './envelope-signer.ts';
import type { SignerTrust } from './envelope-signer.ts';
import { eventLogMembers, readEventLogRules, readImaRules } from './log-rules.ts';
import type { EventLogRules, ImaRules } from './log-rules.ts';
import type { PolicyKeys } from './policy.ts';
import { policyError } from './policy-error.ts';
import { readJson } from './policy-json.ts';
import { hexOf, policyForms } from './policy-text.ts';
import type { DraftState } from './policy-text.ts';
import { keyVariables } from './secure-boot.ts';

/** payloadType of a signed one. */
export const REFERENCE_PAYLOAD_TYPE = 'application/vnd.tvmmp.reference+json';

const FORMAT = 'tvmmp-reference/1';
const NAME = /^[\x20-\x7e]{1,128}$/;
const COMPONENT = /^[a-z][a-z0-9-]{0,31}$/;

/** Where values come from, for people. */
export interface ReferenceSource {
  /** A host, a package file or a directory. */
  readonly name: string;
  readonly kind: 'host' | 'files';
  readonly time: Date;
  /** Versions of components on that host, by name. */
  readonly versions: Readonly<Record<string, string>>;
}

/** Reference values of any number of hosts and packages. */
export interface Reference {
  readonly sources: readonly ReferenceSource[];
  /** PCR values of the SHA-256 bank, by host; which of them count, a policy says. */
  readonly states: readonly DraftState[];
  /** What was measured, in the form of a policy's rules (SPEC 10.2). `keys.dbx` is what every source has. */
  readonly eventLog?: EventLogRules;
  readonly ima?: ImaRules;
}

/** Reads reference values, signed or not; a signature is not looked at. Throws `policy-invalid`. */
export function parseReference(text: string): Reference {
  return isSignedReference(text) ? parsePayload(payloadOf(text)) : parsePlain(text);
}

/** Whether a text is an envelope. */
export function isSignedReference(text: string): boolean {
  return /^\s*\{\s*"payloadType"/.test(text);
}

/** Verifies signature and signer of signed reference values. Throws `policy-invalid`. */
export function verifyReference(envelopeText: string, trust: SignerTrust): Reference {
  envelopeSigner(parseLargeEnvelope(envelopeText, limits.referenceBytesMax), trust);
  return parsePayload(payloadOf(envelopeText));
}

/** Signs reference values: the text of a DSSE envelope. */
export function signReference(reference: Reference, keys: PolicyKeys): string {
  const text = compact(reference);
  parsePayload(text);
  return signEnvelope(REFERENCE_PAYLOAD_TYPE, Buffer.from(text), keys);
}

/** The text of reference values, indented for people. */
export function formatReference(reference: Reference): string {
  return `${JSON.stringify(jsonOf(reference), null, 2)}\n`;
}

function payloadOf(envelopeText: string): string {
  const envelope = parseLargeEnvelope(envelopeText, limits.referenceBytesMax);
  if (envelope.payloadType !== REFERENCE_PAYLOAD_TYPE)
    throw policyError(
      'wrong-payload-type',
      `the envelope holds ${envelope.payloadType}, not reference values`,
    );
  return payloadText(envelope);
}

/** What is signed has one spelling. */
function parsePayload(text: string): Reference {
  const reference = parsePlain(text);
  if (compact(reference) !== text)
    throw policyError('not-canonical', 'the reference values are not written as SPEC 10.4 says');
  return reference;
}

function parsePlain(text: string): Reference {
  if (Buffer.byteLength(text) > limits.referenceBytesMax)
    throw policyError('too-large', 'the reference values are too large');
  return readJson('the reference values', text, read);
}

function read(document: JsonPlace): Reference {
  const { format, sources, states, eventLog, ima } = document.object(
    ['format', 'sources', 'states'],
    ['eventLog', 'ima'],
  );
  format.constant(FORMAT);
  return {
    sources: sources.items(1, limits.policyStatesMax).map(readSource),
    states: readStates(states),
    ...(eventLog === undefined ? {} : { eventLog: readEventLogRules(eventLog) }),
    ...(ima === undefined ? {} : { ima: readImaRules(ima) }),
  };
}

function readSource(place: JsonPlace): ReferenceSource {
  const { name, kind, time, versions } = place.object(['name', 'kind', 'time', 'versions']);
  const told = versions.names().map((component) => {
    if (!COMPONENT.test(component)) throw versions.at(component).fault('unknown-member', 'is no component');
    return [component, versions.at(component).text(NAME)];
  });
  return {
    name: name.text(NAME),
    kind: kind.text(/^(?:host|files)$/) as ReferenceSource['kind'],
    time: time.time(),
    versions: Object.fromEntries(told) as ReferenceSource['versions'],
  };
}

function readStates(place: JsonPlace): readonly DraftState[] {
  const states = place.items(0, limits.policyStatesMax).map((state) => {
    const { name, pcrs } = state.object(['name', 'pcrs']);
    const { sha256 } = pcrs.object(['sha256']);
    const values = sha256.names().map((pcr): [number, Uint8Array] => {
      if (!policyForms.pcr.test(pcr)) throw sha256.at(pcr).fault('unknown-member', 'is not a PCR');
      return [Number(pcr), unhex(sha256.at(pcr).text(policyForms.sha256))];
    });
    return { name: name.text(policyForms.stateName), pcrs: new Map(values) };
  });
  const names = states.map(({ name }) => name);
  const again = names.findIndex((name, index) => names.indexOf(name) !== index);
  if (again >= 0) throw place.at(again).fault('inconsistent', 'has the name of another state');
  return states;
}

function compact(reference: Reference): string {
  return JSON.stringify(jsonOf(reference));
}

/** Members in one order, lists and paths as they are. */
function jsonOf({ sources, states, eventLog, ima }: Reference): unknown {
  return {
    format: FORMAT,
    sources: sources.map(({ name, kind, time, versions }) => ({
      name,
      kind,
      time: time.toISOString(),
      versions,
    })),
    states: states.map(({ name, pcrs }) => ({ name, pcrs: { sha256: hexOf([...pcrs.keys()], pcrs) } })),
    ...(eventLog === undefined ? {} : { eventLog: inOrder(eventLog) }),
    ...(ima === undefined ? {} : { ima }),
  };
}

function inOrder(eventLog: EventLogRules): unknown {
  const { keys } = eventLog;
  const ordered = keyVariables.flatMap((name) => (keys?.[name] === undefined ? [] : [[name, keys[name]]]));
  const parts = eventLogMembers.flatMap((name) => {
    if (eventLog[name] === undefined) return [];
    return [[name, name === 'keys' ? (Object.fromEntries(ordered) as unknown) : eventLog[name]]];
  });
  return Object.fromEntries(parts) as unknown;
}
