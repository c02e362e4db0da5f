import { decodeRevocations, revocationOf } from '../appraisal/revocation.ts';
import { installRevocations } from '../authority/host-directory.ts';
import type { HostIdentity, Log, RevocationsInForce } from '../migration/host.ts';
import { loadRevocations } from './identity.ts';

/** The revocation list of this host (SPEC 1.3): on disk, and in force at once when a newer one comes. */
export class Revocations {
  readonly #directory: string;
  readonly #identity: HostIdentity;
  readonly #log: Log;
  #inForce: RevocationsInForce | null;

  /** Reads the list of an agent's directory. Throws `policy-invalid` where it does not verify. */
  constructor(directory: string, identity: HostIdentity, log: Log) {
    this.#directory = directory;
    this.#identity = identity;
    this.#log = log;
    this.#inForce = loadRevocations(directory, identity);
    this.#look();
  }

  get inForce(): RevocationsInForce | null {
    return this.#inForce;
  }

  /** Whether the list names this host's own attestation key, and why. */
  get ownReason(): string | null {
    return revocationOf(this.#inForce?.list ?? null, this.#identity.id.akName)?.reason ?? null;
  }

  /** Verifies a list, writes it, puts it in force. Throws `policy-invalid`, also for an older one. Returns its version. */
  install(envelope: string): number {
    const list = installRevocations(this.#directory, envelope, new Date());
    if (list.version > (this.#inForce?.list.version ?? 0)) this.#inForce = { list, envelope };
    this.#look();
    return list.version;
  }

  /** The same for a list that a peer told; one that is not newer is no news. */
  learn(envelope: string): void {
    const before = this.#inForce?.list.version ?? 0;
    if (decodeRevocations(envelope).version < before) return;
    const version = this.install(envelope);
    if (version > before) this.#log.info({ version }, 'a peer brought a newer revocation list');
  }

  #look(): void {
    if (this.ownReason !== null)
      this.#log.warn(
        { reason: this.ownReason },
        'this host is revoked: no VM will come here, and none can leave',
      );
  }
}
