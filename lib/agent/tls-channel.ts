import { createHash } from 'node:crypto';
import { connect, createSecureContext } from 'node:tls';
import type { SecureContext, SecureContextOptions, TLSSocket } from 'node:tls';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { verifyAgentCertificate } from '../certificates/host-certificate.ts';
import { certificateToPem } from '../certificates/pem.ts';
import { peerLabel } from '../appraisal/domains.ts';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import { decodeMessage, encodeMessage } from '../protocol/codec.ts';
import type { Channel } from '../protocol/channel.ts';
import type { LogMessage, Message } from '../protocol/messages.ts';
import { frame, FrameReader } from './frames.ts';

/** SPEC 6.2: label of the TLS exporter. */
const exporterLabel = 'EXPORTER-tvmmp-1';

/** What one side brings to a connection: its agent certificate and key, and the authority's root. PEM texts. */
export interface TlsIdentity {
  readonly certificate: string;
  readonly key: string;
  readonly root: RootCertificate;
  readonly rootPem: string;
  /** The domains that the policy in force names (SPEC 17.2); none where it is left out. */
  readonly domains?: readonly NamedRoot[];
}

/** Another authority that is believed, and what our policy calls it. */
export interface NamedRoot {
  readonly name: string;
  readonly root: RootCertificate;
}

/** Options that hold for both ends: TLS 1.3 alone, both sides authenticated, no resumption (a resumed session has no certificate). */
export function tlsOptions(identity: TlsIdentity): SecureContextOptions & { rejectUnauthorized: true } {
  return {
    cert: identity.certificate,
    key: identity.key,
    ca: [identity.rootPem, ...(identity.domains ?? []).map(({ root }) => certificateToPem(root.der))],
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    rejectUnauthorized: true,
  };
}

/** Made once for each identity: to read its certificates anew takes longer than a handshake. */
const contexts = new WeakMap<TlsIdentity, SecureContext>();

function contextOf(identity: TlsIdentity): SecureContext {
  const context = contexts.get(identity) ?? createSecureContext(tlsOptions(identity));
  contexts.set(identity, context);
  return context;
}

/** Opens a connection to a peer's agent. Errors: `peer-unreachable`, `peer-timeout`, `peer-untrusted`. */
export async function openChannel(
  address: string,
  identity: TlsIdentity,
  deadlineMs: number,
): Promise<TlsChannel> {
  const { host, port } = splitAddress(address);
  const socket = connect({
    secureContext: contextOf(identity),
    rejectUnauthorized: true,
    host,
    port,
    checkServerIdentity: () => undefined,
  });
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new TvmmpError('peer-timeout', `${address} did not answer within ${deadlineMs / 1000} s`));
    }, deadlineMs);
    const settle = (error?: Error): void => {
      clearTimeout(timer);
      if (error === undefined) resolve();
      else
        reject(
          isUnknownIssuer(error)
            ? new TvmmpError(
                'peer-untrusted',
                `cannot reach the agent at ${address}: it has a certificate of an authority that is neither ours nor that of a domain that our policy names`,
                { cause: error },
              )
            : new TvmmpError('peer-unreachable', `cannot reach the agent at ${address}: ${error.message}`, {
                cause: error,
              }),
        );
    };
    socket.once('secureConnect', () => {
      settle();
    });
    socket.once('error', settle);
    socket.once('close', () => {
      settle(new Error('connection closed'));
    });
  }).catch((error: unknown) => {
    socket.destroy();
    throw error;
  });
  return TlsChannel.over(socket, identity, address);
}

/** OpenSSL's words for a certificate none of whose issuers we know. */
const unknownIssuer: ReadonlySet<unknown> = new Set([
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
]);

function isUnknownIssuer(error: Error): boolean {
  return 'code' in error && unknownIssuer.has(error.code);
}

/** HOST:PORT or [IPv6]:PORT. */
export function splitAddress(address: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s[\]]+)):(\d{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65_535) {
    throw new TvmmpError('usage-invalid', `${JSON.stringify(address)} is not HOST:PORT`);
  }
  return { host: match[1] ?? match[2] ?? '', port };
}

/** A `Channel` over one TLS 1.3 socket. */
export class TlsChannel implements Channel {
  /** Times that this process sent something and waited for the answer, on all channels: for the bench. */
  static roundTrips = 0;
  readonly peerName: string;
  readonly peerRoot?: Uint8Array;
  readonly peerAddress: string;
  readonly exporter: Uint8Array;
  readonly ownCertificateHash: Uint8Array;
  readonly peerCertificateHash: Uint8Array;
  readonly #socket: TLSSocket;
  readonly #inbox: Message[] = [];
  #waiting: { resolve: (message: Message) => void; reject: (error: Error) => void } | null = null;
  #failure: TvmmpError | null = null;
  /** Whether something was sent since the last message came. */
  #asked = false;

