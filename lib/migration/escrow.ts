import { bytesEqual } from '../bytes/compare.ts';
import { encode } from '../encoding/cbor.ts';
import { sha256 } from '../encoding/hash.ts';
import { hex, unhex } from '../encoding/hex.ts';
import { uuidBytes } from '../encoding/uuid.ts';
import type { Journal } from '../ledger/journal.ts';
import { isHeldBy } from '../ledger/records.ts';
import type { VmRecord } from '../ledger/records.ts';
import { isRolledBack } from './anchor.ts';
import type { Chains } from './chains.ts';
import type { Host } from './host.ts';
import { KeyedMutex } from './mutex.ts';
import type { Platform } from './platform.ts';
import { tenantOf } from './tenant.ts';
import type { Timer } from './timers.ts';

/** Between two looks whether a copy is missing, or is one too many. */
const lookMs = 10_000;

/** What a copy in escrow is bound to (SPEC 15.2). */
export interface EscrowContext {
  readonly vm: string;
  readonly epoch: number;
  /** AK name of the host that holds the VM. */
  readonly holder: Uint8Array;
  /** SPKI DER of the escrow key. */
  readonly key: Uint8Array;
}

/** `escrow-context` of SPEC 15.2: associated data of the copy. */
export function escrowContext({ vm, epoch, holder, key }: EscrowContext): Uint8Array {
  return encode(['tvmmp/escrow/1', uuidBytes(vm), epoch, holder, sha256(key)]);
}

/** A VM's key as the authority's escrow key opens it, with what it is bound to. */
export interface EscrowCopy {
  readonly sealed: Uint8Array;
  readonly context: Uint8Array;
}

/** The copy that a journal has of a VM's key; null without one. */
export function escrowCopy(journal: Pick<Journal, 'setting'>, uuid: string): EscrowCopy | null {
  const text = journal.setting(settingName(uuid)) ?? '';
  if (text === '') return null;
  const { sealed, context } = JSON.parse(text) as Readonly<Record<keyof EscrowCopy, string>>;
  return {
    sealed: unhex(sealed),
    context: unhex(context),
  };
}

/** The key is gone from here, or escrow is. */
export function forgetEscrow(journal: Journal, uuid: string): void {
  if (escrowCopy(journal, uuid) !== null) journal.putSetting(settingName(uuid), '');
}

/**
 * Keeps a copy of the key of each VM that this host holds for the authority's escrow key (SPEC 15), where the policy in force names one and the VM's tenant
 * does not forbid it; and none where not. Each copy takes one use of the receive key.
 */
export class Escrow {
  readonly #host: Host;
  readonly #platform: Platform;
  readonly #chains: Chains;
  readonly #mutex = new KeyedMutex();
  #timer: Timer | null = null;
  #working = false;

  constructor(host: Host, platform: Platform, chains: Chains) {
    this.#host = host;
    this.#platform = platform;
    this.#chains = chains;
  }

  start(): void {
    this.#timer = this.#host.timers.every(lookMs, () => void this.look());
  }

  stop(): void {
    this.#timer?.stop();
  }

  /** UUIDs of the VMs of which there is a copy; null where the policy in force has no escrow. */
  status(): readonly string[] | null {
    const { journal, policy } = this.#host;
    if (policy().policy.escrow === null) return null;
    return journal.vms().flatMap(({ uuid }) => (escrowCopy(journal, uuid) === null ? [] : [uuid]));
  }

  /** Brings the copies of all VMs up to date, one after another. What fails now is tried again at the next look. */
  async look(): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    try {
      for (const { uuid } of this.#host.journal.vms()) await this.bring(uuid);
    } finally {
      this.#working = false;
    }
  }

  /** Brings the copy of one VM up to date; where that fails, the log says so and the next look tries again. */
  async bring(uuid: string): Promise<void> {
    try {
      await this.#mutex.run(uuid, () => this.#bring(uuid));
    } catch (error) {
      this.#host.log.warn({ vm: uuid, error: String(error) }, 'the key of a VM is not in escrow yet');
    }
  }

  async #bring(uuid: string): Promise<void> {
    const { journal, bridge } = this.#host;
    const record = journal.vm(uuid);
    if (record === null || isUndecided(record) || isRolledBack(journal, uuid)) return;
    const wanted = this.#wanted(record);
    if (wanted === null) {
      forgetEscrow(journal, uuid);
      return;
    }
    const kept = escrowCopy(journal, uuid);
    if (kept !== null && bytesEqual(kept.context, wanted.context)) return;
    const { blob } = await this.#platform.withKey(record, (own) =>
      bridge.sealForEscrow({ own, escrowPublic: wanted.key, escrowContext: wanted.context }),
    );
    const now = journal.vm(uuid);
    const still = now === null || isUndecided(now) ? null : this.#wanted(now);
    // What changed meanwhile is looked at again.
    if (still === null || !bytesEqual(still.context, wanted.context)) return;
    journal.putSetting(
      settingName(uuid),
      JSON.stringify({ sealed: hex(blob), context: hex(wanted.context) }),
    );
  }

  /** For which key, and bound to what, there has to be a copy; null where there must be none. */
  #wanted(record: VmRecord): { readonly key: Uint8Array; readonly context: Uint8Array } | null {
    const { identity, policy } = this.#host;
    const key = policy().policy.escrow;
    if (key === null || !isHeldBy(record, identity.id.name)) return null;
    const chain = this.#chains.state(record.uuid);
    if (chain === null) return null;
    if (tenantOf(this.#host, chain)?.escrow === 'no') return null;
    const { uuid: vm, epoch } = record;
    return { key, context: escrowContext({ vm, epoch, holder: identity.id.akName, key }) };
  }
}

/** While a VM is on its way nobody knows yet whose it will be. */
function isUndecided({ state }: VmRecord): boolean {
  return state === 'departing' || state === 'staged';
}

function settingName(uuid: string): string {
  return `escrow/${uuid}`;
}
