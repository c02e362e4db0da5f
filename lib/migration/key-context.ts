import { encode } from '../encoding/cbor.ts';
import { uuidBytes } from '../encoding/uuid.ts';

const POINT_BYTES = 65;

/** What a sealed key is bound to besides its recipient's TPM (SPEC 5.3). */
export interface KeyContext {
  readonly vm: string;
  readonly epoch: number;
  /** Null at protection. */
  readonly session: Uint8Array | null;
  /** Receive key name of the recipient. */
  readonly recipient: Uint8Array;
}

/** E of a sealed key (SPEC 5.3), an uncompressed point: one use of the receive key opens all keys that share it. */
export function envelopeOf(sealed: Uint8Array): Uint8Array {
  return sealed.subarray(1, 1 + POINT_BYTES);
}

/** `key-context` of SPEC 5.3: associated data of the seal. */
export function keyContext({ vm, epoch, session, recipient }: KeyContext): Uint8Array {
  return encode(['tvmmp/key/1', uuidBytes(vm), epoch, session, recipient]);
}