  private constructor(socket: TLSSocket, identity: TlsIdentity, peerAddress: string) {
    this.#socket = socket;
    socket.setKeepAlive(true, limits.keepaliveIdleMs);
    this.peerAddress = peerAddress;
    const own = socket.getCertificate() as { raw?: Buffer } | null;
    const peer = socket.getPeerCertificate();
    if (socket.getProtocol() !== 'TLSv1.3' || own?.raw === undefined || !socket.authorized) {
      throw new TvmmpError('peer-untrusted', `${peerAddress} did not authenticate with TLS 1.3`);
    }
    const told = peerOf(peer.raw, identity);
    this.peerName = peerLabel(told.name, told.domain?.name ?? null);
    if (told.domain !== null) this.peerRoot = told.domain.root.digest;
    this.ownCertificateHash = sha256(own.raw);
    this.peerCertificateHash = sha256(peer.raw);
    this.exporter = socket.exportKeyingMaterial(32, exporterLabel, Buffer.alloc(0));
    this.#listen();
  }

  /** Takes over a socket whose handshake is done. Errors: `peer-untrusted`, `certificate-invalid`; the socket is then destroyed. */
  static over(socket: TLSSocket, identity: TlsIdentity, peerAddress: string): TlsChannel {
    try {
      return new TlsChannel(socket, identity, peerAddress);
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  send(message: Message): Promise<void> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    this.#asked = true;
    return new Promise((resolve, reject) => {
      this.#socket.write(frame(encodeMessage(message)), (error?: Error | null) => {
        if (error === undefined || error === null) resolve();
        else reject(this.#unreachable(error.message));
      });
    });
  }

  receive(deadlineMs: number): Promise<Message> {
    const ready = this.#inbox.shift();
    if (this.#inbox.length === 0) this.#socket.resume();
    if (ready !== undefined) return Promise.resolve(ready);
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (this.#waiting !== null)
      return Promise.reject(new TvmmpError('internal', 'two readers on one channel'));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting = null;
        reject(new TvmmpError('peer-timeout', `${this.peerName} sent nothing for ${deadlineMs / 1000} s`));
      }, deadlineMs);
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting = null;
      };
      this.#waiting = {
        resolve: (message) => {
          done();
          resolve(message);
        },
        reject: (error) => {
          done();
          reject(error);
        },
      };
    });
  }

  close(): void {
    this.#socket.end();
    this.#socket.destroySoon();
  }

  #listen(): void {
    const reader = new FrameReader(limits.frameBytesMax);
    this.#socket.on('data', (chunk: Buffer) => {
      try {
        for (const bytes of reader.push(chunk)) this.#deliver(decodeMessage(bytes));
      } catch (error) {
        this.#fail(error instanceof TvmmpError ? error : new TvmmpError('internal', String(error)));
      }
    });
    this.#socket.on('error', (error: Error) => {
      this.#fail(this.#unreachable(error.message));
    });
    this.#socket.on('close', () => {
      this.#fail(this.#unreachable('connection closed'));
    });
  }

  /** A peer that talks ahead of its turn gets a small inbox, not our memory. */
  #deliver(message: Message): void {
    if (this.#asked) TlsChannel.roundTrips += 1;
    this.#asked = false;
    if (this.#waiting !== null) this.#waiting.resolve(message);
    else if (message.kind === 'log') this.#hold(message);
    else if (this.#inbox.filter(({ kind }) => kind !== 'log').length < 4) this.#inbox.push(message);
    else throw new TvmmpError('limit-exceeded', `${this.peerName} sends more than it was asked for`);
  }

  /** Pieces of a log come as fast as they are dealt with: nothing more is read from the socket until then. */
  #hold(piece: LogMessage): void {
    this.#inbox.push(piece);
    this.#socket.pause();
  }

  #fail(error: TvmmpError): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    this.#socket.destroy();
    this.#waiting?.reject(error);
  }

  #unreachable(why: string): TvmmpError {
    return new TvmmpError(
      'peer-unreachable',
      `the connection to ${this.peerName} (${this.peerAddress}) is gone: ${why}`,
    );
  }
}

/** The host at the other end, and its domain where that is another one. Throws `certificate-invalid` where none of our roots issued its certificate. */
function peerOf(
  der: Uint8Array,
  { root, domains = [] }: TlsIdentity,
): { readonly name: string; readonly domain: NamedRoot | null } {
  try {
    return { name: verifyAgentCertificate(der, root, new Date()).name, domain: null };
  } catch (error) {
    const domain = domains.find((one) => issued(der, one.root));
    if (domain === undefined) throw error;
    return { name: verifyAgentCertificate(der, domain.root, new Date()).name, domain };
  }
}

function issued(der: Uint8Array, root: RootCertificate): boolean {
  try {
    verifyAgentCertificate(der, root, new Date());
    return true;
  } catch (error) {
    if (error instanceof TvmmpError && error.code === 'certificate-invalid') return false;
    throw error;
  }
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(bytes).digest());
}
