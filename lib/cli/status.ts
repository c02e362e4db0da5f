import type { Command } from 'commander';
import { askAgent } from './agent-client.ts';
import type { VmSummary } from './agent-client.ts';
import { leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { fields, paint, print, printJson, short, table, timeText } from './output.ts';

/** How the agent and the ledger get on. */
export interface LedgerStatus {
  readonly kind: string;
  readonly place: string;
  /** Why it does not answer; '' where it does. */
  readonly problem: string;
  /** UUIDs of VMs of which it has not heard the latest yet. */
  readonly behind: readonly string[];
  /** VMs of which it says something else than this host's proof. */
  readonly conflicts: readonly { readonly vm: string; readonly problem: string }[];
}

/** How the agent's journal stands to the TPM's counter (SPEC 8.8). */
export interface RollbackStatus {
  /** Decimal. */
  readonly counter: string;
  /** When it was found that the disk had gone back, milliseconds since 1970; null where it never was. */
  readonly rolledBack: number | null;
  /** UUIDs of VMs that wait for an administrator since. */
  readonly vms: readonly string[];
}

/** Whether VMs came with the vTPMs that their proofs name (SPEC 4.5). */
export interface VtpmsStatus {
  /** Not read since they came; `problem`: why, '' where it is still to be done. */
  readonly unread: readonly { readonly vm: string; readonly problem: string }[];
  readonly exchanged: readonly { readonly vm: string; readonly since: number; readonly problem: string }[];
}

/** Whether the host satisfies its own policy (SPEC 16). */
export interface TrustStatus {
  /** Null where the policy does not ask for it. */
  readonly rule: { readonly everySeconds: number; readonly leave: 'never' | 'trusted' } | null;
  /** The last appraisal, milliseconds since 1970; null before the first one. */
  readonly appraised: number | null;
  /** Why none could be made since. */
  readonly problem: string;
  readonly quarantine: {
    readonly since: number;
    readonly reason: string;
    readonly failed: readonly string[];
  } | null;
  /** What became of attesting this host to its peers. */
  readonly attested: readonly {
    readonly address: string;
    readonly peer: string | null;
    readonly outcome: 'accepted' | 'refused' | null;
    readonly problem: string;
  }[];
  /** What this host found of hosts that attested themselves to it. */
  readonly peers: readonly {
    readonly host: string;
    readonly outcome: 'accepted' | 'refused';
    readonly since: number;
    /** When it attested itself last, milliseconds since 1970, and whether it should have since. */
    readonly time: number;
    readonly silent: boolean;
    readonly reason: string;
  }[];
}

/** What the agent tells of itself. */
export interface Status {
  readonly version: string;
  readonly host: string;
  readonly advertise: string;
  readonly policy: { readonly id: string; readonly version: number; readonly digest: string };
  /** Version 0: no list. `ownReason`: why this host itself is revoked. */
  readonly revocations: { readonly version: number; readonly ownReason: string | null };
  readonly ledger: LedgerStatus;
  readonly rollback: RollbackStatus;
  readonly vtpms: VtpmsStatus;
  /** UUIDs of the VMs whose keys the authority's escrow key opens too; null where the policy has no escrow. */
  readonly escrow: readonly string[] | null;
  readonly trust: TrustStatus;
  readonly vms: readonly VmSummary[];
  readonly migrations: readonly {
    readonly vm: string;
    readonly id: string;
    readonly role: string;
    readonly state: string;
    readonly peer: string;
    /** Why it cannot go on; '' where nothing is in its way. */
    readonly problem: string;
  }[];
}

/** `tvmmp status`. */
export function addStatus(program: Command): void {
  leaf(program, {
    usage: 'status',
    summary: 'what the agent of this host knows and does',
    description:
      'Shows the agent of this host: its name, the address that it gives to others, the policy in force, the ' +
      'protected VMs and the migrations that are not finished (tvmmp migration show explains one).',
    examples: [
      ['tvmmp status', 'One page for people.'],
      ["tvmmp status --json | jq '.vms[].name'", 'For scripts.'],
    ],
    configured: true,
  }).action(async (options: CommonOptions) => {
    const status = (await askAgent(options, 'status')) as Status;
    if (options.json === true) printJson(status);
    else print(...statusText(status));
  });
}

function statusText({
  host,
  version,
  advertise,
  policy,
  revocations,
  ledger,
  rollback,
  vtpms,
  escrow,
  trust,
  vms,
  migrations,
}: Status): readonly string[] {
  const about = fields([
    ['host', host],
    ['agent', `tvmmpd ${version}, reached at ${advertise}`],
    ['policy', `${policy.id} version ${policy.version} (${short(policy.digest)})`],
    [
      'revocations',
      revocations.ownReason === null
        ? `list version ${revocations.version}`
        : paint('red', `THIS HOST IS REVOKED: ${revocations.ownReason}`),
    ],
    ['ledger', ledgerText(ledger)],
    ['counter', rollbackText(rollback)],
    ['vTPMs', vtpmsText(vtpms)],
    ['escrow', escrowText(escrow)],
    ['trust', trustText(trust)],
    ...peerFields(trust),
    ['VMs', vms.length === 0 ? 'none is protected (tvmmp vm protect)' : String(vms.length)],
    ['migrations', migrations.length === 0 ? 'none under way' : String(migrations.length)],
  ]);
  const names = new Map(vms.map(({ uuid, name }) => [uuid, name]));
  return [
    ...about,
    ...(ledger.conflicts.length === 0
      ? []
      : ['', ...ledger.conflicts.map(({ problem }) => paint('red', problem))]),
    ...(vms.length === 0 ? [] : ['', ...vmTable(vms)]),
    ...(migrations.length === 0
      ? []
      : [
          '',
          ...table(
            ['VM', 'ROLE', 'STATE', 'PEER', 'SESSION', 'PROBLEM'],
            migrations.map(({ id, vm, role, state, peer, problem }) => [
              names.get(vm) ?? vm,
              role,
              state,
              peer,
              short(id),
              problem,
            ]),
          ),
        ]),
  ];
}

function ledgerText({ place, problem, behind, conflicts }: LedgerStatus): string {
  if (problem !== '')
    return `${paint('red', 'DOES NOT ANSWER')}: protected VMs run on, and neither start nor move (${problem})`;
  const late = behind.length === 0 ? '' : `; ${behind.length} VMs still have to be written there`;
  const disputed = conflicts.length === 0 ? '' : `; it contradicts ${conflicts.length} VMs`;
  return `${place}${late}${disputed}`;
}

function rollbackText({ counter, rolledBack, vms }: RollbackStatus): string {
  if (rolledBack === null) return `${counter} in the TPM, as the journal has it`;
  const when = new Date(rolledBack).toISOString().slice(0, 19);
  if (vms.length === 0) return `${counter} in the TPM; the disk was put back once (seen ${when}Z)`;
  return paint(
    'red',
    `THE DISK WAS PUT BACK (seen ${when}Z): ${vms.length} VMs do not start until they are adopted (tvmmp vm adopt)`,
  );
}

function vtpmsText({ unread, exchanged }: VtpmsStatus): string {
  const failed = unread.filter(({ problem }) => problem !== '');
  const waiting = unread.length === 0 ? '' : `; ${unread.length} that came still to be read`;
  const why = failed.map(({ problem }) => ` (${problem})`)[0] ?? '';
  if (exchanged.length === 0) return `none is known to be another than its proof names${waiting}${why}`;
  return paint(
    'red',
    exchanged.map(({ since, problem }) => `${problem} (seen ${timeText(since)})`).join('; '),
  );
}

function escrowText(escrow: Status['escrow']): string {
  if (escrow === null) return 'off: a VM whose host loses its TPM is lost';
  return `on: the authority can open the keys of ${escrow.length} ${escrow.length === 1 ? 'VM' : 'VMs'} of this host`;
}

/** What hosts have found of each other; nothing where none attests itself. */
function peerFields({ attested, peers }: TrustStatus): readonly (readonly [string, string])[] {
  const to = attested.map(({ address, peer, outcome, problem }): readonly [string, string] => {
    if (outcome === 'refused') return ['attested to', paint('red', `${peer ?? address} REFUSES THIS HOST`)];
    if (problem !== '') return ['attested to', paint('red', `${peer ?? address} cannot be told: ${problem}`)];
    return ['attested to', `${peer ?? address} (${outcome ?? 'not yet'})`];
  });
  const from = peers.map(({ host, outcome, since, time, silent, reason }): readonly [string, string] => {
    const late = silent ? paint('yellow', `; SILENT since ${timeText(time)}`) : '';
    if (outcome === 'refused')
      return ['peer', `${paint('red', `${host} REFUSED since ${timeText(since)}: ${reason}`)}${late}`];
    return ['peer', `${host} ${silent ? 'satisfied' : 'satisfies'} the policy${late}`];
  });
  return [...to, ...from];
}

function trustText({ rule, appraised, problem, quarantine }: TrustStatus): string {
  if (rule === null) return 'appraised at each migration alone: the policy has no quarantine';
  if (quarantine !== null) {
    const leave = rule.leave === 'never' ? 'its VMs stay' : 'its VMs may leave';
    const since = `${new Date(quarantine.since).toISOString().slice(0, 19)}Z`;
    return paint(
      'red',
      `QUARANTINED since ${since}: it receives no VM, ${leave} (tvmmp explain): ${quarantine.reason}`,
    );
  }
  if (problem !== '') return paint('red', `NOT APPRAISED: ${problem}`);
  const last = appraised === null ? 'not yet' : `last ${new Date(appraised).toISOString().slice(0, 19)}Z`;
  return `appraises itself at least every ${rule.everySeconds} s (${last})`;
}

/** Protected VMs as a table. */
export function vmTable(vms: readonly VmSummary[]): readonly string[] {
  const rows = vms.map(({ name, state, holder, epoch, entries, uuid }) => [
    name,
    state,
    holder,
    String(epoch),
    String(entries),
    uuid,
  ]);
  return table(['NAME', 'STATE', 'HOLDER', 'EPOCH', 'ENTRIES', 'UUID'], rows);
}
