import type { VmRecord } from '../ledger/records.ts';
import { KeyedMutex } from './mutex.ts';

/** Whose key libvirt was given, and the secret that it is in. */
export type GivenKey = Pick<VmRecord, 'uuid' | 'secret'>;

/** Keys that libvirt was given for a start or an arrival, until somebody has looked what came of it (SPEC 8.3). */
export class GivenKeys {
  readonly #given = new Map<string, GivenKey>();
  readonly #mutex = new KeyedMutex();

  /** Those that were given before now, but for those of VMs that are given theirs again at this moment. */
  get all(): readonly GivenKey[] {
    return [...this.#given.values()];
  }

  /** Gives a key by this work; what fails may have given it too. */
  give({ uuid, secret }: GivenKey, work: () => Promise<void>): Promise<void> {
    return this.#mutex.run(uuid, async () => {
      this.#given.delete(uuid);
      try {
        await work();
      } finally {
        this.#given.set(uuid, { uuid, secret });
      }
    });
  }

  /** Takes one of `all` back by this work, unless the VM was given its key again meanwhile. */
  takeBack(key: GivenKey, work: () => Promise<void>): Promise<void> {
    return this.#mutex.run(key.uuid, async () => {
      if (this.#given.get(key.uuid) !== key) return;
      await work();
      this.#given.delete(key.uuid);
    });
  }
}
