import type { JobStatistics } from './job-statistics.ts';
import type { MigrationFlag } from './migration-flags.ts';
import type { DomainEventDetail, DomainEventName, DomainState, DomainStateReason } from './words.ts';

/** One VM as libvirt lists it: identity and state, nothing of its configuration. */
export interface DomainSummary {
  /** Lower-case, with hyphens. */
  readonly uuid: string;
  readonly name: string;
  readonly state: DomainState;
  /** Why it is in this state, e.g. `migrated` of `running`; `unknown` when libvirt does not say or is newer than we. */
  readonly reason: DomainStateReason;
  /** Whether a configuration stays when the VM stops. */
  readonly persistent: boolean;
  /** libvirt's number of a running VM; null when it does not run. */
  readonly id: number | null;
}

/** Which of its XML descriptions a domain is asked for; live, without secrets, not for migration unless said. */
export interface DumpXmlOptions {
  /** The persistent configuration rather than that of the running VM. */
  readonly inactive?: boolean;
  /** With security-sensitive parts (VNC passwords): never log the answer. */
  readonly secure?: boolean;
  /** Suitable for another host's libvirt. */
  readonly migratable?: boolean;
}

/** What `undefine` does with the files that belong to a domain. Managed save, snapshot and checkpoint records always go. */
export interface UndefineOptions {
  /** Keep the vTPM's state on disk; it is removed otherwise. */
  readonly keepTpm?: boolean;
  /** What to do with the UEFI variable store; libvirt refuses to undefine a domain that has one when this is not given. */
  readonly nvram?: 'keep' | 'remove';
}

/** Which descriptions `setMetadata` changes; at least one. */
export interface MetadataTarget {
  readonly live?: boolean;
  readonly config?: boolean;
}

/** A libvirt secret of usage type `vtpm`, without its value: values never pass through this port. */
export interface SecretDescription {
  readonly uuid: string;
  readonly usageType: 'vtpm';
  /** What libvirt calls the secret's use; unique on the host. */
  readonly usageName: string;
  /** Never written to disk by libvirt. */
  readonly ephemeral: boolean;
  /** The value cannot be read back through libvirt's API. */
  readonly private: boolean;
  readonly description?: string;
}

/** A secret that libvirt knows, of any usage type. */
export interface SecretSummary {
  readonly uuid: string;
  readonly usageType: 'none' | 'volume' | 'ceph' | 'iscsi' | 'tls' | 'vtpm' | 'unknown';
  readonly usageName: string;
}

/** Versions that go into evidence and support decisions, as `major.minor.release`. */
export interface HypervisorVersions {
  /** The libvirt daemon at the other end. */
  readonly libvirt: string;
  /** The client library loaded into this process. */
  readonly client: string;
  /** QEMU, as the daemon found it. */
  readonly hypervisor: string;
}

/** Parameters of `virDomainMigrateToURI3` that TVMMP uses. */
export interface MigrationParameters {
  /** XML that the destination shall run; its guest ABI must be that of the source's. */
  readonly destinationXml?: string;
  /** XML that the destination shall keep with the flag `persistDest`. */
  readonly persistentXml?: string;
  readonly destinationName?: string;
  /** Where the memory stream goes, `tcp://HOST[:PORT]`; libvirt asks the destination for its name otherwise. */
  readonly migrateUri?: string;
  /** The address that the destination's QEMU listens on. */
  readonly listenAddress?: string;
  readonly bandwidthMiBs?: number;
  /** The name that the destination's migration certificate must carry. */
  readonly tlsDestination?: string;
  readonly parallelConnections?: number;
}

/** One request to move a VM, peer to peer or managed by libvirt's client as the flags say. */
export interface MigrationRequest {
  /** The destination's libvirt, such as `qemu+tls://HOST/system`. */
  readonly destinationUri: string;
  readonly flags: readonly MigrationFlag[];
  readonly params?: MigrationParameters;
}

/** Something that libvirt told us without being asked. */
export type HypervisorEvent =
  | {
      readonly kind: 'lifecycle';
      readonly uuid: string;
      readonly name: string;
      readonly event: DomainEventName;
      readonly detail: DomainEventDetail;
    }
  | {
      readonly kind: 'job-completed';
      readonly uuid: string;
      readonly name: string;
      readonly job: JobStatistics;
    }
  /** The event connection broke: what happens now is not seen until `reconnected`. */
  | { readonly kind: 'disconnected'; readonly reason: string }
  /** Subscribed again: events may have been missed, so look at every domain. */
  | { readonly kind: 'reconnected' };

