/** Whether the vTPM that came with a VM is the one that its proof names (SPEC 4.5): read by itself after each arrival, and what follows where it is not. */
import { hex } from '../encoding/hex.ts';
import type { Journal } from '../ledger/journal.ts';
import { isHeldBy } from '../ledger/records.ts';
import type { VmRecord } from '../ledger/records.ts';
import { nameOf } from '../tpm/public-area.ts';
import { isRolledBack } from './anchor.ts';
import { isActive, lookAt } from './domain-view.ts';
import type { Host } from './host.ts';
import type { Platform } from './platform.ts';
import { noteRefusal, Refused } from './refused.ts';
import type { Timer } from './timers.ts';

/** Between two looks for VMs that have come; one that the look before has found already is read. */
const lookMs = 10_000;

/** What was read of a vTPM that came here, in one epoch of its VM. */
interface Reading {
  readonly epoch: number;
  /** Names of endorsement keys, hexadecimal: in the proof, and of the vTPM. */
  readonly named: string;
  readonly found: string;
  /** Milliseconds since 1970. */
  readonly time: number;
}

/** What `tvmmp status` tells. */
export interface VtpmIdentityStatus {
  /** VMs that came here and whose vTPM has not been read yet; `problem`: why it could not be, '' before the first attempt. */
  readonly unread: readonly { readonly vm: string; readonly problem: string }[];
  /** VMs that came here with another vTPM than their proofs name. */
  readonly exchanged: readonly { readonly vm: string; readonly since: number; readonly problem: string }[];
}

/** What is wrong with the vTPM of a VM that this host holds, in a line that begins with its code; null where nothing is known to be. */
export function vtpmProblem(journal: Pick<Journal, 'setting'>, vm: VmRecord): string | null {
  const reading = readingOf(journal, vm);
  if (reading === null || reading.found === reading.named) return null;
  return (
    `vtpm-exchanged: ${vm.name} came with another vTPM (endorsement key ${reading.found}) than its proof names (${reading.named}): ` +
    'whoever brought it had the key of the vTPM'
  );
}

/** A VM with another vTPM than its proof names runs on, and goes no further. Throws `Refused`. */
export function requireOwnVtpm(journal: Pick<Journal, 'setting'>, vm: VmRecord): void {
  const problem = vtpmProblem(journal, vm);
  if (problem !== null) throw new Refused(`${problem}; ${remedy}`);
}

/** An administrator has put the right vTPM back. */
export function forgetReading(journal: Journal, uuid: string): void {
  if ((journal.setting(settingName(uuid)) ?? '') !== '') journal.putSetting(settingName(uuid), '');
}

const remedy =
  'put the right state back while the VM is off, and take it up (tvmmp vm adopt), or end the protection (tvmmp vm unprotect)';

/** Reads, one after another, the vTPMs of VMs that came here, while no hand-over wants the TPM. */
export class VtpmIdentities {
  readonly #host: Host;
  readonly #platform: Pick<Platform, 'withKey'>;
  readonly #isWanted: () => boolean;
  readonly #found = new Set<string>();
  readonly #problems = new Map<string, string>();
  #timer: Timer | null = null;
  #working = false;

  /** `isWanted`: whether a hand-over that is being made wants the TPM, now or in a moment. */
  constructor(host: Host, platform: Pick<Platform, 'withKey'>, isWanted: () => boolean) {
    this.#host = host;
    this.#platform = platform;
    this.#isWanted = isWanted;
  }

  start(): void {
    this.#timer = this.#host.timers.every(lookMs, () => void this.look());
  }

  stop(): void {
    this.#timer?.stop();
  }

