import type { Etcd3, IWatchResponse, Watcher } from 'etcd3';
import type { EtcdMembers } from './etcd-members.ts';
import type { LedgerChange, LedgerWatch } from './ledger.ts';
import { decodeRow } from './ledger-row.ts';

const againMs = 500;

/**
 * Follows rows in etcd, over lost connections and compactions: it remembers the last revision that it told of and goes on behind it,
 * at another member where need be. (etcd3 resumes by itself too, but forgets what it missed when it loses the new connection before
 * it has caught up.)
 */
export class EtcdWatch implements LedgerWatch {
  readonly #members: EtcdMembers;
  readonly #prefix: string;
  readonly #vm: string | null;
  readonly #seen: (change: LedgerChange) => void;
  readonly #stopListening: () => void;
  #revision = 0n;
  #closed = false;
  #watcher: { readonly endpoint: string; readonly watcher: Watcher } | null = null;
  #again: NodeJS.Timeout | null = null;

  constructor(members: EtcdMembers, prefix: string, vm: string | null, seen: (change: LedgerChange) => void) {
    this.#members = members;
    this.#prefix = prefix;
    this.#vm = vm;
    this.#seen = seen;
    this.#stopListening = members.onLeft((endpoint) => {
      if (this.#watcher?.endpoint === endpoint) this.#restart();
    });
  }

  /** Resolves when every later change will be seen. Errors: `ledger-unavailable`. */
  async begin(): Promise<void> {
    this.#revision = await this.#members.ask(async (client) => {
      const { header } = await client.getAll().prefix(this.#prefix).limit(1).exec();
      return BigInt(header.revision);
    });
    this.#follow();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopListening();
    if (this.#again !== null) clearTimeout(this.#again);
    await this.#drop();
  }

  #follow(): void {
    if (this.#closed) return;
    const { endpoint, client } = this.#members.current;
    const watcher = this.#request(client);
    this.#watcher = { endpoint, watcher };
    watcher.on('data', (response) => {
      this.#take(watcher, response);
    });
    watcher.on('disconnected', () => {
      if (!this.#isCurrent(watcher)) return;
      this.#members.leave(endpoint);
      if (this.#isCurrent(watcher)) this.#restart();
    });
    // etcd 3.4 does not say why it ends a watch; that it has forgotten the revision is the reason that there is.
    watcher.on('error', () => {
      if (this.#isCurrent(watcher)) void this.#catchUp(watcher);
    });
  }

  #request(client: Etcd3): Watcher {
    const builder = client.watch().startRevision(String(this.#revision + 1n));
    const ranged = this.#vm === null ? builder.prefix(this.#prefix) : builder.key(this.#prefix + this.#vm);
    return ranged.watcher();
  }

  #isCurrent(watcher: Watcher): boolean {
    return this.#watcher?.watcher === watcher;
  }

  #take(watcher: Watcher, { events }: IWatchResponse): void {
    if (this.#closed || !this.#isCurrent(watcher)) return;
    for (const { type, kv } of events) {
      const revision = BigInt(kv.mod_revision);
      // A change that came again with a new connection; several changes of one transaction share a revision.
      if (revision < this.#revision) continue;
      this.#revision = revision;
      this.#tell(kv.key, type === 'Put' ? kv.value : null);
    }
  }

  #tell(key: Buffer, value: Buffer | null): void {
    const vm = key.toString('utf8').slice(this.#prefix.length);
    if (this.#vm !== null && vm !== this.#vm) return;
    this.#seen({ vm, row: value === null ? null : readable(vm, value) });
  }

  /** etcd has forgotten the revisions that were missed: what changed since is told as it is now. */
  async #catchUp(watcher: Watcher): Promise<void> {
    try {
      const { header, kvs } = await this.#members.ask((client) =>
        client.getAll().prefix(this.#prefix).sort('Mod', 'Ascend').exec(),
      );
      if (this.#closed || !this.#isCurrent(watcher)) return;
      const missed = kvs.filter(({ mod_revision }) => BigInt(mod_revision) > this.#revision);
      this.#revision = BigInt(header.revision);
      for (const { key, value } of missed) this.#tell(key, value);
    } catch {
      // Met again by the next attempt: the revision is still the old one.
    }
    if (this.#isCurrent(watcher)) this.#restart();
  }

  #restart(): void {
    void this.#drop();
    if (this.#closed || this.#again !== null) return;
    this.#again = setTimeout(() => {
      this.#again = null;
      this.#follow();
    }, againMs);
  }

  async #drop(): Promise<void> {
    const dropped = this.#watcher;
    this.#watcher = null;
    await dropped?.watcher.cancel().catch(() => undefined);
  }
}

/** What is no row of ours is told as none: whoever relies on it reads it, and hears why. */
function readable(vm: string, value: Buffer): LedgerChange['row'] {
  try {
    return decodeRow(vm, value);
  } catch {
    return null;
  }
}
