/** What must hold at every instant, and what must hold once everything that failed works again (SPEC 6.8, 14). */
import { decodeEntry, decodeSignedEntry, entryHash } from '../../lib/proof/entry.ts';
import { verifyProof } from '../../lib/proof/verify.ts';
import { Chains } from '../../lib/migration/chains.ts';
import type { VmTruth } from './domain.ts';
import type { SimulatedHost } from './host.ts';
import type { SharedRows } from './ledger.ts';

/** Something that must never be. */
export class Violation extends Error {
  readonly invariant: string;

  constructor(invariant: string, message: string) {
    super(`${invariant}: ${message}`);
    this.name = 'Violation';
    this.invariant = invariant;
  }
}

/** At every instant: at most one host runs the VM, and its newest state is somewhere. */
export function checkInstant(hosts: readonly SimulatedHost[], vms: readonly VmTruth[]): void {
  for (const vm of vms) {
    let runs = 0;
    let newest = false;
    for (const { machine, name } of hosts) {
      const domain = machine.domains.get(vm.uuid);
      if (domain?.runs === true && !vm.doubled.has(name)) runs += 1;
      newest ||= domain?.running?.version === vm.latest || machine.vtpms.get(vm.uuid)?.version === vm.latest;
    }
    if (runs > 1) {
      const where = hosts.filter(({ machine }) => machine.domains.get(vm.uuid)?.runs === true);
      throw new Violation('one-runs', `${vm.name} runs on ${where.map(({ name }) => name).join(' and ')}`);
    }
    if (!newest) throw new Violation('nothing-lost', `state ${vm.latest} of the vTPM of ${vm.name} is gone`);
  }
}

/**
 * Once all faults are over: one holder, which has all; nothing elsewhere; chains whole; no session unfinished. `resolved` is how many of the VM's
 * hand-overs were settled by an administrator's word. Gives the holder.
 */
export function checkRest(hosts: readonly SimulatedHost[], vm: VmTruth, resolved: number): SimulatedHost {
  const holders = hosts.filter((host) => {
    const record = host.journal.vm(vm.uuid);
    return record?.holder === host.name && record.sealed !== null;
  });
  const [holder, other] = holders;
  if (holder === undefined)
    throw new Violation('one-holder', `nobody holds ${vm.name}: ${states(hosts, vm)}`);
  if (other !== undefined)
    throw new Violation(
      'one-holder',
      `${holder.name} and ${other.name} hold ${vm.name}: ${states(hosts, vm)}`,
    );
  if (holder.machine.vtpms.get(vm.uuid)?.version !== vm.latest)
    throw new Violation(
      'nothing-lost',
      `${holder.name} holds ${vm.name} without the newest state of its vTPM`,
    );
  for (const host of hosts) {
    const open = host.journal.unfinishedSessions().filter((session) => session.vm === vm.uuid);
    if (open.length > 0)
      throw new Violation(
        'recovery-ends',
        `${host.name} has sessions unfinished: ${open.map(({ role, state }) => `${role} ${state}`).join(', ')}`,
      );
    if (host !== holder) checkNothingAt(host, vm);
    checkNoOpenKey(host, vm);
  }
  checkChains(hosts, vm, holder, resolved);
  return holder;
}

/** Once it can be reached again, the ledger knows what the holder of each VM knows, and contradicts nobody. */
export function checkLedger(
  hosts: readonly SimulatedHost[],
  holders: ReadonlyMap<VmTruth, SimulatedHost>,
  rows: SharedRows,
): void {
  for (const [vm, holder] of holders) {
    const [row, record] = [rows.row(vm.uuid), holder.journal.vm(vm.uuid)];
    if (row?.holder.name !== holder.name || Buffer.compare(row.head, record?.head ?? Buffer.of()) !== 0)
      throw new Violation(
        'ledger-true',
        `the ledger has ${row?.holder.name ?? 'nobody'} at entry ${row?.sequence ?? '-'} for ${vm.name}, and ${holder.name} is at ${record?.sequence ?? '-'}`,
      );
  }
  for (const { name, agent } of hosts) {
    const { conflicts, behind } = agent?.services.ledgerNews.status() ?? { conflicts: [], behind: [] };
    const [conflict] = conflicts;
    if (conflict !== undefined)
      throw new Violation('ledger-true', `at ${name}, of ${conflict.vm}: ${conflict.problem}`);
    if (behind.length > 0)
      throw new Violation('ledger-true', `${name} has not told it of ${behind.join(', ')}`);
  }
}

