/** The files of a rescue (SPEC 15.3): what the disk of a lost host says of a VM, and the authority's answer. UNVERIFIED as they are read. */
import {
  bytesOf,
  bytesUpTo,
  decodeAs,
  encodeAs,
  hash,
  listOf,
  literal,
  nullable,
  record,
  textUpTo,
} from '../encoding/shape.ts';
import type { Of } from '../encoding/shape.ts';
import { limits } from '../limits.ts';

const SEALED_BYTES = 126;
const PUBLIC_BYTES_MAX = 512;
const NAME_BYTES_MAX = 1024;
const SECRET_BYTES = 36;

const requestShape = record({
  format: literal('tvmmp/rescue-request/1'),
  name: textUpTo(NAME_BYTES_MAX),
  secret: textUpTo(SECRET_BYTES),
  proof: bytesUpTo(limits.proofBytesMax),
  escrowed: bytesOf(SEALED_BYTES),
  state: nullable(hash),
  past: listOf(hash, { max: limits.vtpmStatesRememberedMax }),
  akCertificate: bytesUpTo(limits.certificateBytesMax),
  receivePublic: bytesUpTo(PUBLIC_BYTES_MAX),
});

const rescueShape = record({
  format: literal('tvmmp/rescue/1'),
  request: bytesUpTo(limits.rescueBytesMax),
  statement: textUpTo(limits.policyEnvelopeBytesMax),
  sealed: bytesOf(SEALED_BYTES),
});

/**
 * What is asked for. `name` and `secret` are libvirt's name of the VM and the UUID of the secret in its definition; `state` is the SHA-256 of the vTPM's state
 * where the VM was off, null where it ran; `past` are those that it had before; `receivePublic` is the new host's (TPMT_PUBLIC).
 */
export type RescueRequest = Omit<Of<typeof requestShape>, 'format'>;

/** The authority's answer: the request as it came, its statement (DSSE), and the VM's key, sealed for the new host. */
export type Rescue = Omit<Of<typeof rescueShape>, 'format'>;

export function encodeRescueRequest(request: RescueRequest): Uint8Array {
  return encodeAs(requestShape, { ...request, format: 'tvmmp/rescue-request/1' });
}

/** Throws `encoding-invalid`, `limit-exceeded`. */
export function decodeRescueRequest(bytes: Uint8Array): RescueRequest {
  return decodeAs(requestShape, 'rescue request', bytes, { bytesMax: limits.rescueBytesMax });
}

export function encodeRescue(rescue: Rescue): Uint8Array {
  return encodeAs(rescueShape, { ...rescue, format: 'tvmmp/rescue/1' });
}

/** Throws `encoding-invalid`, `limit-exceeded`. */
export function decodeRescue(bytes: Uint8Array): Rescue {
  return decodeAs(rescueShape, 'rescue', bytes, { bytesMax: limits.rescueBytesMax });
}
