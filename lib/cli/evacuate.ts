import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { DepartureSummary } from '../migration/departure.ts';
import { AgentDown, askAgent } from './agent-client.ts';
import { collect, leaf, positiveInteger } from './command.ts';
import type { CommonOptions } from './command.ts';
import { evacuate } from './evacuation.ts';
import type { Evacuated, Leaving } from './evacuation.ts';
import { CliError, codeOf, exitCodeOf, refused, usageError } from './exit.ts';
import type { Migration } from './migration.ts';
import { bytesText, durationText, paint, print, printJson, table } from './output.ts';
import type { Status } from './status.ts';

interface EvacuateOptions extends CommonOptions {
  readonly to?: readonly string[];
  readonly parallel: number;
  readonly bandwidth?: number;
}

const pollMs = 500;
/** Before a destination that was busy is asked again. */
const busyMs = 2_000;

/** `tvmmp evacuate`. */
export function addEvacuate(program: Command): void {
  leaf(program, {
    usage: 'evacuate',
    summary: 'move every protected VM that runs here to other hosts',
    description:
      'Moves the protected VMs that this host holds and that run or are paused, several at a time, each as tvmmp migrate ' +
      'does. They are spread over the hosts of --to in turn; where one does not take a VM, the next one is asked, and one that is busy again later. Without ' +
      '--to: the hosts with which VMs were exchanged before, the last one first. VMs that are shut off or saved stay, and ' +
      'are told. Interrupted or run again, it goes on with what is left; what is under way is waited for. Exit code 1 where ' +
      'a VM was refused everywhere, 3 where something failed.',
    examples: [
      ['tvmmp evacuate --to beta --to gamma', 'Before maintenance.'],
      ['tvmmp evacuate --to beta --parallel 2 --bandwidth 100', 'Two at a time, 100 MiB/s each.'],
      ["tvmmp evacuate --to beta --json | jq '.failed'", 'For scripts.'],
    ],
    configured: true,
  })
    .option('--to <host>', 'a destination; may be given several times', collect)
    .option('--parallel <number>', 'how many at a time', positiveInteger, 4)
    .option('--bandwidth <MiB/s>', 'an upper bound for each', positiveInteger)
    .action(run);
}

async function run(options: EvacuateOptions): Promise<void> {
  const { host, vms } = (await askAgent(options, 'status')) as Status;
  const held = vms.filter((vm) => vm.holder === host);
  const leaving = held
    .filter(({ state }) => ['running', 'paused', 'departing'].includes(state))
    .map(({ uuid, name }) => ({ uuid, name }));
  const staying = held.filter(({ state }) => state === 'stopped' || state === 'saved');
  const destinations = options.to ?? (await knownHosts(options));
  if (leaving.length > 0 && destinations.length === 0)
    throw usageError('say where to: --to HOST (no VM was exchanged with another host yet)');
  if (destinations.includes(host)) throw usageError(`${host} is this host`);
  let interrupted = false;
  const interrupt = (): void => {
    if (interrupted) process.exit(130);
    interrupted = true;
    process.stderr.write(
      'tvmmp: no further VM is begun; what is under way goes on (again: leave it alone)\n',
    );
  };
  process.on('SIGINT', interrupt);
  try {
    const results = await evacuate(
      leaving,
      destinations,
      options.parallel,
      mover(options),
      () => interrupted,
    );
    const stay = staying.map(({ name, uuid, state }) => ({ name, uuid, state }));
    if (options.json === true) printJson(evacuationJson(host, results, stay));
    else print(...evacuationText(host, results, stay));
    conclude(results);
  } finally {
    process.removeListener('SIGINT', interrupt);
  }
}

