import { noop } from 'cockatiel';
import { Etcd3, EtcdInvalidAuthTokenError, EtcdPermissionDeniedError } from 'etcd3';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';

/** How a host reaches the members of a cluster. TLS both ways; the certificate's common name is the user whose role etcd looks at. */
export interface EtcdAccess {
  /** https://HOST:PORT of each member. */
  readonly endpoints: readonly string[];
  /** PEM. */
  readonly ca: Buffer;
  readonly certificate: Buffer;
  readonly key: Buffer;
}

interface Member {
  readonly endpoint: string;
  readonly client: Etcd3;
}

/** etcd's word that this user may not: no other member says anything else. */
const denials = [EtcdPermissionDeniedError, EtcdInvalidAuthTokenError] as const;

/** The members of an etcd cluster, asked one after another until one answers within the deadline (SPEC 8.6). */
export class EtcdMembers {
  readonly #members: readonly Member[];
  readonly #leftListeners = new Set<(endpoint: string) => void>();
  #at = 0;

  constructor({ endpoints, ca, certificate, key }: EtcdAccess) {
    const credentials = { rootCertificate: ca, privateKey: key, certChain: certificate };
    this.#members = endpoints.map((endpoint) => ({
      endpoint,
      client: new Etcd3({
        hosts: endpoint,
        credentials,
        // Which member is asked, and how often, is decided here alone.
        faultHandling: { host: () => noop, global: noop },
        grpcOptions: { 'grpc.max_receive_message_length': limits.frameBytesMax },
        defaultCallOptions: ({ isStream }) =>
          isStream ? {} : { deadline: Date.now() + limits.ledgerAttemptMs },
      }),
    }));
  }

  get current(): Member {
    const member = this.#members[this.#at];
    if (member === undefined) throw new TvmmpError('config-invalid', 'an etcd ledger without endpoints');
    return member;
  }

  /** Asks members until one answers. What is asked must be safe to ask twice. Errors: `ledger-unavailable`. */
  async ask<T>(question: (client: Etcd3) => Promise<T>): Promise<T> {
    const end = performance.now() + limits.ledgerDeadlineMs - limits.ledgerAttemptMs;
    const tried: string[] = [];
    for (let asked = 0; asked < this.#members.length || performance.now() < end; asked += 1) {
      const { endpoint, client } = this.current;
      try {
        return await question(client);
      } catch (error) {
        if (error instanceof TvmmpError) throw error;
        const text = `${endpoint}: ${reasonOf(error)}`;
        if (denials.some((denial) => error instanceof denial)) throw unavailable([text], error);
        if (!tried.includes(text)) tried.push(text);
        this.leave(endpoint);
        if (asked + 1 >= this.#members.length && performance.now() >= end) throw unavailable(tried, error);
        if ((asked + 1) % this.#members.length === 0) await pause();
      }
    }
    throw unavailable(tried, null);
  }

  /** The next member is asked from now on, where `endpoint` is the one that was. */
  leave(endpoint: string): void {
    if (this.current.endpoint !== endpoint) return;
    this.#at = (this.#at + 1) % this.#members.length;
    for (const left of this.#leftListeners) left(endpoint);
  }

  /** Calls when a member is not asked any more; returns how to stop. */
  onLeft(left: (endpoint: string) => void): () => void {
    this.#leftListeners.add(left);
    return () => this.#leftListeners.delete(left);
  }

  close(): void {
    this.#leftListeners.clear();
    for (const { client } of this.#members) client.close();
  }
}

function unavailable(tried: readonly string[], cause: unknown): TvmmpError {
  return new TvmmpError('ledger-unavailable', `the ledger does not answer: ${tried.join('; ')}`, { cause });
}

/** gRPC's texts name every step on the way; what an operator can mend is in a few words of them. */
function reasonOf(error: unknown): string {
  const text = (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ');
  if (/deadline exceeded/i.test(text)) return 'no answer in time';
  const found =
    /ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|ECONNRESET|unable to [^;]*certificate[^;.]*|self.signed certificate[^;.]*|alert [a-z ]+/i.exec(
      text,
    );
  return (found?.[0] ?? text).slice(0, 120);
}

function pause(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 100);
  });
}
