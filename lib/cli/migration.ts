import type { Command } from 'commander';
import { askAgent } from './agent-client.ts';
import { leaf, noun, positiveInteger } from './command.ts';
import type { CommonOptions } from './command.ts';
import { print, printJson, short, table, timeText } from './output.ts';

interface Migration {
  readonly id: string;
  readonly vm: string;
  readonly role: string;
  readonly state: string;
  readonly peer: string;
  readonly address: string;
  readonly started: number;
  readonly updated: number;
}

/** `tvmmp migration`. */
export function addMigration(program: Command): void {
  const migration = noun(
    program,
    'migration',
    'see migrations, under way and past',
    'Every run of the protocol that this host took part in, as source or as target.',
  );
  leaf(migration, {
    usage: 'list',
    summary: 'migrations that this host took part in, the last one first',
    description:
      'Shows when each began and was last worked on, its VM, our role, its state and the other host. An unfinished one ' +
      'is taken up again whenever the hosts reach each other.',
    examples: [
      ['tvmmp migration list', 'The last 20.'],
      ['tvmmp migration list --count 200 --json', 'More of them, with whole session ids.'],
    ],
    configured: true,
  })
    .option('--count <number>', 'how many', positiveInteger, 20)
    .action(async (options: CommonOptions & { readonly count: number }) => {
      const all = (await askAgent(options, 'migrations')) as readonly Migration[];
      const last = [...all].sort((a, b) => b.started - a.started).slice(0, options.count);
      if (options.json === true) printJson(last);
      else print(...(last.length === 0 ? ['no migration yet'] : migrationTable(last)));
    });
}

function migrationTable(migrations: readonly Migration[]): readonly string[] {
  const rows = migrations.map(({ id, vm, role, state, peer, address, started, updated }) => [
    timeText(started),
    timeText(updated),
    role,
    state,
    peer === '' ? address : peer,
    short(id),
    vm,
  ]);
  return table(['BEGAN', 'LAST STEP', 'ROLE', 'STATE', 'PEER', 'SESSION', 'VM'], rows);
}