function mover(options: EvacuateOptions) {
  const { bandwidth } = options;
  return {
    move: async ({ uuid }: Leaving, to: string) =>
      (await askAgent(options, 'migrate', { vm: uuid, destination: to, bandwidth })) as DepartureSummary,
    settled: async ({ uuid }: Leaving): Promise<boolean> => {
      for (;;) {
        const { host, vms } = (await askAgent(options, 'status')) as Status;
        const vm = vms.find((one) => one.uuid === uuid);
        if (vm?.holder !== host || vm.state === 'gone') return false;
        if (vm.state !== 'departing') return true;
        await sleep(pollMs);
      }
    },
    explain: (error: unknown) => ({
      code: codeOf(error),
      message: error instanceof Error ? error.message : String(error),
      fatal: error instanceof AgentDown || codeOf(error) === 'agent-unreachable',
      // What the hook or the agent of a destination says that has enough to do (`limits.admissionsMax`, `limits.sessionsPerPeerMax`).
      busy: error instanceof Error && /refused: busy: /.test(error.message),
    }),
    pause: () => sleep(busyMs),
    report: (result: Evacuated<DepartureSummary>, done: number, all: number): void => {
      if (options.json !== true) process.stderr.write(`[${done}/${all}] ${outcomeText(result)}\n`);
    },
  };
}

/** Hosts that took a VM from here or brought one, the last one first. */
async function knownHosts(options: EvacuateOptions): Promise<readonly string[]> {
  const migrations = (await askAgent(options, 'migrations')) as readonly Migration[];
  const done = migrations.filter(({ state, peer }) => ['departed', 'done'].includes(state) && peer !== '');
  return [...new Set([...done].sort((a, b) => b.started - a.started).map(({ peer }) => peer))];
}

function outcomeText(result: Evacuated<DepartureSummary>): string {
  const { name } = result.vm;
  switch (result.outcome) {
    case 'moved':
      return `${name}: moved to ${result.to} in ${durationText(result.moved.totalMs)}`;
    case 'left-meanwhile':
      return `${name}: has left meanwhile`;
    case 'not-begun':
      return `${name}: not begun`;
    case 'failed':
      return `${name}: stays: ${result.attempts.map(({ to, message }) => `${to}: ${message}`).join('; ')}`;
  }
}

type Staying = readonly { readonly name: string; readonly uuid: string; readonly state: string }[];

function evacuationJson(
  host: string,
  results: readonly Evacuated<DepartureSummary>[],
  stay: Staying,
): unknown {
  const of = (outcome: Evacuated<DepartureSummary>['outcome']) =>
    results.filter((result) => result.outcome === outcome);
  return {
    host,
    moved: results.flatMap((result) =>
      result.outcome === 'moved' ? [{ ...result.vm, ...result.moved, attempts: result.attempts }] : [],
    ),
    leftMeanwhile: of('left-meanwhile').map(({ vm }) => vm),
    failed: of('failed').map(({ vm, attempts }) => ({ ...vm, attempts })),
    notBegun: of('not-begun').map(({ vm }) => vm),
    stay,
  };
}

function evacuationText(
  host: string,
  results: readonly Evacuated<DepartureSummary>[],
  stay: Staying,
): readonly string[] {
  const rows = results.map((result) =>
    result.outcome === 'moved'
      ? [
          result.vm.name,
          'moved',
          result.to,
          durationText(result.moved.totalMs),
          durationText(result.moved.downtimeMs),
          bytesText(result.moved.dataBytes),
        ]
      : [result.vm.name, result.outcome, '', '', '', ''],
  );
  const left = results.filter(({ outcome }) => outcome === 'moved' || outcome === 'left-meanwhile').length;
  const all = left === results.length;
  return [
    ...(rows.length === 0 ? [] : [...table(['VM', 'OUTCOME', 'TO', 'TOTAL', 'DOWNTIME', 'DATA'], rows), '']),
    paint(all ? 'green' : 'yellow', `${left} of ${results.length} VMs have left ${host}`),
    ...stay.map(({ name, state }) => `${name} is ${state} and stays: start it to move it`),
  ];
}

/** The worst of what happened decides the exit code: a fault before a refusal. */
function conclude(results: readonly Evacuated<DepartureSummary>[]): void {
  const last = results.flatMap(({ outcome, attempts }) => (outcome === 'failed' ? attempts.slice(-1) : []));
  const faults = last.filter(({ code, message }) => exitCodeOf(new CliError(code, message)) !== 1);
  const [worst] = [...faults, ...last];
  if (worst !== undefined)
    throw new CliError(
      worst.code,
      `${last.length} of ${results.length} VMs stay here; ${worst.to}: ${worst.message}`,
    );
  if (results.some(({ outcome }) => outcome === 'not-begun'))
    throw refused('interrupted: run it again to go on with what is left');
}
