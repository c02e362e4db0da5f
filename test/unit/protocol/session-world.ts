import { randomBytes } from 'node:crypto';
import type { TrustedPeer } from '../../../lib/appraisal/trusted-peer.ts';
import type { Role } from '../../../lib/evidence/statement.ts';
import type {
  Aborted,
  EvidenceMessage,
  Hello,
  Message,
  Offer,
  Question,
} from '../../../lib/protocol/messages.ts';

/** Messages of one well-behaved session, and the pieces that the pure state machines only carry. */
export const session = bytes(32);
export const vm = '5b0c9c0e-2f5e-4f4b-9d2a-0f3f1f7a1c11';

export function bytes(length: number): Uint8Array {
  return new Uint8Array(randomBytes(length));
}

export function hello(role: Role, changes: Partial<Hello> = {}): Hello {
  return {
    kind: 'hello',
    version: 1,
    session,
    role,
    vm,
    nonce: bytes(32),
    host: role === 'source' ? 'alpha' : 'beta',
    agent: role === 'source' ? 'alpha:16515' : 'beta:16515',
    akCertificate: bytes(64),
    akPublic: bytes(64),
    receivePublic: bytes(64),
    policy: { id: 'lab', version: 1, digest: bytes(32) },
    versions: new Map([['tvmmp', '0.1.0']]),
    ...changes,
  };
}

const claim = { attest: bytes(100), signature: bytes(72), path: [], pcrs: [] };

export const evidence: EvidenceMessage = { kind: 'evidence', session, claim };
export const offer: Offer = { kind: 'offer', session, claim, proof: bytes(200), sealed: bytes(126) };
/** Hash of the *departing* entry. */
export const head = bytes(32);
export const abort = { kind: 'abort', session, head } as const satisfies Question;
export const query = { kind: 'query', session, head } as const satisfies Question;
export const aborted: Aborted = {
  kind: 'aborted',
  session,
  disclaimer: {
    host: { name: 'beta', akName: bytes(34), certificate: bytes(32) },
    policy: { id: 'lab', version: 1, digest: bytes(32) },
    time: 1,
    path: [],
    attest: bytes(100),
    signature: bytes(72),
  },
  certificates: [],
  policies: [],
};
/** The state machines carry a TrustedPeer and never look into it. */
export const trusted = Object.freeze({}) as unknown as TrustedPeer;

/** The message as another session's. */
export function foreign<T extends Message>(message: T): T {
  return { ...message, session: bytes(32) };
}
