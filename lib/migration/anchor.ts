import { TvmmpError } from '../errors.ts';
import type { Journal } from '../ledger/journal.ts';
import { isHeldBy } from '../ledger/records.ts';
import type { VmRecord } from '../ledger/records.ts';
import { limits } from '../limits.ts';
import { COUNTER_NV } from '../tpm/handles.ts';
import type { Tpm } from '../tpm/port.ts';
import type { Log } from './host.ts';
import { Refused } from './refused.ts';
import type { Timer, Timers } from './timers.ts';

/** What this needs of its host. */
interface Parts {
  readonly journal: Journal;
  readonly tpm: Pick<Tpm, 'readCounter' | 'makeCounter' | 'incrementCounter'>;
  readonly timers: Timers;
  readonly log: Log;
  readonly now: () => number;
  readonly identity: { readonly id: { readonly name: string } };
}

/** How the journal stands to the TPM's counter, for the operator. */
export interface AnchorStatus {
  /** Decimal. */
  readonly counter: string;
  /** When it was found that the journal had gone back, milliseconds since 1970; null where it never was. */
  readonly rolledBack: number | null;
  /** UUIDs of VMs that wait for an administrator since. */
  readonly vms: readonly string[];
}

/** How an agent finds journal and counter at its start (SPEC 8.8). */
export type Standing = 'good' | 'behind' | 'first' | 'rolled-back';

const anchorName = 'anchor';
const rolledBackName = 'rolled-back';
/** In the place of the number, until the counter is made. */
const binding = 'binding';
/** Between two looks at what nobody waits for. */
const tickMs = 60_000;
/** TPM_RC_NV_RATE (TPM 2.0 Part 2, 6.6.3): the TPM spares its NV memory. */
const rcNvRate = 0x920;
const rateWaitMs = 1_000;
const attemptsMax = 5;

/**
 * Ties the journal to a counter in the TPM, which does not go back when the disk does (SPEC 8.8). What was decided waits here, before its
 * effect, for an increment that began after it was on disk; many decisions share one.
 */
export class Anchor {
  readonly #host: Parts;
  /** Where the counter is, as far as this agent knows; null before `begin`. */
  #counter: bigint | null = null;
  /** Changes of the journal that are behind the counter: `Journal.changes` when the last increment began. */
  #anchored = -1;
  #anchoredAt = -Infinity;
  /** Whether an increment failed, so that the TPM has to be asked whether it was done. */
  #unsure = false;
  #round: Promise<void> | null = null;
  #timer: Timer | null = null;
  /** Somebody who had to go on without an increment. */
  #owed = false;

  constructor(host: Parts) {
    this.#host = host;
  }

  /** Compares journal and counter, before anything else is believed of the journal. Rejects where the TPM does not answer. */
  async begin(): Promise<void> {
    const { journal, tpm, timers } = this.#host;
    const anchor = journal.setting(anchorName);
    const counter = await tpm.readCounter(COUNTER_NV);
    const standing = standingOf(anchor, counter, journal.vms().length === 0);
    if (standing === 'rolled-back') this.#markRolledBack(anchor, counter);
    if (standing === 'first') journal.putSetting(anchorName, binding);
    const stated = journal.setting(anchorName);
    if (stated === null || stated === binding) {
      this.#counter = await tpm.makeCounter(COUNTER_NV);
      journal.putSetting(anchorName, String(this.#counter));
    } else {
      this.#counter = counter;
      if (BigInt(stated) !== counter) await this.#advance(BigInt(stated));
    }
    this.#timer = timers.every(tickMs, () => {
      void this.#tick();
    });
  }

  /** Whether the TPM is asked for an increment now. */
  get busy(): boolean {
    return this.#round !== null;
  }

