/**
 * What the quotes of a session state (SPEC 6.2-6.4): the whole conversation so far, the TLS channel it runs in, and the
 * role of the speaker. A quote made for another channel, session, VM, peer or role states something else.
 */
import { H } from '../encoding/hash.ts';

/** Role of a host in a migration: on the wire source 0, target 1. */
export type Role = 'source' | 'target';

/** Numbers of the roles in hello messages and statements. */
export const roleNumbers = { source: 0, target: 1 } as const;

/** What the first transcript covers. All as bytes on the wire or hashes of 32 bytes. */
export interface GreetingTranscript {
  /** TLS 1.3 exporter, label `EXPORTER-tvmmp-1`, empty context, 32 bytes. */
  readonly exporter: Uint8Array;
  /** SHA-256 of the DER of the target's agent TLS certificate, as seen in this connection. */
  readonly targetTlsCertificate: Uint8Array;
  readonly sourceTlsCertificate: Uint8Array;
  readonly sourceHello: Uint8Array;
  readonly targetHello: Uint8Array;
}

/** T1 of SPEC 6.2: after both hellos. */
export function greetingTranscript(seen: GreetingTranscript): Uint8Array {
  return H(
    'tvmmp/transcript/1',
    seen.exporter,
    seen.targetTlsCertificate,
    seen.sourceTlsCertificate,
    seen.sourceHello,
    seen.targetHello,
  );
}

/** T2 of SPEC 6.2: after the target's evidence message, given as its bytes. */
export function evidenceTranscript(t1: Uint8Array, evidenceMessage: Uint8Array): Uint8Array {
  return H('tvmmp/transcript/2', t1, evidenceMessage);
}

/**
 * What a host of this role states with its quote: the target over T1 (SPEC 6.3), the source over T2 (SPEC 6.4). Its
 * `leafHash` is a leaf of the quote's tree.
 */
export function evidenceStatement(role: Role, transcript: Uint8Array): Uint8Array {
  return H('tvmmp/evidence/1', roleNumbers[role], transcript);
}

/** What a host states to nobody but itself (SPEC 16): by its label no evidence for anybody else. `nonce`: 32 bytes, its own. */
export function selfStatement(nonce: Uint8Array): Uint8Array {
  return H('tvmmp/self/1', nonce);
}
