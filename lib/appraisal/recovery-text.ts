/** The JSON of a recovery statement (SPEC 15.4): what the authority signs. */
import { isHostName } from '../certificates/host-name.ts';
import { hex, sha256Form, tpmNameForm, unhex } from '../encoding/hex.ts';
import type { JsonPlace } from '../encoding/json-place.ts';
import { uuidForm } from '../encoding/uuid.ts';
import { policyError } from './policy-error.ts';
import { readJson } from './policy-json.ts';

const FORMAT = 'tvmmp-recovery/1';

/** A host in a statement: certificates may be renewed, name and AK may not change. */
export interface RecoveryHost {
  readonly name: string;
  /** TPM name of its AK. */
  readonly ak: Uint8Array;
}

/** What the authority states. */
export interface RecoveryDocument {
  readonly vm: string;
  /** Hash of the chain's first entry. */
  readonly birth: Uint8Array;
  /** The epoch that the lost host held. */
  readonly epoch: number;
  /** Hash of the last entry that there is of it. */
  readonly head: Uint8Array;
  readonly lost: RecoveryHost;
  readonly to: RecoveryHost;
  /** TPM name of the receive key that the VM's key was sealed for. */
  readonly receiveKey: Uint8Array;
  /** Digest of the vTPM's state that the VM stopped with (SPEC 8.4), as the disk of the lost host says; null where it ran, or nobody knows. */
  readonly state: Uint8Array | null;
  /** SHA-256 of the request that it answers (SPEC 15.3). */
  readonly request: Uint8Array;
  readonly issuedAt: Date;
}

/** Reads the payload of a signed statement; it must be the one text that `formatRecovery` writes. Throws `policy-invalid`. */
export function parseRecovery(text: string): RecoveryDocument {
  const document = readJson('the recovery statement', text, read);
  if (formatRecovery(document) !== text)
    throw policyError('not-canonical', 'the recovery statement is not written as SPEC 15.4 says');
  return document;
}

function read(place: JsonPlace): RecoveryDocument {
  const members = place.object([
    ...(['format', 'vm', 'birth', 'epoch', 'head', 'lost', 'to', 'receiveKey'] as const),
    ...(['state', 'request', 'issuedAt'] as const),
  ]);
  members.format.constant(FORMAT);
  return {
    vm: members.vm.text(uuidForm),
    birth: unhex(members.birth.text(sha256Form)),
    epoch: members.epoch.integer(0, Number.MAX_SAFE_INTEGER),
    head: unhex(members.head.text(sha256Form)),
    lost: readHost(members.lost),
    to: readHost(members.to),
    receiveKey: unhex(members.receiveKey.text(tpmNameForm)),
    state: members.state.value === null ? null : unhex(members.state.text(sha256Form)),
    request: unhex(members.request.text(sha256Form)),
    issuedAt: members.issuedAt.time(),
  };
}

function readHost(place: JsonPlace): RecoveryHost {
  const { name, ak } = place.object(['name', 'ak']);
  const text = name.text(/^.{1,253}$/);
  if (!isHostName(text)) throw name.fault('inconsistent', 'is not a host name');
  return { name: text, ak: unhex(ak.text(tpmNameForm)) };
}

/** Compact JSON, members in the order of SPEC 15.4. */
export function formatRecovery(document: RecoveryDocument): string {
  const host = ({ name, ak }: RecoveryHost): unknown => ({ name, ak: hex(ak) });
  return JSON.stringify({
    format: FORMAT,
    vm: document.vm,
    birth: hex(document.birth),
    epoch: document.epoch,
    head: hex(document.head),
    lost: host(document.lost),
    to: host(document.to),
    receiveKey: hex(document.receiveKey),
    state: document.state === null ? null : hex(document.state),
    request: hex(document.request),
    issuedAt: document.issuedAt.toISOString(),
  });
}