  status(): VtpmIdentityStatus {
    const { journal } = this.#host;
    const vms = journal.vms();
    return {
      unread: vms
        .filter((vm) => this.#isDue(vm))
        .map(({ uuid }) => ({ vm: uuid, problem: this.#problems.get(uuid) ?? '' })),
      exchanged: vms.flatMap((vm) => {
        const problem = this.#isOurs(vm) ? vtpmProblem(journal, vm) : null;
        return problem === null ? [] : [{ vm: vm.uuid, since: readingOf(journal, vm)?.time ?? 0, problem }];
      }),
    };
  }

  /** Reads what the look before has found due already. What fails now is tried again at the next one. */
  async look(): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    try {
      const due = this.#host.journal.vms().filter((vm) => this.#isDue(vm));
      for (const vm of due) {
        const key = `${vm.uuid} ${vm.epoch}`;
        if (this.#found.has(key) && !this.#isWanted()) await this.#tryRead(vm);
      }
      this.#found.clear();
      for (const vm of due) this.#found.add(`${vm.uuid} ${vm.epoch}`);
    } catch (error) {
      this.#host.log.warn({ error: String(error) }, 'the vTPMs that came could not be looked at');
    } finally {
      this.#working = false;
    }
  }

  async #tryRead(vm: VmRecord): Promise<void> {
    try {
      await this.#read(vm);
      this.#problems.delete(vm.uuid);
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      if (this.#problems.get(vm.uuid) !== problem)
        this.#host.log.warn({ vm: vm.uuid, error: problem }, 'the vTPM that came could not be read yet');
      this.#problems.set(vm.uuid, problem);
    }
  }

  async #read(vm: VmRecord): Promise<void> {
    const host = this.#host;
    const { vtpm } = vm;
    if (vtpm === null) return;
    const running = isActive(await lookAt(host.hypervisor, vm.uuid));
    const stateDir = host.files.vtpmStateDirectory(vm.uuid);
    // The seed is what makes a vTPM itself, and out of reach of its guest. A proof names no key that it does not give (RSA-2048).
    const { publicArea } = await this.#platform.withKey(vm, (own) =>
      host.bridge.vtpmEndorsementKey({ stateDir, own, from: 'seed', running }),
    );
    const found = nameOf(publicArea);
    this.#note(vm, { epoch: vm.epoch, named: hex(vtpm), found: hex(found), time: host.now() });
  }

  /** Not about a VM that has gone on meanwhile. */
  #note(vm: VmRecord, reading: Reading): void {
    const { journal, log } = this.#host;
    const now = journal.vm(vm.uuid);
    if (now?.epoch !== vm.epoch || !this.#isDue(now)) return;
    journal.putSetting(settingName(vm.uuid), JSON.stringify(reading));
    const problem = vtpmProblem(journal, now);
    if (problem === null) return;
    log.error({ vm: vm.uuid, named: reading.named, found: reading.found }, problem);
    this.#explain(now, reading, problem);
  }

  /** For `tvmmp explain`, with the host that the VM came from. */
  #explain({ uuid }: VmRecord, { named, found }: Reading, problem: string): void {
    const { journal, policy } = this.#host;
    const { id, version } = policy().policy;
    const check = { name: 'vtpm-identity', outcome: 'fail', expected: `endorsement key ${named}` };
    const verdict = { policy: { id, version }, checks: [{ ...check, found, remedy }] };
    const peer = journal.sessions(uuid).find(({ role }) => role === 'target')?.peer ?? null;
    const why = new Refused(problem, { verdict: JSON.stringify(verdict) });
    noteRefusal(this.#host, { vm: uuid, peer, operation: 'vtpm', why });
  }

  #isOurs(vm: VmRecord): boolean {
    return isHeldBy(vm, this.#host.identity.id.name) && vm.state !== 'staged' && vm.state !== 'destroyed';
  }

  /** A VM that came here (its birth is looked at when it is protected), and whose vTPM was not read since. */
  #isDue(vm: VmRecord): boolean {
    const { journal } = this.#host;
    if (!this.#isOurs(vm) || vm.state === 'departing' || vm.epoch === 0 || vm.vtpm === null) return false;
    return readingOf(journal, vm) === null && !isRolledBack(journal, vm.uuid);
  }
}

/** The reading of this epoch and of this very vTPM: a UUID may get another one. */
function readingOf(journal: Pick<Journal, 'setting'>, { uuid, epoch, vtpm }: VmRecord): Reading | null {
  const text = journal.setting(settingName(uuid)) ?? '';
  if (text === '' || vtpm === null) return null;
  const reading = JSON.parse(text) as Reading;
  return reading.epoch === epoch && reading.named === hex(vtpm) ? reading : null;
}

function settingName(uuid: string): string {
  return `vtpm-read/${uuid}`;
}
