import { bytesEqual } from '../bytes/compare.ts';
import { hex } from '../encoding/hex.ts';
import type { VmRecord } from '../ledger/records.ts';
import type { OwnSealedKey } from '../native/bridge.ts';
import type { Host } from './host.ts';
import { envelopeOf } from './key-context.ts';
import type { Platform } from './platform.ts';
import type { Timer } from './timers.ts';

/** Between two looks whether there is something to put together. */
const lookMs = 10_000;
/** Keys that are opened at a time: four TPM commands each. */
const atOnce = 8;

type Held = VmRecord & { readonly sealed: Uint8Array; readonly context: Uint8Array };

/**
 * Puts the sealed keys of the VMs that this host holds under one envelope (SPEC 5.3), a few at a time, while nothing else wants the TPM: the keys of all VMs
 * that leave together are then opened by one use of the receive key.
 */
export class RestingKeys {
  readonly #host: Host;
  readonly #platform: Platform;
  /** Whether a hand-over is under way that may want the TPM. */
  readonly #isBusy: () => boolean;
  #timer: Timer | null = null;
  #working = false;

  constructor(host: Host, platform: Platform, isBusy: () => boolean) {
    this.#host = host;
    this.#platform = platform;
    this.#isBusy = isBusy;
  }

  start(): void {
    this.#timer = this.#host.timers.every(lookMs, () => void this.#look());
  }

  stop(): void {
    this.#timer?.stop();
  }

  /** Under how many envelopes the keys are that this host holds. */
  get envelopes(): number {
    return this.#groups().length;
  }

  /** The VMs by envelope, the largest group first. */
  #groups(): readonly (readonly Held[])[] {
    const groups = new Map<string, Held[]>();
    for (const record of this.#host.journal.vms().filter(isHeld)) {
      const envelope = hex(envelopeOf(record.sealed));
      const group = groups.get(envelope);
      if (group === undefined) groups.set(envelope, [record]);
      else group.push(record);
    }
    return [...groups.values()].sort((a, b) => b.length - a.length);
  }

  async #look(): Promise<void> {
    if (this.#working || this.#isBusy()) return;
    this.#working = true;
    try {
      await this.gather();
    } catch (error) {
      this.#host.log.debug({ error: String(error) }, 'sealed keys could not be put together yet');
    } finally {
      this.#working = false;
    }
  }

  /** One step. What a VM's record says meanwhile is left alone: it moved, or was sealed anew. */
  async gather(): Promise<void> {
    const { bridge, journal } = this.#host;
    const [largest, ...rest] = this.#groups();
    const [pattern] = largest ?? [];
    const others = rest.flat().slice(0, atOnce);
    if (pattern === undefined || others.length === 0) return;
    const open = (own: OwnSealedKey) =>
      bridge.gatherSealedKeys({
        own,
        others: others.map(({ sealed, context }) => ({ blob: sealed, context })),
      });
    const { blobs } = await this.#platform.withKey(pattern, open);
    journal.transaction(() => {
      for (const [index, { uuid, sealed }] of others.entries()) {
        const blob = blobs[index];
        const record = journal.vm(uuid);
        if (blob !== undefined && record?.sealed != null && bytesEqual(record.sealed, sealed))
          journal.putVm({ ...record, sealed: blob });
      }
    });
  }
}

function isHeld(record: VmRecord): record is Held {
  const { sealed, context, state } = record;
  return sealed !== null && context !== null && ['stopped', 'running', 'paused', 'saved'].includes(state);
}
