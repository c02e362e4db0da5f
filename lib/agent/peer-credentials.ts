import type { Socket } from 'node:net';
import { TvmmpError } from '../errors.ts';
import type { Bridge, PeerCredentials } from '../native/bridge.ts';

/** Who is at the other end of a UNIX socket, by the kernel's record (SO_PEERCRED). */
export function peerCredentials(socket: Socket, bridge: Bridge): PeerCredentials {
  const handle = (socket as unknown as { _handle?: { fd?: number } | null })._handle;
  const fd = handle?.fd;
  if (typeof fd !== 'number' || fd < 0) throw new TvmmpError('internal', 'a socket without a descriptor');
  return bridge.peerCredentials(fd);
}
