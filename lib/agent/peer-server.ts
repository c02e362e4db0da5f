import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { limits } from '../limits.ts';
import type { Log } from '../migration/host.ts';
import { TlsChannel, tlsOptions } from './tls-channel.ts';
import type { TlsIdentity } from './tls-channel.ts';

/**
 * Listens for the agents of other hosts. A connection that does not authenticate with an agent certificate of this authority, or of a domain that the policy in force names (SPEC 17.2), over
 * TLS 1.3 is dropped without a word.
 */
export function servePeers(
  listen: { readonly address: string; readonly port: number },
  identity: () => TlsIdentity,
  accept: (channel: TlsChannel) => Promise<void>,
  log: Log,
): Promise<Server> {
  let options = tlsOptions(identity());
  const tls = createTlsServer(
    {
      ...options,
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
  const room = new AddressRoom(limits.connectionsPerAddressMax);
  const server = createServer((socket) => {
    if (!room.take(socket)) {
      socket.destroy();
      return;
    }
    // A policy that names other domains than the one before holds from the next connection on.
    const now = tlsOptions(identity());
    if (String(now.ca) !== String(options.ca)) tls.setSecureContext((options = now));
    tls.emit('connection', socket);
  });
  server.maxConnections = limits.connectionsMax;
  tls.on('tlsClientError', (error, socket) => {
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

/** Counts the connections of each address that are open. */
class AddressRoom {
  readonly #max: number;
  readonly #open = new Map<string, number>();

  constructor(max: number) {
    this.#max = max;
  }

  /** False for one more than the address may have; otherwise the socket counts until it is closed. */
  take(socket: Socket): boolean {
    const address = socket.remoteAddress ?? '?';
    const open = this.#open.get(address) ?? 0;
    if (open >= this.#max) return false;
    this.#open.set(address, open + 1);
    socket.once('close', () => {
      const left = (this.#open.get(address) ?? 1) - 1;
      if (left === 0) this.#open.delete(address);
      else this.#open.set(address, left);
    });
    return true;
  }
}
