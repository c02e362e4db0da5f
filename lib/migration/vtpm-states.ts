import { bytesEqual } from '../bytes/compare.ts';
import { isHeldBy } from '../ledger/records.ts';
import type { VmRecord } from '../ledger/records.ts';
import type { Journal } from '../ledger/journal.ts';
import type { HostFiles } from './files.ts';
import { requireNotRolledBack } from './anchor.ts';
import type { Anchor } from './anchor.ts';
import { KeyedMutex } from './mutex.ts';
import { Refused } from './refused.ts';

/** What this needs of its host. */
interface Parts {
  readonly journal: Journal;
  readonly files: Pick<HostFiles, 'vtpmStateDigest'>;
  readonly now: () => number;
  /** Name of this host. */
  readonly self: string;
  readonly anchor: Pick<Anchor, 'settle' | 'settleOrOwe'>;
}

/**
 * Keeps track of the state files of this host's vTPMs (SPEC 8.4): a VM starts with the vTPM that it stopped with. One thing at a
 * time per VM, in the order in which libvirt's hooks say it.
 */
export class VtpmStates {
  readonly #host: Parts;
  readonly #mutex = new KeyedMutex();

  constructor(host: Parts) {
    this.#host = host;
  }

  /** Throws `Refused` unless the state file is the one that it must be. */
  async require(vm: VmRecord): Promise<void> {
    await this.#mutex.run(vm.uuid, () => this.#require(vm));
  }

  /** As `require`; from now on swtpm may write. A run whose end was not seen is over: libvirt begins another. */
  begin(vm: VmRecord): Promise<void> {
    return this.#mutex.run(vm.uuid, async () => {
      const { journal, now } = this.#host;
      const before = journal.vtpmState(vm.uuid);
      if (before?.standing === 'in-use')
        journal.putVtpmState({ ...before, standing: 'unclean', time: now() });
      const digest = await this.#require(vm);
      journal.putVtpmState({ vm: vm.uuid, standing: 'in-use', digest, time: now() });
      await this.#host.anchor.settle();
    });
  }

  /** QEMU and swtpm of a VM are gone: what lies there now is what it has to start with. */
  ended(uuid: string): Promise<void> {
    return this.#mutex.run(uuid, async () => {
      if (!this.#holds(uuid)) return;
      // Where nothing was let start, whatever lies there has to be what was known before.
      const standing = this.#host.journal.vtpmState(uuid)?.standing ?? 'in-use';
      if (standing !== 'in-use') return;
      await this.#atRest(uuid);
      // What leaves is waited for by the word that it has left.
      if (this.#host.journal.vm(uuid)?.state !== 'departing') await this.#host.anchor.settleOrOwe();
    });
  }

  /** The state file is as we made it ourselves. */
  made(uuid: string): Promise<void> {
    return this.#mutex.run(uuid, () => this.#atRest(uuid));
  }

  /**
   * The disks of a VM that is off have gone back to a snapshot, and its vTPM has not. `now`: libvirt says so by an event; otherwise
   * it may be what an administrator has adopted already.
   */
  reverted(uuid: string, { now: justNow = false } = {}): Promise<void> {
    return this.#mutex.run(uuid, () => {
      const { journal, now } = this.#host;
      const known = journal.vtpmState(uuid);
      if (known?.standing === 'at-rest' || (justNow && known?.standing === 'adopted'))
        journal.putVtpmState({ ...known, standing: 'reverted', time: now() });
      return Promise.resolve();
    });
  }

  /** While it runs: what the state has been once it never is again, even if the end of this run is not seen. */
  look(uuid: string): Promise<void> {
    return this.#mutex.run(uuid, async () => {
      const { journal, files, now } = this.#host;
      const known = journal.vtpmState(uuid);
      if (known !== null && known.standing !== 'in-use') return;
      const found = await files.vtpmStateDigest(uuid);
      if (found === null || (known?.digest != null && bytesEqual(found, known.digest))) return;
      const digest = await files.vtpmStateDigest(uuid, { durable: true });
      journal.putVtpmState({ vm: uuid, standing: 'in-use', digest, time: now() });
    });
  }

  /** Digest of a state that `require` refuses; null where there is nothing to adopt. Throws `Refused` where there is no state. */
  refusedState(vm: VmRecord): Promise<Uint8Array | null> {
    return this.#mutex.run(vm.uuid, async () => {
      const { digest, fault } = await this.#judge(vm);
      return fault === null ? null : digest;
    });
  }

  async #require(vm: VmRecord): Promise<Uint8Array> {
    const { digest, fault } = await this.#judge(vm);
    if (fault === null) return digest;
    requireNotRolledBack(this.#host.journal, vm);
    throw new Refused(
      `vtpm-state-changed: the vTPM state of ${vm.name} is ${fault}; put back what was last, or take it up as it is (tvmmp vm adopt)`,
    );
  }

  /** What is wrong with the state that is there, if anything is. */
  async #judge({ uuid, name }: VmRecord): Promise<{ digest: Uint8Array; fault: string | null }> {
    const { journal, files } = this.#host;
    const digest = await files.vtpmStateDigest(uuid);
    if (digest === null) {
      throw new Refused(
        `the vTPM state of ${name} is gone from this host (virsh undefine takes it away without --keep-tpm); libvirt would ` +
          'make another vTPM in its place: put the state back from a backup, or end the protection with tvmmp vm unprotect',
      );
    }
    const known = journal.vtpmState(uuid);
    const off = known !== null && known.standing !== 'in-use' && known.standing !== 'unclean';
    const when = known === null ? '' : `, of ${new Date(known.time).toISOString().slice(0, 19)}Z`;
    if (known?.standing === 'rolled-back') return { digest, fault: 'one of an earlier day' };
    if (journal.wasVtpmState(uuid, digest))
      return { digest, fault: `an older one than its last${when}: a copy was put back` };
    if (off && (known.digest === null || !bytesEqual(digest, known.digest)))
      return { digest, fault: `not the one that it stopped with${when}` };
    if (known?.standing === 'reverted')
      return { digest, fault: 'its last, and its disks are those of a snapshot of before' };
    return { digest, fault: null };
  }

  async #atRest(uuid: string): Promise<void> {
    const { journal, files, now } = this.#host;
    const digest = await files.vtpmStateDigest(uuid, { durable: true });
    if (digest !== null && this.#holds(uuid))
      journal.putVtpmState({ vm: uuid, standing: 'at-rest', digest, time: now() });
  }

  #holds(uuid: string): boolean {
    const record = this.#host.journal.vm(uuid);
    return record !== null && record.state !== 'staged' && isHeldBy(record, this.#host.self);
  }
}
