import { createServer } from 'node:tls';
import type { Server, TLSSocket } from 'node:tls';
import { limits } from '../limits.ts';
import type { Log } from '../migration/host.ts';
import { TlsChannel, tlsOptions } from './tls-channel.ts';
import type { TlsIdentity } from './tls-channel.ts';

/** Handshakes that may be under way at once: a flood of half-open ones costs a bounded amount of memory. */
const connectionsMax = 4 * limits.sessionsMax;

/**
 * Listens for the agents of other hosts. A connection that does not authenticate with an agent certificate of this authority over
 * TLS 1.3 is dropped without a word.
 */
export function servePeers(
  listen: { readonly address: string; readonly port: number },
  identity: () => TlsIdentity,
  accept: (channel: TlsChannel) => Promise<void>,
  log: Log,
): Promise<Server> {
  const server = createServer(
    {
      ...tlsOptions(identity()),
      requestCert: true,
      handshakeTimeout: limits.messageDeadlineMs,
    },
    (socket: TLSSocket) => {
      const address = `${socket.remoteAddress ?? '?'}:${socket.remotePort ?? 0}`;
      socket.on('error', () => socket.destroy());
      try {
        const channel = TlsChannel.over(socket, identity(), address);
        accept(channel).catch((error: unknown) => {
          log.warn({ peer: channel.peerName, error: String(error) }, 'a peer’s connection ended');
        });
      } catch (error) {
        log.warn({ address, error: String(error) }, 'a connection was refused');
      }
    },
  );
  server.maxConnections = connectionsMax;
  server.on('tlsClientError', (error, socket) => {
    log.debug({ address: socket.remoteAddress, error: error.message }, 'a handshake failed');
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(listen.port, listen.address, () => {
      server.off('error', reject);
      resolve(server);
    });
  });
}
