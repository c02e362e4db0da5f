import type { Command } from 'commander';
import { acceptRisk } from './accept-risk.ts';
import { askAgent } from './agent-client.ts';
import { leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { refused, usageError } from './exit.ts';
import type { Migration } from './migration.ts';
import { print, printJson, short } from './output.ts';
import { ProgressView } from './progress.ts';

interface ResolveOptions extends CommonOptions {
  readonly keepHere?: boolean;
  readonly giveUp?: boolean;
  readonly iAcceptTwoCopies?: boolean;
  readonly iAcceptLoss?: boolean;
}

type Outcome = 'keep' | 'give-up';

/** What may go wrong when the administrator is mistaken, and the option that accepts it; null: nothing can. */
function riskOf(outcome: Outcome, { role, state, peer }: Migration): { risk: string; option: string } | null {
  if (outcome === 'give-up')
    return {
      risk: `Where ${peer} does not have the VM, its vTPM is lost for good, with all that is sealed in it.`,
      option: '--i-accept-loss',
    };
  if (role === 'target' && state !== 'staged') return null;
  return {
    risk: `Where ${peer} has the VM, two hosts can run it: disks may be destroyed, and a later start on one of them is refused.`,
    option: '--i-accept-two-copies',
  };
}

/** `tvmmp migration resolve`. */
export function addResolve(migration: Command): void {
  leaf(migration, {
    usage: 'resolve <session>',
    summary: 'state the outcome of a migration whose other host does not answer',
    description:
      'Only where the other host is lost, or says something else: a migration ends by itself as soon as both hosts reach ' +
      'each other, so this asks once more first. Look at the other host before you state anything. --keep-here says ' +
      'that the VM stays on this host; at the source the proof gets an entry resolved, which names the host that was not ' +
      'heard. --give-up says that the VM is at the other host: key and vTPM state are destroyed here, and the VM has ' +
      'to be stopped first. Both ask for the name of the VM, or for the option that accepts the risk.',
    examples: [
      ['tvmmp migration resolve 5f3a9c01 --keep-here', 'The destination is lost, and the VM runs here.'],
      [
        'tvmmp migration resolve 5f3a9c01 --give-up --i-accept-loss',
        'It runs at the other host; asks nothing.',
      ],
    ],
    configured: true,
  })
    .option('--keep-here', 'the VM stays on this host')
    .option('--give-up', 'the VM is at the other host; destroy what this host has of it')
    .option('--i-accept-two-copies', 'do not ask: the risk of --keep-here')
    .option('--i-accept-loss', 'do not ask: the risk of --give-up')
    .action(resolve);
}

async function resolve(session: string, options: ResolveOptions): Promise<void> {
  if ((options.keepHere === true) === (options.giveUp === true))
    throw usageError('say one of --keep-here and --give-up');
  const outcome = options.keepHere === true ? 'keep' : 'give-up';
  const found = (await askAgent(options, 'migration.show', { session })) as Migration;
  if (found.outcomes.length === 0)
    throw refused(`this migration is ${found.state}: ${found.meaning}; there is nothing to resolve`);
  await accept(outcome, found, options);
  const view = new ProgressView({ silent: options.json === true });
  try {
    const params = { session: found.id, outcome, accepted: true };
    const after = (await askAgent(options, 'migration.resolve', params, (progress) => {
      view.show(progress);
    })) as Migration;
    view.end();
    if (options.json === true) printJson(after);
    else print(`${found.name ?? found.vm}: ${after.state}: ${after.meaning}`);
    const expected =
      outcome === 'keep' ? ['resolved', 'arriving', 'arrived', 'done'] : ['given-up', 'aborted'];
    if (!expected.includes(after.state))
      throw refused(
        `it is ${after.state}, not ${expected[0] ?? ''}: tvmmp migration show ${short(after.id)}`,
      );
  } finally {
    view.end();
  }
}

async function accept(outcome: Outcome, found: Migration, options: ResolveOptions): Promise<void> {
  const stated = riskOf(outcome, found);
  if (stated === null) return;
  await acceptRisk({
    ...stated,
    accepted: (outcome === 'keep' ? options.iAcceptTwoCopies : options.iAcceptLoss) === true,
    first: `Look at ${found.peer} first.`,
    name: found.name ?? found.vm,
    json: options.json === true,
  });
}
