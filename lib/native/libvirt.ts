import { callNative, loadAddon } from './load.ts';

/** What libvirt told us, in libvirt's own numbers (virDomainEventType and its details). */
export type NativeLibvirtEvent =
  /** Subscribed: what happens from now on is seen. */
  | { readonly kind: 'connected' }
  | {
      readonly kind: 'lifecycle';
      readonly uuid: string;
      readonly name: string;
      readonly event: number;
      readonly detail: number;
    }
  | {
      readonly kind: 'job-completed';
      readonly uuid: string;
      readonly name: string;
      /** Job statistics; 64-bit values as bigint. */
      readonly params: Readonly<Record<string, number | bigint | string | boolean>>;
    }
  /** The connection is gone, or could not be made: the last event. Close the subscription and make another. */
  | {
      readonly kind: 'closed';
      readonly reason: 'error' | 'eof' | 'keepalive' | 'client' | 'open-failed';
      readonly message?: string;
      readonly libvirtCode?: number;
    };

/** A subscription of `subscribe`. */
export interface NativeSubscription {
  /** No event after this; resolves when the connection is closed. Safe to call twice. Node stays alive until then. */
  close(): Promise<void>;
}

/** One parameter of virDomainMigrateToURI3 with libvirt's type for it; a name may occur several times. */
export type NativeMigrationParam =
  | { readonly name: string; readonly type: 'string'; readonly value: string }
  | { readonly name: string; readonly type: 'int' | 'uint' | 'double'; readonly value: number }
  | { readonly name: string; readonly type: 'llong' | 'ullong'; readonly value: number | bigint }
  | { readonly name: string; readonly type: 'boolean'; readonly value: boolean };

/** What of libvirt needs a thread of its own: its event loop and the long migration call (DESIGN 6). */
export interface LibvirtNative {
  /** Never throws for libvirt's reasons: a connection that cannot be made is a `closed` event. */
  subscribe(uri: string, onEvent: (event: NativeLibvirtEvent) => void): NativeSubscription;
  /** Rejects with TvmmpError `libvirt-call-failed`, details `libvirtCode` and `libvirtDomain`. */
  migrate(options: {
    uri: string;
    uuid: string;
    destinationUri: string;
    /** virDomainMigrateFlags. */
    flags: number;
    params: readonly NativeMigrationParam[];
  }): Promise<void>;
  /** libvirt prints every error on stderr; not once this addon is loaded, nor after this. For the whole process. */
  silenceErrors(): void;
}

interface LibvirtAddon {
  subscribe(
    uri: string,
    onEvent: (event: NativeLibvirtEvent) => void,
  ): {
    readonly close: () => void;
    readonly ended: Promise<void>;
  };
  migrate(options: object): Promise<void>;
  silenceErrors(): void;
}

/** Loads libvirt.node. Throws TvmmpError `native-missing` where it was not built or libvirt is not installed. */
export function loadLibvirtNative(): LibvirtNative {
  const addon = loadAddon('libvirt') as LibvirtAddon;
  return {
    subscribe: (uri, onEvent) => {
      const { close, ended } = callNative(() => addon.subscribe(uri, onEvent));
      return {
        close: () => {
          close();
          return ended;
        },
      };
    },
    migrate: (options) => callNative(() => addon.migrate(options)),
    silenceErrors: () => {
      addon.silenceErrors();
    },
  };
}
