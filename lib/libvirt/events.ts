/**
 * Events that outlive libvirtd: a subscription that is made again when the daemon comes back, with a `reconnected` that tells the consumer to
 * look at every domain, since events in between are lost for good.
 */
import { TvmmpError } from '../errors.ts';
import { jobStatisticsOf } from './job-statistics.ts';
import type { LibvirtNative, NativeEvent, NativeSubscription } from './native.ts';
import type { EventSubscription, HypervisorEvent } from './port.ts';
import { domainEventOf } from './words.ts';

/** How long to wait between attempts to reach a daemon that has gone, in milliseconds; the last one repeats. */
const RETRY_DELAYS_MS = [100, 250, 500, 1_000, 2_000, 5_000] as const;
const CLOSE_REASONS = ['error', 'end-of-file', 'keepalive', 'client'] as const;
const JOB_TYPE_COMPLETED = 3;
const JOB_TYPE_FAILED = 4;

/** An event of the addon in words; null for the end of the connection. */
export function hypervisorEventOf(event: NativeEvent): HypervisorEvent | null {
  if (event.kind === 'closed') return null;
  const { uuid, name } = event;
  if (event.kind === 'lifecycle') {
    return { kind: 'lifecycle', uuid, name, ...domainEventOf(event.event, event.detail) };
  }
  const values = new Map(event.params.map((parameter) => [parameter.name, parameter.value]));
  const type = values.get('success') === false ? JOB_TYPE_FAILED : JOB_TYPE_COMPLETED;
  return { kind: 'job-completed', uuid, name, job: jobStatisticsOf(type, values) };
}

/** One consumer's subscription, made again after each loss until it is closed. */
export class ResilientSubscription implements EventSubscription {
  readonly #native: LibvirtNative;
  readonly #uri: string;
  readonly #listener: (event: HypervisorEvent) => void;
  #current: NativeSubscription | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(native: LibvirtNative, uri: string, listener: (event: HypervisorEvent) => void) {
    this.#native = native;
    this.#uri = uri;
    this.#listener = listener;
  }

  /** Subscribes; rejects with `libvirt-connection-lost` when the daemon cannot be reached now. */
  static async open(
    native: LibvirtNative,
    uri: string,
    listener: (event: HypervisorEvent) => void,
  ): Promise<ResilientSubscription> {
    const subscription = new ResilientSubscription(native, uri, listener);
    try {
      await subscription.#subscribe();
    } catch (cause) {
      throw new TvmmpError(
        'libvirt-connection-lost',
        `cannot follow libvirt’s events: ${(cause as Error).message}`,
        {
          cause,
          details: { ...(cause instanceof TvmmpError ? cause.details : {}), call: 'subscribe', uri },
        },
      );
    }
    return subscription;
  }

  /** Events of a subscription that was replaced or closed are dropped: each connection reports its own end once. */
  async #subscribe(): Promise<void> {
    const epoch = { over: false };
    const subscription = await this.#native.subscribe(this.#uri, (event) => {
      if (this.#closed || epoch.over) return;
      const translated = hypervisorEventOf(event);
      if (translated !== null) {
        this.#listener(translated);
        return;
      }
      epoch.over = true;
      this.#lost(event.kind === 'closed' ? (CLOSE_REASONS[event.reason] ?? 'unknown') : 'unknown');
    });
    if (this.#wasClosed() || epoch.over) {
      await subscription.close();
      return;
    }
    this.#current = subscription;
  }

  /** Whether `close` was called meanwhile; a function, since the compiler takes a field for unchanged across an await. */
  #wasClosed(): boolean {
    return this.#closed;
  }

  #lost(reason: string): void {
    const subscription = this.#current;
    this.#current = undefined;
    void Promise.resolve(subscription?.close()).catch(() => undefined);
    this.#listener({ kind: 'disconnected', reason });
    this.#retry(0);
  }

  #retry(attempt: number): void {
    if (this.#closed) return;
    const delayMs = RETRY_DELAYS_MS[Math.min(attempt, RETRY_DELAYS_MS.length - 1)] ?? 0;
    this.#timer = setTimeout(() => {
      this.#subscribe().then(
        () => {
          if (!this.#closed) this.#listener({ kind: 'reconnected' });
        },
        () => {
          this.#retry(attempt + 1);
        },
      );
    }, delayMs);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    const subscription = this.#current;
    this.#current = undefined;
    await subscription?.close();
  }
}