function checkNothingAt(host: SimulatedHost, vm: VmTruth): void {
  const { machine, journal, name } = host;
  const record = journal.vm(vm.uuid);
  if (record?.sealed != null)
    throw new Violation(
      'no-key-left',
      `${name} still has the sealed key of ${vm.name} (${record.state}, held by ${record.holder}, ${vm.uuid})`,
    );
  if (machine.vtpms.has(vm.uuid))
    throw new Violation('no-key-left', `${name} still has vTPM state of ${vm.name}`);
}

/** libvirt holds a key only while swtpm starts (SPEC 8.3), at the holder too. */
function checkNoOpenKey({ machine, journal, name }: SimulatedHost, vm: VmTruth): void {
  const record = journal.vm(vm.uuid);
  if (record !== null && machine.secrets.has(record.secret))
    throw new Violation('no-key-left', `${name} still has the secret of ${vm.name}`);
}

/**
 * The holder's proof verifies, what others know is part of it, together they know all of it, and each hand-over in it has its *departed*, but for those that an administrator
 * settled.
 */
function checkChains(
  hosts: readonly SimulatedHost[],
  vm: VmTruth,
  holder: SimulatedHost,
  resolved: number,
): void {
  const services = holder.agent?.services;
  if (services === undefined) throw new Violation('recovery-ends', `${holder.name} has no agent`);
  const proof = new Chains(services.host, services.quotes).proof(vm.uuid);
  const verified = verifyProof(proof, { root: services.host.identity.root, checkpoints: 'any' });
  if (verified.outcome === 'fault')
    throw new Violation('chain-whole', `${verified.check}: ${verified.message}`);
  const known = new Map<number, string>();
  for (const host of [holder, ...hosts.filter((one) => one !== holder)]) {
    for (const bytes of host.journal.entries(vm.uuid)) {
      const { entry } = decodeSignedEntry(bytes);
      const { sequence } = decodeEntry(entry);
      const hash = hex(entryHash(entry));
      if (sequence > verified.head.sequence || (known.get(sequence) ?? hash) !== hash)
        throw new Violation(
          'chain-whole',
          `${host.name} knows another entry ${sequence} of ${vm.name} than ${holder.name}`,
        );
      known.set(sequence, hash);
    }
  }
  if (known.size !== verified.head.sequence + 1)
    throw new Violation(
      'chain-whole',
      `of ${vm.name} ${known.size} of ${verified.head.sequence + 1} entries are kept`,
    );
  const { epoch } = verified.head;
  // A departed that came when the VM had moved on already stays with the host that it was for (SPEC 2).
  const departed = new Set(
    hosts.flatMap(({ journal }) =>
      journal.departures(vm.uuid).map((bytes) => decodeEntry(decodeSignedEntry(bytes).entry).epoch),
    ),
  ).size;
  if (departed > epoch || departed < epoch - resolved)
    throw new Violation('source-destroyed', `${epoch} hand-overs of ${vm.name}, ${departed} departed`);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function states(hosts: readonly SimulatedHost[], vm: VmTruth): string {
  return hosts
    .map(({ name, journal, machine }) => {
      const record = journal.vm(vm.uuid);
      const domain = machine.domains.get(vm.uuid);
      const sessions = journal.unfinishedSessions().map(({ role, state }) => `${role}:${state}`);
      return `${name} says ${record?.state ?? 'nothing'} of ${record?.holder ?? 'nobody'} (libvirt: ${domain?.running?.state ?? 'off'}; ${sessions.join(' ')})`;
    })
    .join(', ');
}
