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
    const running = hosts.filter(
      ({ machine, name }) => machine.domains.get(vm.uuid)?.runs === true && vm.doubled !== name,
    );
    if (running.length > 1)
      throw new Violation('one-runs', `${vm.name} runs on ${running.map(({ name }) => name).join(' and ')}`);
    const newest = hosts.some(
      ({ machine }) =>
        machine.vtpms.get(vm.uuid)?.version === vm.latest ||
        machine.domains.get(vm.uuid)?.running?.version === vm.latest,
    );
    if (!newest) throw new Violation('nothing-lost', `state ${vm.latest} of the vTPM of ${vm.name} is gone`);
  }
}

/** Once all faults are over: one holder, which has all; nothing elsewhere; chains whole; no session unfinished. Gives the holder. */
export function checkRest(hosts: readonly SimulatedHost[], vm: VmTruth): SimulatedHost {
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
  checkChains(hosts, vm, holder);
  return holder;
}

/** Once it can be reached again, the ledger knows what the holder of each VM knows, and contradicts nobody. */
export function checkLedger(
  hosts: readonly SimulatedHost[],
  vms: readonly VmTruth[],
  rows: SharedRows,
): void {
  for (const vm of vms) {
    const holder = checkRest(hosts, vm);
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
    throw new Violation('no-key-left', `${name} still has the sealed key of ${vm.name}`);
  if (machine.vtpms.has(vm.uuid))
    throw new Violation('no-key-left', `${name} still has vTPM state of ${vm.name}`);
}

/** libvirt holds a key only while swtpm starts (SPEC 8.3), at the holder too. */
function checkNoOpenKey({ machine, journal, name }: SimulatedHost, vm: VmTruth): void {
  const record = journal.vm(vm.uuid);
  if (record !== null && machine.secrets.has(record.secret))
    throw new Violation('no-key-left', `${name} still has the secret of ${vm.name}`);
}

/** The holder's proof verifies, what others know is where it began, and each hand-over in it has its departed. */
function checkChains(hosts: readonly SimulatedHost[], vm: VmTruth, holder: SimulatedHost): void {
  const services = holder.agent?.services;
  if (services === undefined) throw new Violation('recovery-ends', `${holder.name} has no agent`);
  const proof = new Chains(services.host, services.quotes).proof(vm.uuid);
  const verified = verifyProof(proof, { root: services.host.identity.root });
  if (verified.outcome === 'fault')
    throw new Violation('chain-whole', `${verified.check}: ${verified.message}`);
  const heads = holder.journal.entries(vm.uuid).map(hashOf);
  for (const host of hosts) {
    const known = host.journal.entries(vm.uuid).map(hashOf);
    const astray = known.findIndex((hash, index) => heads[index] !== hash);
    if (astray >= 0)
      throw new Violation(
        'chain-whole',
        `${host.name} knows another entry ${astray} of ${vm.name} than ${holder.name}`,
      );
  }
  const { epoch } = verified.head;
  // A departed that came when the VM had moved on already stays with the host that it was for (SPEC 2).
  const departed = new Set(
    hosts.flatMap(({ journal }) =>
      journal.departures(vm.uuid).map((bytes) => decodeEntry(decodeSignedEntry(bytes).entry).epoch),
    ),
  ).size;
  if (departed !== epoch)
    throw new Violation('source-destroyed', `${epoch} hand-overs of ${vm.name}, ${departed} departed`);
}

function hashOf(bytes: Uint8Array): string {
  return Buffer.from(entryHash(decodeSignedEntry(bytes).entry)).toString('hex');
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
