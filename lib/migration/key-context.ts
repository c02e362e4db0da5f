import { encode } from '../encoding/cbor.ts';
import { uuidBytes } from '../encoding/uuid.ts';

/** What a sealed key is bound to besides its recipient's TPM (SPEC 5.3). */
export interface KeyContext {
  readonly vm: string;
  readonly epoch: number;
  /** Null at protection. */
  readonly session: Uint8Array | null;
  /** Receive key name of the recipient. */
  readonly recipient: Uint8Array;
}

/** `key-context` of SPEC 5.3: associated data of the seal. */
export function keyContext({ vm, epoch, session, recipient }: KeyContext): Uint8Array {
  return encode(['tvmmp/key/1', uuidBytes(vm), epoch, session, recipient]);
}
