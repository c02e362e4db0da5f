/** The JSON of a revocation list (SPEC 1.3): what the authority signs. */
import { isHostName } from '../certificates/host-name.ts';
import { hex, tpmNameForm, unhex } from '../encoding/hex.ts';
import type { JsonPlace } from '../encoding/json-place.ts';
import { limits } from '../limits.ts';
import { policyError } from './policy-error.ts';
import { readJson } from './policy-json.ts';

const FORMAT = 'tvmmp-revocations/1';
const HOST = /^[a-z0-9.-]{1,253}$/;

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
  const document = readJson('the revocation list', text, read);
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

function read(place: JsonPlace): RevocationDocument {
  const members = place.object(['format', 'version', 'issuedAt', 'hosts']);
  members.format.constant(FORMAT);
  const hosts = members.hosts.items(0, limits.revocationsMax).map(readOne);
  const keys = new Set(hosts.map(({ akName }) => hex(akName)));
  if (keys.size !== hosts.length) throw members.hosts.fault('repeated', 'has an attestation key twice');
  return {
    version: members.version.integer(1, Number.MAX_SAFE_INTEGER),
    issuedAt: members.issuedAt.time(),
    hosts,
  };
}

function readOne(place: JsonPlace): Revocation {
  const { host, ak, since, reason } = place.object(['host', 'ak', 'since', 'reason']);
  const name = host.text(HOST);
  if (!isHostName(name)) throw host.fault('wrong-text', 'is not a host name');
  return {
    host: name,
    akName: unhex(ak.text(tpmNameForm)),
    since: since.time(),
    reason: reason.text(REVOCATION_REASON),
  };
}
