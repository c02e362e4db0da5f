/**
 * What the addon `libvirt.node` does for this folder: libvirt's event loop and the long migration call, each on a thread of its own
 * (DESIGN 6). This is its shape as C++ hands it over: libvirt's numbers, not yet words.
 */
import { callNative, loadAddon } from '../native/load.ts';

/** One typed parameter of libvirt, to the addon or from it. */
export interface NativeTypedParameter {
  readonly name: string;
  readonly type: 'int' | 'uint' | 'llong' | 'ullong' | 'double' | 'boolean' | 'string';
  readonly value: number | bigint | string | boolean;
}

/** What the event thread reports. */
export type NativeEvent =
  | {
      readonly kind: 'lifecycle';
      readonly uuid: string;
      readonly name: string;
      /** `virDomainEventType`. */
      readonly event: number;
      /** The detail type of that event. */
      readonly detail: number;
    }
  | {
      readonly kind: 'job-completed';
      readonly uuid: string;
      readonly name: string;
      readonly params: readonly NativeTypedParameter[];
    }
  /** The connection broke; nothing more comes from this subscription. */
  | { readonly kind: 'closed'; readonly reason: number };

/** A native subscription; `close` may be called more than once. */
export interface NativeSubscription {
  close(): unknown;
}

/** The addon's functions; each rejects or throws with `libvirtCode`, `libvirtDomain` and `message` when libvirt refuses. */
export interface LibvirtNative {
  subscribe(
    uri: string,
    callback: (event: NativeEvent) => void,
  ): NativeSubscription | Promise<NativeSubscription>;
  migrate(
    connectionUri: string,
    uuid: string,
    destinationUri: string,
    flags: number,
    parameters: readonly NativeTypedParameter[],
  ): Promise<void>;
}

/** The addon, loaded when first asked for. Throws `native-missing` when it is not built. */
export function loadLibvirtAddon(): LibvirtNative {
  const addon = loadAddon('libvirt') as LibvirtNative;
  return {
    subscribe: (uri, callback) =>
      callNative(async () => {
        const subscription = await addon.subscribe(uri, callback);
        return subscription;
      }),
    migrate: (...args) => callNative(() => addon.migrate(...args)),
  };
}
