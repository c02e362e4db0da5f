import { bytesEqual } from '../bytes/compare.ts';
import type { Hello } from './messages.ts';
import { ProtocolViolation, requireSession } from './step.ts';

/** In the place of a VM: a hello by which a host attests itself, and nothing moves (SPEC 16.4). */
export const noVm = '00000000-0000-0000-0000-000000000000';

/** What a peer's hello must share with ours, and what it must not (SPEC 6.1). */
export function checkPeerHello(own: Hello, peer: Hello): void {
  requireSession(peer, own.session);
  if (peer.role === own.role) throw new ProtocolViolation('hello of our own role');
  if (peer.vm !== own.vm) throw new ProtocolViolation('hello for another VM');
  if (bytesEqual(peer.nonce, own.nonce)) throw new ProtocolViolation('hello with our own nonce');
  if (peer.host === own.host) throw new ProtocolViolation('hello of our own host');
}
