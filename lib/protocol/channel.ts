import type { Message } from './messages.ts';

/**
 * One mutually authenticated TLS 1.3 connection between two agents, as the protocol sees it: messages, who is at the other
 * end, and what binds evidence to this connection (SPEC 6.2).
 */
export interface Channel {
  /**
   * Host name in the peer's agent certificate, which was verified; of a host of another domain with the name of that, NAME@DOMAIN (SPEC 17.2): what
   * this host keeps and tells of a peer is kept by it.
   */
  readonly peerName: string;
  /** Digest of the root that the certificate chains to; absent where that is our own authority's. */
  readonly peerRoot?: Uint8Array | undefined;
  /** HOST:PORT of the other end. */
  readonly peerAddress: string;
  /** TLS exporter, 32 bytes. */
  readonly exporter: Uint8Array;
  /** SHA-256 of the DER of each side's TLS certificate. */
  readonly ownCertificateHash: Uint8Array;
  readonly peerCertificateHash: Uint8Array;
  /** Rejects with `peer-unreachable` when the connection is gone. */
  send(message: Message): Promise<void>;
  /** The next message; rejects with `peer-timeout`, `peer-unreachable`, or `encoding-invalid`. */
  receive(deadlineMs: number): Promise<Message>;
  close(): void;
}
