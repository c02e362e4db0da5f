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

/** What libvirt tells of a secret. */
export interface NativeSecret {
  readonly uuid: string;
  /** virSecretUsageType. */
  readonly usageType: number;
  readonly usageId: string;
}

/** What of libvirt needs a thread of its own: its event loop, the long migration call, and calls about secrets. */
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
  /** These four reject as `migrate` does, with the message `virCall: what libvirt said`; `virConnectOpen` is one of the calls. No value of a secret passes. */
  listSecrets(uri: string): Promise<readonly NativeSecret[]>;
  secretExists(uri: string, uuid: string): Promise<boolean>;
  /** Defines or redefines; an XML of 64 KiB at most. */
  defineSecret(uri: string, xml: string): Promise<void>;
  /** Resolves to false when there was none. */
  undefineSecret(uri: string, uuid: string): Promise<boolean>;
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
  listSecrets(options: object): Promise<readonly NativeSecret[]>;
  secretExists(options: object): Promise<boolean>;
  defineSecret(options: object): Promise<void>;
  undefineSecret(options: object): Promise<boolean>;
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
    listSecrets: (uri) => callNative(() => addon.listSecrets({ uri })),
    secretExists: (uri, uuid) => callNative(() => addon.secretExists({ uri, uuid })),
    defineSecret: (uri, xml) => callNative(() => addon.defineSecret({ uri, xml })),
    undefineSecret: (uri, uuid) => callNative(() => addon.undefineSecret({ uri, uuid })),
    silenceErrors: () => {
      addon.silenceErrors();
    },
  };
}
