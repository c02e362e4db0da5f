/** The `Hypervisor` port over FFI (short calls) and the addon (migration, events, secrets). Made by `connectHypervisor`. */
import { TvmmpError } from '../../errors.ts';
import '../../ffi/resident.ts';
import { type LibvirtNative, loadLibvirtNative } from '../../native/libvirt.ts';
import { WorkerHost, workerModule } from '../../worker/host.ts';
import { withinDeadline } from '../deadline.ts';
import { ERR } from '../error-numbers.ts';
import { ResilientSubscription } from '../events.ts';
import type { JobStatistics } from '../job-statistics.ts';
import { migrationFlagsNumber } from '../migration-flags.ts';
import { migrationParameters } from '../migration-parameters.ts';
import type * as port from '../port.ts';
import * as secrets from '../secrets.ts';
import { descend, parseXml, textOf } from '../xml.ts';
import type { LibvirtCalls } from './thread.ts';

/** Calls of the quick lane wait for nobody but the daemon: after this it is hung, and callers must hear of it. */
const QUICK_DEADLINE_MS = 15_000;
/** Calls of the patient lane wait for jobs (libvirt: 30 s) and for hooks, ours with a deadline of their own. */
const PATIENT_DEADLINE_MS = 180_000;
const PATIENT_IDLE_MS = 5_000;
const CAPABILITIES_BYTES_MAX = 4 * 1024 * 1024;

/** A lane: one thread with one connection, and the longest that a caller waits for it. */
class Lane {
  readonly #uri: string;
  readonly #deadlineMs: number;
  readonly #name: string;
  /** How long the thread is kept without calls; null: for good. */
  readonly #idleMs: number | null;
  #host: WorkerHost<LibvirtCalls> | null = null;
  #calls = 0;
  #over = false;
  #idle: NodeJS.Timeout | undefined;

  constructor(uri: string, name: string, deadlineMs: number, idleMs: number | null = null) {
    this.#uri = uri;
    this.#deadlineMs = deadlineMs;
    this.#name = name;
    this.#idleMs = idleMs;
  }

  /** One call. After the deadline the caller is told that the connection is lost, though the call may yet take effect. */
  async call<Name extends keyof LibvirtCalls>(
    name: Name,
    ...args: Parameters<LibvirtCalls[Name]>
  ): Promise<ReturnType<LibvirtCalls[Name]>> {
    const host = this.#begin();
    try {
      return await withinDeadline(host.call(name, ...args), name, this.#deadlineMs);
    } catch (error) {
      throw error instanceof TvmmpError && error.code === 'worker-failed' ? this.#ended(error, name) : error;
    } finally {
      this.#end();
    }
  }

  #begin(): WorkerHost<LibvirtCalls> {
    if (this.#over) throw new TvmmpError('libvirt-connection-lost', `the ${this.#name} thread was closed`);
    clearTimeout(this.#idle);
    this.#calls += 1;
    this.#host ??= new WorkerHost<LibvirtCalls>(workerModule(import.meta.url, './thread'), {
      name: this.#name,
      workerData: { uri: this.#uri },
    });
    return this.#host;
  }

  /** A thread costs some 11 MB: one that is seldom needed goes when it has been idle for a while, and comes back when it is. */
  #end(): void {
    this.#calls -= 1;
    if (this.#calls > 0 || this.#idleMs === null) return;
    this.#idle = setTimeout(() => void this.#stop(), this.#idleMs);
    this.#idle.unref();
  }

  #ended(cause: TvmmpError, call: string): TvmmpError {
    return new TvmmpError('libvirt-connection-lost', `the ${this.#name} thread has ended`, {
      cause,
      details: { call },
    });
  }

  close(): Promise<void> {
    this.#over = true;
    clearTimeout(this.#idle);
    return this.#stop();
  }

  async #stop(): Promise<void> {
    const host = this.#host;
    this.#host = null;
    await host?.close();
  }
}

/** What a test may put in the place of the defaults. */
export interface HypervisorOptions {
  /** How to get the addon; loaded only when events, a migration or secrets are asked for. */
  readonly native?: () => LibvirtNative;
}

/**
 * Two lanes, because libvirt's calls block their thread: what waits for a hook or a job (start, destroy, define, ...) must not hold up what the
 * agent does to answer that very hook (looking at domains): on one thread that would be a deadlock. Secrets are in neither lane:
 * libvirt holds a domain's lock while its hook runs, so a look at that domain must not stand before its secret. The addon gives each call about them
 * a short native thread, since a third lane would keep a thread of 9 MB for the sake of a few calls in each migration.
 */
export class FfiHypervisor implements port.Hypervisor {
  readonly uri: string;
  readonly #quick: Lane;
  readonly #patient: Lane;
  readonly #native: () => LibvirtNative;
  readonly #subscriptions = new Set<port.EventSubscription>();
  #closed = false;

