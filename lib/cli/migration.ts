import type { Command } from 'commander';
import { askAgent } from './agent-client.ts';
import { leaf, noun, positiveInteger } from './command.ts';
import type { CommonOptions } from './command.ts';
import { addResolve } from './migration-resolve.ts';
import { bytesText, fields, paint, print, printJson, short, table, timeText } from './output.ts';

/** A migration as the agent tells of it (lib/agent/migration-methods.ts). */
export interface Migration {
  readonly id: string;
  readonly vm: string;
  /** Null where this host knows the VM no more. */
  readonly name: string | null;
  readonly vmState: string | null;
  readonly role: 'source' | 'target';
  readonly state: string;
  readonly peer: string;
  readonly address: string;
  readonly started: number;
  readonly updated: number;
  readonly problem: string;
  readonly waitsFor: 'peer' | 'this-host' | 'administrator' | 'nobody';
  readonly meaning: string;
  /** What an administrator can state about it: keep, give-up. */
  readonly outcomes: readonly string[];
}

interface MigrationInDetail extends Migration {
  readonly steps: readonly { readonly time: number; readonly state: string; readonly note: string }[];
  /** Base64. */
  readonly setAside: readonly string[];
}

interface ListOptions extends CommonOptions {
  readonly count: number;
  readonly open?: boolean;
}

/** `tvmmp migration`. */
export function addMigration(program: Command): void {
  const migration = noun(
    program,
    'migration',
    'see migrations, under way and past, and resolve one that cannot end',
    'Every run of the protocol that this host took part in, as source or as target.',
  );
  addList(migration);
  addShow(migration);
  addResolve(migration);
}

function addList(migration: Command): void {
  leaf(migration, {
    usage: 'list',
    summary: 'migrations that this host took part in, the last one first',
    description:
      'Shows when each began and was last worked on, its VM, our role, its state and the other host. An unfinished one ' +
      'is taken up again whenever the hosts reach each other; what keeps it from ending stands below it.',
    examples: [
      ['tvmmp migration list', 'The last 20.'],
      ['tvmmp migration list --open', 'Those that are not over, or that two hosts disagree about.'],
      ['tvmmp migration list --count 200 --json', 'More of them, with whole session ids.'],
    ],
    configured: true,
  })
    .option('--count <number>', 'how many', positiveInteger, 20)
    .option('--open', 'only those that wait for something')
    .action(async (options: ListOptions) => {
      const all = (await askAgent(options, 'migrations')) as readonly Migration[];
      const wanted = all.filter(({ waitsFor }) => options.open !== true || waitsFor !== 'nobody');
      const last = [...wanted].sort((a, b) => b.started - a.started).slice(0, options.count);
      if (options.json === true) printJson(last);
      else print(...(last.length === 0 ? ['no migration'] : listText(last)));
    });
}

function listText(migrations: readonly Migration[]): readonly string[] {
  const rows = migrations.map(({ id, vm, name, role, state, peer, address, started, updated }) => [
    timeText(started),
    timeText(updated),
    role,
    state,
    peer === '' ? address : peer,
    short(id),
    name ?? vm,
  ]);
  const [heading = '', ...lines] = table(
    ['BEGAN', 'LAST STEP', 'ROLE', 'STATE', 'PEER', 'SESSION', 'VM'],
    rows,
  );
  return [
    heading,
    ...lines.flatMap((line, index) => {
      const problem = migrations[index]?.problem ?? '';
      return problem === '' ? [line] : [line, `  ${paint('yellow', problem)}`];
    }),
  ];
}

function addShow(migration: Command): void {
  leaf(migration, {
    usage: 'show <session>',
    summary: 'one migration: where it stands, what it waits for, every step',
    description:
      'Explains the state of one migration, on whom it waits, what keeps it from ending, what recovery has done, and ' +
      'what can be done about it. <session> is the beginning of its id, or a VM for its latest one.',
    examples: [
      ['tvmmp migration show 5f3a9c01', 'By the beginning of its id (tvmmp migration list).'],
      ['tvmmp migration show web --json', 'The latest of a VM, for scripts.'],
    ],
    configured: true,
  }).action(async (session: string, options: CommonOptions) => {
    const shown = (await askAgent(options, 'migration.show', { session })) as MigrationInDetail;
    if (options.json === true) printJson(shown);
    else print(...showText(shown));
  });
}

const waiting: Readonly<Record<Migration['waitsFor'], string>> = {
  peer: 'the other host',
  'this-host': 'this host: its libvirt or TPM',
  administrator: 'an administrator',
  nobody: 'nothing',
};

function showText(one: MigrationInDetail): readonly string[] {
  const { id, vm, name, vmState, role, state, peer, address, problem, meaning, outcomes, setAside } = one;
  const evidence = setAside.reduce((sum, entry) => sum + Buffer.from(entry, 'base64').length, 0);
  return [
    ...fields([
      ['session', id],
      ['VM', `${name ?? vm} (${vmState ?? 'unknown here'})`],
      ['role', role],
      ['peer', peer === '' ? `not known by name, ${address}` : `${peer}, reached at ${address}`],
      ['state', `${state}: ${meaning}`],
      ['waits for', waiting[one.waitsFor]],
      ...(problem === '' ? [] : [['problem', paint('yellow', problem)] as const]),
      ...(setAside.length === 0
        ? []
        : [
            [
              'set aside',
              `${setAside.length} entries that this host signed (${bytesText(evidence)})`,
            ] as const,
          ]),
    ]),
    '',
    ...table(
      ['WHEN (UTC)', 'STATE', 'WHAT'],
      one.steps.map((step) => [timeText(step.time), step.state, step.note]),
    ),
    ...(outcomes.length === 0
      ? []
      : [
          '',
          `without the other host: tvmmp migration resolve ${short(id)} --keep-here | --give-up (see --help)`,
        ]),
  ];
}
