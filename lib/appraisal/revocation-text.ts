/** The JSON of a revocation list (SPEC 1.3): what the authority signs. */
import { isHostName } from '../certificates/host-name.ts';
import { hex } from '../encoding/hex.ts';
import { JsonShapeError, arrayOf, integerOf, objectOf, textOf } from '../encoding/json-object.ts';
import { limits } from '../limits.ts';
import { policyError } from './policy-error.ts';
import { readJson } from './policy-json.ts';

const FORMAT = 'tvmmp-revocations/1';
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const AK_NAME_HEX = /^[0-9a-f]{68}$/;

/** Why a host was revoked: one printable line. */
export const REVOCATION_REASON = /^[\x20-\x7e]{1,128}$/;

/** One attestation key that is not trusted any more. */
export interface Revocation {
  /** Name of the host as it was enrolled: for people. */
  readonly host: string;
  /** TPM name of the AK, 34 bytes. */
  readonly akName: Uint8Array;
  /** From when on nothing that the key signed is believed. */
  readonly since: Date;
  readonly reason: string;
}

/** A whole list. */
export interface RevocationDocument {
  readonly version: number;
  readonly issuedAt: Date;
  /** Ascending by AK name. */
  readonly hosts: readonly Revocation[];
}

/** Reads the payload of a signed list; it must be the one text that `formatRevocations` writes. Throws `policy-invalid`. */
export function parseRevocations(text: string): RevocationDocument {
  if (Buffer.byteLength(text) > limits.revocationsBytesMax)
    throw policyError('too-large', 'the revocation list is too large');
  const document = readJson('the revocation list', text, ({ value }) => read(value));
  if (formatRevocations(document) !== text)
    throw policyError('not-canonical', 'the revocation list is not written as SPEC 1.3 says');
  return document;
}

/** The payload's text: compact JSON, entries ascending by AK name. */
export function formatRevocations({ version, issuedAt, hosts }: RevocationDocument): string {
  return JSON.stringify({
    format: FORMAT,
    version,
    issuedAt: issuedAt.toISOString(),
    hosts: hosts
      .map(({ host, akName, since, reason }) => ({
        host,
        ak: hex(akName),
        since: since.toISOString(),
        reason,
      }))
      .sort((a, b) => (a.ak < b.ak ? -1 : 1)),
  });
}

function read(value: unknown): RevocationDocument {
  const members = objectOf(value, 'the revocation list', ['format', 'version', 'issuedAt', 'hosts']);
  if (members['format'] !== FORMAT) throw new JsonShapeError(`the format is not ${FORMAT}`);
  const hosts = arrayOf(members['hosts'], 'hosts', 0, limits.revocationsMax).map(readOne);
  const keys = hosts.map(({ akName }) => hex(akName));
  if (new Set(keys).size !== keys.length) throw new JsonShapeError('an attestation key is there twice');
  return {
    version: integerOf(members['version'], 'version', 1, Number.MAX_SAFE_INTEGER),
    issuedAt: timeOf(members['issuedAt'], 'issuedAt'),
    hosts,
  };
}

function readOne(value: unknown): Revocation {
  const members = objectOf(value, 'a revocation', ['host', 'ak', 'since', 'reason']);
  const host = textOf(members['host'], 'host', /^.{1,253}$/);
  if (!isHostName(host)) throw new JsonShapeError('host is not a host name');
  return {
    host,
    akName: Uint8Array.from(Buffer.from(textOf(members['ak'], 'ak', AK_NAME_HEX), 'hex')),
    since: timeOf(members['since'], 'since'),
    reason: textOf(members['reason'], 'reason', REVOCATION_REASON),
  };
}

function timeOf(value: unknown, what: string): Date {
  const time = new Date(textOf(value, what, TIME));
  if (Number.isNaN(time.getTime())) throw new JsonShapeError(`${what} is no time`);
  return time;
}