  constructor(uri: string, options: HypervisorOptions = {}) {
    this.uri = uri;
    this.#quick = new Lane(uri, 'libvirt', QUICK_DEADLINE_MS);
    this.#patient = new Lane(uri, 'libvirt (patient)', PATIENT_DEADLINE_MS, PATIENT_IDLE_MS);
    this.#native = options.native ?? loadLibvirtNative;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const subscriptions = [...this.#subscriptions];
    this.#subscriptions.clear();
    await Promise.all([this.#quick, this.#patient, ...subscriptions].map((part) => part.close()));
  }

  async isAlive(): Promise<boolean> {
    try {
      await this.#quick.call('ping');
      return true;
    } catch {
      return false;
    }
  }

  hostname(): Promise<string> {
    return this.#quick.call('hostname');
  }

  async hostUuid(): Promise<string> {
    const bounds = { bytesMax: CAPABILITIES_BYTES_MAX };
    const capabilities = parseXml(await this.#quick.call('capabilities'), 'capabilities', bounds);
    const uuid = textOf(descend(capabilities, 'host', 'uuid'));
    if (uuid !== null && uuid !== '') return uuid.toLowerCase();
    throw new TvmmpError('libvirt-call-failed', 'libvirt knows no UUID of this host', {
      details: { call: 'virConnectGetCapabilities' },
    });
  }

  /** The daemon tries out its emulators before it answers this for the first time: longer than the quick lane waits, on a slow or busy host. */
  versions(): Promise<port.HypervisorVersions> {
    return this.#patient.call('versions');
  }

  domains(): Promise<readonly port.DomainSummary[]> {
    return this.#quick.call('domains');
  }

  domain(uuidOrName: string): Promise<port.DomainSummary> {
    return this.#quick.call('domain', uuidOrName);
  }

  dumpXml(uuid: string, options: port.DumpXmlOptions = {}): Promise<string> {
    return this.#quick.call('dumpXml', uuid, options);
  }

  defineXml(xml: string): Promise<port.DomainSummary> {
    return this.#patient.call('defineXml', xml);
  }

  undefine(uuid: string, options: port.UndefineOptions = {}): Promise<void> {
    return this.#patient.call('undefine', uuid, options);
  }

  start(uuid: string): Promise<void> {
    return this.#patient.call('start', uuid);
  }

  destroy(uuid: string): Promise<void> {
    return this.#patient.call('destroy', uuid);
  }

  setMetadata(
    uuid: string,
    elementXml: string | null,
    prefix: string,
    namespaceUri: string,
    target: port.MetadataTarget,
  ): Promise<void> {
    if (target.live !== true && target.config !== true) {
      return Promise.reject(new TvmmpError('internal', 'setMetadata without a target'));
    }
    return this.#patient.call('setMetadata', uuid, { elementXml, prefix, namespaceUri, target });
  }

  metadata(uuid: string, namespaceUri: string, options: { inactive?: boolean } = {}): Promise<string | null> {
    return this.#quick.call('metadata', uuid, namespaceUri, options.inactive === true);
  }

  jobInfo(uuid: string): Promise<JobStatistics | null> {
    return this.#quick.call('jobStatistics', uuid, { completed: false, keep: true });
  }

  completedJob(uuid: string, options: { keep?: boolean } = {}): Promise<JobStatistics | null> {
    return this.#quick.call('jobStatistics', uuid, { completed: true, keep: options.keep === true });
  }

  abortJob(uuid: string): Promise<void> {
    return this.#patient.call('abortJob', uuid);
  }

  async secrets(): Promise<readonly port.SecretSummary[]> {
    this.#assertOpen();
    return secrets.listSecrets(this.#native(), this.uri);
  }

  async secretExists(uuid: string): Promise<boolean> {
    this.#assertOpen();
    return secrets.secretExists(this.#native(), this.uri, uuid);
  }

  async defineSecret(secret: port.SecretDescription): Promise<void> {
    this.#assertOpen();
    await secrets.defineSecret(this.#native(), this.uri, secret);
  }

  async undefineSecret(uuid: string): Promise<boolean> {
    this.#assertOpen();
    return secrets.undefineSecret(this.#native(), this.uri, uuid);
  }

  async migrate(uuid: string, request: port.MigrationRequest): Promise<void> {
    this.#assertOpen();
    const { destinationUri } = request;
    const flags = migrationFlagsNumber(request.flags);
    const params = migrationParameters(request.params ?? {});
    try {
      await this.#native().migrate({ uri: this.uri, uuid, destinationUri, flags, params });
    } catch (error) {
      throw migrationFailed(error);
    }
  }

  async events(listener: (event: port.HypervisorEvent) => void): Promise<port.EventSubscription> {
    this.#assertOpen();
    const subscription = await ResilientSubscription.open(this.#native(), this.uri, listener);
    this.#subscriptions.add(subscription);
    return {
      close: async () => {
        this.#subscriptions.delete(subscription);
        await subscription.close();
      },
    };
  }

  #assertOpen(): void {
    if (this.#closed) throw new TvmmpError('libvirt-connection-lost', 'the connection to libvirt was closed');
  }
}

/** The addon's failure with the details that every call of this port gives. */
function migrationFailed(error: unknown): unknown {
  if (!(error instanceof TvmmpError) || error.code === 'native-missing') return error;
  const details = { ...error.details, call: 'virDomainMigrateToURI3' };
  const code = error.details['libvirtCode'] === ERR.NO_DOMAIN ? 'domain-not-found' : error.code;
  return new TvmmpError(code, error.message, { cause: error, details });
}