/** A running subscription; `close` ends it and is safe to call twice. */
export interface EventSubscription {
  close(): Promise<void>;
}

/**
 * What TVMMP needs of libvirt, and the only way it reaches it. A newcomer reads this to know which libvirt calls the agent makes.
 *
 * Every method rejects with `libvirt-call-failed` (details: `libvirtCode`, `libvirtDomain`, `call`) when libvirt refuses, with
 * `domain-not-found` when the domain does not exist, and with `libvirt-connection-lost` when the daemon cannot be reached. A
 * connection that was lost is made again by the next call; a call that was under way is not repeated, since it may have happened.
 *
 * Calls that can wait for a hook or for a job of the domain (`start`, `destroy`, `setMetadata`, `undefine`, `defineXml`, `abortJob`)
 * never hold up the others: the agent answers hooks by defining secrets, so the two kinds must not share a queue (DESIGN 6).
 * libvirt gives up waiting for a job after 30 s.
 */
export interface Hypervisor {
  readonly uri: string;

  /** Closes every connection and thread; later calls reject with `libvirt-connection-lost`. */
  close(): Promise<void>;
  /** Whether the daemon answers now; never rejects, and makes a lost connection again. */
  isAlive(): Promise<boolean>;

  hostname(): Promise<string>;
  /** The host's UUID as libvirt shows it to its peers (capabilities, `<host><uuid>`); lower case. */
  hostUuid(): Promise<string>;
  versions(): Promise<HypervisorVersions>;

  domains(): Promise<readonly DomainSummary[]>;
  domain(uuidOrName: string): Promise<DomainSummary>;
  dumpXml(uuid: string, options?: DumpXmlOptions): Promise<string>;
  /** Defines or redefines a persistent domain after checking the XML against libvirt's schema. */
  defineXml(xml: string): Promise<DomainSummary>;
  undefine(uuid: string, options?: UndefineOptions): Promise<void>;
  start(uuid: string): Promise<void>;
  /**
   * Stops the VM at once, as if power were cut. In the moments after libvirtd's own start it can reject and yet have stopped the VM (seen on 9.0.0, while
   * libvirtd takes its guests up again): look at the domain, not at the error.
   */
  destroy(uuid: string): Promise<void>;
  /** Sets, or with null removes, the metadata element of one XML namespace. */
  setMetadata(
    uuid: string,
    elementXml: string | null,
    prefix: string,
    namespaceUri: string,
    target: MetadataTarget,
  ): Promise<void>;
  /** The metadata element of one namespace, or null; from the running VM, or from the configuration if `inactive`. */
  metadata(uuid: string, namespaceUri: string, options?: { inactive?: boolean }): Promise<string | null>;

  /** The job under way, or null. */
  jobInfo(uuid: string): Promise<JobStatistics | null>;
  /** The last job that ended, or null; reading it forgets it unless `keep`. */
  completedJob(uuid: string, options?: { keep?: boolean }): Promise<JobStatistics | null>;
  abortJob(uuid: string): Promise<void>;

  secrets(): Promise<readonly SecretSummary[]>;
  secretExists(uuid: string): Promise<boolean>;
  /** Defines the secret, or redefines it with the same UUID and usage; never with a value. */
  defineSecret(secret: SecretDescription): Promise<void>;
  /** Removes the secret and its value; resolves to false when there was none. */
  undefineSecret(uuid: string): Promise<boolean>;

  /**
   * Moves a VM, and resolves when libvirt says that it is gone from here (`virDomainMigrateToURI3`). The source then reports `suspended/migrated`,
   * `stopped/migrated` and `job-completed`, but with `undefineSource` no `undefined` (seen on 9.0.0).
   */
  migrate(uuid: string, request: MigrationRequest): Promise<void>;
  /** Resolves when the subscription is in force; the listener is then called in the order of events until it is closed. */
  events(listener: (event: HypervisorEvent) => void): Promise<EventSubscription>;
}
