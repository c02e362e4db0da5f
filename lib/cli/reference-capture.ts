import { existsSync } from 'node:fs';
import { hostname, release } from 'node:os';
import type { Command } from 'commander';
import type { DraftState } from '../appraisal/policy-text.ts';
import { limits } from '../limits.ts';
import { AgentDown, askAgent } from './agent-client.ts';
import { collect, configOf, leaf, pcrList } from './command.ts';
import type { CommonOptions } from './command.ts';
import { usageError } from './exit.ts';
import { readInput } from './files.ts';
import { withTpm } from './host.ts';
import { readState, stateOf } from './measured-state.ts';
import { writeReference } from './reference.ts';

interface CaptureOptions extends CommonOptions {
  readonly name?: string;
  readonly state?: string;
  readonly eventLog?: string;
  readonly ima?: string;
  readonly exclude?: readonly string[];
  readonly output?: string;
}

/** PCRs that the firmware, the boot loader and IMA extend. */
const PCRS = pcrList('0-10');

/** `tvmmp reference capture`. */
export function addCapture(reference: Command): void {
  leaf(reference, {
    usage: 'capture',
    summary: 'take reference values from a known-good host',
    description:
      "Reads this host's PCRs, event log, IMA list and versions, checks that the logs lead to the PCRs, and writes what rules " +
      '(SPEC 10.2) need: Secure Boot and its keys, firmware, boot loader, kernel, command line, files. With --state it is the ' +
      'recorded measurements and logs of another host. What a rule could not believe is left out, and said; what ran by mistake is ' +
      'captured like the rest: look at the result.',
    examples: [
      ['tvmmp reference capture --exclude "/tmp/**" -o alpha.json', 'This host, as root.'],
      [
        'tvmmp reference capture --state alpha-state.json --event-log boot.log --ima ima.list -o alpha.json',
        'Recorded: tvmmp host measure --pcrs 0-10 --json, and copies of the logs.',
      ],
    ],
    configured: true,
  })
    .option(
      '--name <name>',
      "what its state is called (default: this host's name, or that of the recorded state)",
    )
    .option('--state <file>', 'output of tvmmp host measure --json, made before the logs were copied')
    .option('--event-log <file>', "event log (default: the kernel's)")
    .option('--ima <file>', "IMA list (default: the kernel's)")
    .option(
      '--exclude <pattern>',
      'paths that may have any contents (* is anything but /, ** anything); may be given several times',
      collect,
    )
    .option('-o, --output <file>', 'write it there instead of to standard output')
    .action(capture);
}

async function capture(options: CaptureOptions): Promise<void> {
  const { captureReference } = await import('../appraisal/reference-capture.ts');
  const { exclude = [] } = options;
  const state = await stateFrom(options);
  const logs = logFiles(options);
  if (logs.eventLog === undefined && logs.ima === undefined && options.state === undefined)
    throw usageError(`there is neither an event log nor an IMA list: ${logs.notes.join(', ')}`);
  const { notes, ...rules } = captureReference({
    pcrs: state.pcrs,
    excluded: exclude,
    ...(logs.eventLog === undefined ? {} : { eventLog: readInput(logs.eventLog, limits.eventLogBytesMax) }),
    ...(logs.ima === undefined ? {} : { ima: readInput(logs.ima, limits.imaListBytesMax) }),
  });
  const versions = options.state === undefined ? await versionsHere(options) : {};
  const source = { name: state.name, kind: 'host', time: new Date(), versions } as const;
  await writeReference({ sources: [source], states: [state], ...rules }, options, [...logs.notes, ...notes]);
}

async function stateFrom(options: CaptureOptions): Promise<DraftState> {
  if (options.state !== undefined) {
    const { name, pcrs } = readState(options.state);
    return { name: options.name ?? name, pcrs };
  }
  const read = await withTpm(configOf(options).tpm.tcti, (tpm) =>
    tpm.readPcrs([{ bank: 'sha256', pcrs: PCRS }]),
  );
  return stateOf(options.name ?? hostname(), read.values);
}

/** Which logs to read, and which there are not. PCRs are read first: logs only grow. */
function logFiles(options: CaptureOptions): {
  readonly eventLog?: string;
  readonly ima?: string;
  readonly notes: readonly string[];
} {
  const notes: string[] = [];
  const { logs } = configOf(options);
  const own = (file: string, what: string): string | undefined => {
    if (options.state !== undefined) return undefined;
    if (existsSync(file)) return file;
    notes.push(`no ${what} at ${file}`);
    return undefined;
  };
  const eventLog = options.eventLog ?? own(logs.eventLog, 'event log');
  const ima = options.ima ?? own(logs.ima, 'IMA list');
  return { ...(eventLog === undefined ? {} : { eventLog }), ...(ima === undefined ? {} : { ima }), notes };
}

/** What the agent tells its peers; without it, the kernel alone. */
async function versionsHere(options: CommonOptions): Promise<Readonly<Record<string, string>>> {
  try {
    const { versions } = (await askAgent(options, 'status')) as {
      versions: Readonly<Record<string, string>>;
    };
    return versions;
  } catch (error) {
    if (!(error instanceof AgentDown)) throw error;
    return { kernel: release() };
  }
}
