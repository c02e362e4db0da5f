import type { Etcd3, IRangeResponse } from 'etcd3';
import { EtcdMembers } from './etcd-members.ts';
import type { EtcdAccess } from './etcd-members.ts';
import { EtcdWatch } from './etcd-watch.ts';
import { notSwapped } from './ledger.ts';
import type { Ledger, LedgerChange, LedgerWatch, Swapped } from './ledger.ts';
import { decodeRow, encodeRow, requireFollows } from './ledger-row.ts';
import type { LedgerRow } from './ledger-row.ts';

/** Where the cluster is, and under which prefix its keys are ours. */
export interface EtcdSettings extends EtcdAccess {
  /** Such as `/tvmmp/`: a VM's row is at PREFIX + `vm/` + UUID. */
  readonly prefix: string;
}

/**
 * The ledger of a fleet, in etcd. A compare-and-swap is one transaction that compares the whole value; reads are linearizable, so a
 * member that has lost its cluster does not answer. No leases: a holder that is not heard is the holder still.
 */
export class EtcdLedger implements Ledger {
  readonly kind = 'etcd';
  readonly local = null;
  readonly place: string;
  readonly #members: EtcdMembers;
  readonly #rows: string;
  readonly #watches = new Set<EtcdWatch>();

  constructor(settings: EtcdSettings) {
    this.#members = new EtcdMembers(settings);
    this.#rows = `${settings.prefix}vm/`;
    this.place = `etcd at ${settings.endpoints.join(', ')}`;
  }

  async read(vm: string): Promise<LedgerRow | null> {
    const bytes = await this.#members.ask((client) => client.get(this.#rows + vm).buffer());
    return bytes === null ? null : decodeRow(vm, bytes);
  }

  async compareAndSwap(expected: LedgerRow | null, next: LedgerRow): Promise<Swapped> {
    requireFollows(expected, next);
    const key = this.#rows + next.vm;
    const bytes = Buffer.from(encodeRow(next));
    const before = expected === null ? null : Buffer.from(encodeRow(expected));
    const { succeeded, responses } = await this.#members.ask((client) =>
      asExpected(client, key, before).then(client.put(key).value(bytes)).else(client.get(key)).commit(),
    );
    return succeeded ? { written: true } : notSwapped(next.vm, bytes, valueOf(responses[0]?.response_range));
  }

  async watch(vm: string | null, seen: (change: LedgerChange) => void): Promise<LedgerWatch> {
    const watch = new EtcdWatch(this.#members, this.#rows, vm, seen);
    this.#watches.add(watch);
    await watch.begin();
    return watch;
  }

  async probe(): Promise<void> {
    await this.#members.ask((client) => client.get(`${this.#rows}probe`).exists());
  }

  async close(): Promise<void> {
    await Promise.all([...this.#watches].map((watch) => watch.close()));
    this.#members.close();
  }
}

function asExpected(client: Etcd3, key: string, before: Buffer | null) {
  return before === null ? client.if(key, 'Create', '==', 0) : client.if(key, 'Value', '==', before);
}

function valueOf(range: IRangeResponse | undefined): Buffer | null {
  return range?.kvs[0]?.value ?? null;
}
