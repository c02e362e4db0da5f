import type { Command } from 'commander';
import type { DepartureSummary } from '../migration/departure.ts';
import { askAgent } from './agent-client.ts';
import type { VmSummary } from './agent-client.ts';
import { leaf, positiveInteger } from './command.ts';
import type { CommonOptions } from './command.ts';
import { bytesText, durationText, fields, print, printJson, short } from './output.ts';
import { ProgressView } from './progress.ts';

interface MigrateOptions extends CommonOptions {
  readonly agent?: string;
  readonly uri?: string;
  readonly migrateUri?: string;
  readonly bandwidth?: number;
}

/** `tvmmp migrate`. */
export function addMigrate(program: Command): void {
  leaf(program, {
    usage: 'migrate <vm> <destination>',
    summary: 'move a running VM to another host',
    description:
      'Checks what can be checked here, has both hosts attest themselves to each other, and moves the VM live, with ' +
      'TLS, peer to peer, leaving no definition behind. What is refused leaves the VM running where it is. ' +
      '<destination> is the name of the other host; libvirt and the agent are reached there under that name unless ' +
      'said otherwise. Interrupting this command does not interrupt the migration.',
    examples: [
      ['tvmmp migrate web beta', 'To the host beta.'],
      ['tvmmp migrate web beta --bandwidth 200', 'With at most 200 MiB/s.'],
      [
        'tvmmp migrate web beta --uri qemu+ssh://root@beta/system --agent beta.mgmt:16515',
        'Where libvirt and the agent of beta are reached in another way.',
      ],
    ],
    configured: true,
  })
    .option('--agent <host:port>', "the destination's agent (default: <destination>:16515)")
    .option('--uri <uri>', "the destination's libvirt (default: libvirt.migrationUri of the configuration)")
    .option('--migrate-uri <uri>', 'where the memory goes (default: tcp://<destination>)')
    .option('--bandwidth <MiB/s>', 'an upper bound', positiveInteger)
    .action(migrate);
}

async function migrate(vm: string, destination: string, options: MigrateOptions): Promise<void> {
  const view = new ProgressView({ silent: options.json === true });
  const leave = (): void => {
    view.end();
    process.stderr.write('tvmmp: the migration goes on without this command; see tvmmp migration list\n');
    process.exit(130);
  };
  process.once('SIGINT', leave);
  try {
    const { agent, uri, migrateUri, bandwidth } = options;
    const params = { vm, destination, agent, uri, migrateUri, bandwidth };
    const moved = (await askAgent(options, 'migrate', params, (progress) => {
      view.show(progress);
    })) as DepartureSummary;
    view.end();
    const vms = (await askAgent(options, 'vm.list')) as readonly VmSummary[];
    const known = vms.find(({ name, uuid }) => name === moved.vm || uuid === vm);
    const proof =
      known === undefined ? null : { entries: known.entries, epoch: known.epoch, head: known.head };
    if (options.json === true) printJson({ ...moved, proof });
    else print(...summaryText(moved, known));
  } finally {
    view.end();
    process.removeListener('SIGINT', leave);
  }
}

function summaryText(moved: DepartureSummary, known: VmSummary | undefined): readonly string[] {
  const proof =
    known === undefined
      ? 'tvmmp proof show'
      : `${known.entries} entries, epoch ${known.epoch}, held by ${known.holder}, head ${short(known.head)}`;
  return [
    `${moved.vm} moved from ${moved.from} to ${moved.to}`,
    ...fields([
      ['  total', durationText(moved.totalMs)],
      ['  downtime', durationText(moved.downtimeMs)],
      ['  data', bytesText(moved.dataBytes)],
      ['  proof', proof],
      [
        '  source copy',
        moved.departed
          ? 'destroyed, and departed is signed'
          : 'not destroyed yet: the agents go on with it (tvmmp migration list)',
      ],
    ]),
  ];
}