  /** Resolves when an increment that the TPM was asked for is done, or was not in so many milliseconds. */
  async rest(atMostMs: number): Promise<void> {
    if (this.#round === null) return;
    const done = this.#round.catch(() => undefined);
    await Promise.race([done, this.#host.timers.sleep(atMostMs)]);
  }

  end(): void {
    this.#timer?.stop();
  }

  /** Resolves once everything that is in the journal now is behind the counter; at once where it is. Rejects where the TPM fails. */
  async settle(): Promise<void> {
    const upTo = this.#host.journal.changes;
    while (this.#anchored < upTo) {
      this.#round ??= this.#increment().finally(() => {
        this.#round = null;
      });
      await this.#round;
    }
  }

  /** As `settle`, for what has happened already: where the TPM fails it is logged, and tried again later. */
  async settleOrOwe(): Promise<void> {
    try {
      await this.settle();
    } catch (error) {
      this.#owed = true;
      this.#host.log.warn({ error: String(error) }, 'the counter of the TPM could not be incremented yet');
    }
  }

  status(): AnchorStatus {
    const { journal } = this.#host;
    return {
      counter: String(this.#counter ?? 0n),
      rolledBack: this.rolledBackAt,
      vms: journal.vms().flatMap(({ uuid }) => (isRolledBack(journal, uuid) ? [uuid] : [])),
    };
  }

  /** When it was found that the journal had gone back; sessions that began until then may have had another end. */
  get rolledBackAt(): number | null {
    const text = this.#host.journal.setting(rolledBackName);
    return text === null ? null : Number(text);
  }

  async #increment(): Promise<void> {
    if (this.#counter === null) throw new TvmmpError('internal', 'the counter was not looked at yet');
    const { journal, timers } = this.#host;
    const upTo = journal.changes;
    const next = this.#counter + 1n;
    if (journal.setting(anchorName) !== String(next)) journal.putSetting(anchorName, String(next));
    await this.#advance(next);
    this.#anchored = upTo;
    this.#anchoredAt = timers.elapsed();
    this.#owed = false;
  }

  /** The journal says `to` already, on disk. */
  async #advance(to: bigint): Promise<void> {
    const { tpm, timers } = this.#host;
    for (let attempt = 1; ; attempt += 1) {
      try {
        if (!this.#unsure || ((await tpm.readCounter(COUNTER_NV)) ?? 0n) < to) {
          this.#unsure = true;
          await tpm.incrementCounter(COUNTER_NV);
        }
        break;
      } catch (error) {
        if (attempt === attemptsMax) throw error;
        if (isRateLimit(error)) await timers.sleep(rateWaitMs);
        else if (attempt > 1) throw error;
      }
    }
    this.#unsure = false;
    this.#counter = to;
  }

  async #tick(): Promise<void> {
    const { journal, timers } = this.#host;
    const due = timers.elapsed() >= this.#anchoredAt + limits.anchorDelayMs;
    if ((due && this.#anchored < journal.changes) || this.#owed) await this.settleOrOwe();
  }

  /** VMs that the journal takes for held are nobody's until an administrator says so: durable before anything else is done. */
  #markRolledBack(anchor: string | null, counter: bigint | null): void {
    const { journal, log, now, identity } = this.#host;
    const held = journal.vms().filter((record) => isHeldBy(record, identity.id.name));
    const newest = Math.max(now(), ...journal.sessions().map(({ started }) => started));
    const found = `the journal says ${anchor ?? 'nothing'} and the counter of the TPM ${counter ?? 'is not there'}`;
    const reason = `journal-rolled-back: the disk of this host was put back to an earlier state: ${found}`;
    journal.transaction(() => {
      for (const { uuid } of held) {
        const digest = journal.vtpmState(uuid)?.digest ?? null;
        journal.putVtpmState({ vm: uuid, standing: 'rolled-back', digest, time: now() });
        const refusal = { time: now(), vm: uuid, peer: null, operation: 'start', verdict: null };
        journal.addRefusal({ ...refusal, reason: `${reason}; tvmmp vm adopt takes the VM up all the same` });
      }
      journal.putSetting(rolledBackName, String(newest));
      journal.putSetting(anchorName, counter === null ? binding : String(counter + 1n));
    });
    log.error({ vms: held.map(({ uuid }) => uuid) }, reason);
  }
}

/** What a pair of anchor and counter says of a journal (SPEC 8.8). `empty`: it knows no VM, so that there is nothing to protect. */
export function standingOf(anchor: string | null, counter: bigint | null, empty: boolean): Standing {
  if (anchor === binding || (anchor === null && (empty || counter === null))) return 'first';
  if (anchor === null || counter === null) return 'rolled-back';
  const ahead = BigInt(anchor) - counter;
  if (ahead === 0n) return 'good';
  return ahead === 1n ? 'behind' : 'rolled-back';
}

/** Whether a VM was held when the journal went back, and nobody has taken it up since. */
export function isRolledBack(journal: Pick<Journal, 'vtpmState'>, vm: string): boolean {
  return journal.vtpmState(vm)?.standing === 'rolled-back';
}

/** Throws `Refused` for a VM that may have gone on, changed or left since the day to which this host was put back. */
export function requireNotRolledBack(
  journal: Pick<Journal, 'vtpmState'>,
  { uuid, name }: Pick<VmRecord, 'uuid' | 'name'>,
): void {
  if (!isRolledBack(journal, uuid)) return;
  throw new Refused(
    `journal-rolled-back: the disk of this host was put back to an earlier state, and what ${name} has done since is not known: ` +
      'see that no other host holds it, and take it up as it is here (tvmmp vm adopt)',
  );
}

function isRateLimit(error: unknown): boolean {
  return error instanceof TvmmpError && error.details['rc'] === rcNvRate;
}
