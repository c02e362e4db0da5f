/**
 * Events that outlive libvirtd: a subscription that is made again when the daemon comes back, with a `reconnected` that tells the consumer to
 * look at every domain, since events in between are lost for good.
 */
import { TvmmpError } from '../errors.ts';
import type { LibvirtNative, NativeLibvirtEvent, NativeSubscription } from '../native/libvirt.ts';
import { jobStatisticsOf } from './job-statistics.ts';
import type { EventSubscription, HypervisorEvent } from './port.ts';
import { domainEventOf } from './words.ts';

/** How long to wait between attempts to reach a daemon that has gone, in milliseconds; the last one repeats. */
const RETRY_DELAYS_MS = [100, 250, 500, 1_000, 2_000, 5_000] as const;
const JOB_TYPE_COMPLETED = 3;
const JOB_TYPE_FAILED = 4;

type NativeDomainEvent = Extract<NativeLibvirtEvent, { kind: 'lifecycle' | 'job-completed' }>;
type NativeClosed = Extract<NativeLibvirtEvent, { kind: 'closed' }>;

/** What only a subscription needs of the addon. */
export type EventSource = Pick<LibvirtNative, 'subscribe'>;

/** An event of the addon in words. */
export function hypervisorEventOf(event: NativeDomainEvent): HypervisorEvent {
  const uuid = event.uuid.toLowerCase();
  const { name } = event;
  if (event.kind === 'lifecycle') {
    return { kind: 'lifecycle', uuid, name, ...domainEventOf(event.event, event.detail) };
  }
  const values = new Map(Object.entries(event.params));
  const type = values.get('success') === false ? JOB_TYPE_FAILED : JOB_TYPE_COMPLETED;
  return { kind: 'job-completed', uuid, name, job: jobStatisticsOf(type, values) };
}

/** One consumer's subscription, made again after each loss until it is closed. */
export class ResilientSubscription implements EventSubscription {
  readonly #source: EventSource;
  readonly #uri: string;
  readonly #listener: (event: HypervisorEvent) => void;
  readonly #retryDelaysMs: readonly number[];
  #current: NativeSubscription | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(
    source: EventSource,
    uri: string,
    listener: (event: HypervisorEvent) => void,
    retryDelaysMs: readonly number[],
  ) {
    this.#source = source;
    this.#uri = uri;
    this.#listener = listener;
    this.#retryDelaysMs = retryDelaysMs;
  }

  /** Subscribes; rejects with `libvirt-connection-lost` when the daemon cannot be reached now. */
  static async open(
    source: EventSource,
    uri: string,
    listener: (event: HypervisorEvent) => void,
    retryDelaysMs: readonly number[] = RETRY_DELAYS_MS,
  ): Promise<ResilientSubscription> {
    const subscription = new ResilientSubscription(source, uri, listener, retryDelaysMs);
    await subscription.#subscribe();
    return subscription;
  }

  /** Resolves when the addon reports `connected`; a connection that ends before rejects, one that ends later is made again. */
  #subscribe(): Promise<void> {
    return new Promise((resolve, reject) => {
      let connected = false;
      const native = this.#source.subscribe(this.#uri, (event) => {
        if (this.#closed) return;
        if (event.kind === 'connected') {
          connected = true;
          resolve();
        } else if (event.kind !== 'closed') {
          this.#listener(hypervisorEventOf(event));
        } else if (connected) {
          this.#lost(native, event);
        } else {
          this.#drop(native);
          reject(unreachable(event, this.#uri));
        }
      });
      this.#current = native;
    });
  }

  /** Lets go of a native subscription that has ended; what closing it says no longer matters. */
  #drop(native: NativeSubscription): void {
    if (this.#current === native) this.#current = undefined;
    native.close().catch(() => undefined);
  }

  #lost(native: NativeSubscription, event: NativeClosed): void {
    this.#drop(native);
    this.#listener({ kind: 'disconnected', reason: event.message ?? event.reason });
    this.#retry(0);
  }

  #retry(attempt: number): void {
    if (this.#closed) return;
    const delayMs = this.#retryDelaysMs[Math.min(attempt, this.#retryDelaysMs.length - 1)] ?? 0;
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
    const current = this.#current;
    this.#current = undefined;
    await current?.close();
  }
}

function unreachable(event: NativeClosed, uri: string): TvmmpError {
  const message = `cannot follow libvirt’s events: ${event.message ?? event.reason}`;
  return new TvmmpError('libvirt-connection-lost', message, {
    details: { libvirtCode: event.libvirtCode, call: 'subscribe', uri },
  });
}
