import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import type { LogRules } from '../appraisal/log-rules.ts';
import type { PolicyDraft } from '../appraisal/policy-text.ts';
import type { QuarantineRule } from '../appraisal/quarantine-rule.ts';
import type { Reference } from '../appraisal/reference.ts';
import { limits } from '../limits.ts';
import { collect, leaf, pcrList, positiveInteger } from './command.ts';
import type { CommonOptions } from './command.ts';
import { usageError } from './exit.ts';
import { emit } from './files.ts';
import { readState, restrictTo } from './measured-state.ts';
import { readReferences } from './reference.ts';

/** What can be filled in from references. */
const RULES = [
  'secureBoot',
  'keys',
  'firmware',
  'drivers',
  'images',
  'commandLines',
  'bootFiles',
  'ima',
] as const;

interface NewOptions extends CommonOptions {
  readonly output?: string;
  readonly id: string;
  readonly version: number;
  readonly pcrs: readonly number[];
  readonly state?: readonly string[];
  readonly reference?: readonly string[];
  readonly rules: readonly string[];
  readonly quarantine?: QuarantineRule;
}

/** `tvmmp policy new`. */
export function addNew(policy: Command): void {
  leaf(policy, {
    usage: 'new',
    summary: 'write a draft from measured states',
    description:
      'Puts states that tvmmp host measure --json wrote together into a draft. A state has the name that is in its file. ' +
      'With --reference states come from reference values too, and with --rules the values of rules about logs. ' +
      'The draft is JSON; edit it as you like before it is signed.',
    examples: [
      [
        'tvmmp policy new --id fleet --version 1 --pcrs 0-7 --state alpha.json --state beta.json -o draft.json',
        'Two hosts, each as it is now.',
      ],
      [
        'tvmmp policy new --id fleet --version 2 --reference alpha.json --rules secureBoot,images,commandLines,ima -o draft.json',
        'What tvmmp reference capture wrote.',
      ],
      [
        'tvmmp policy new --id fleet --version 3 --state alpha.json --quarantine 300:trusted -o draft.json',
        'Hosts appraise themselves every five minutes; the VMs of one that fails may leave to hosts that are trusted.',
      ],
    ],
  })
    .requiredOption('--id <id>', 'what the policy is called; it stays for all its versions')
    .requiredOption(
      '--version <number>',
      'its version, above that of the policy it replaces',
      positiveInteger,
    )
    .option('--state <file>', 'output of tvmmp host measure --json; may be given several times', collect)
    .option('--reference <file>', 'reference values; may be given several times', collect)
    .option(
      '--rules <list>',
      `what of the references becomes rules: ${RULES.join(', ')}`,
      (list: string) => list.split(','),
      [],
    )
    .option(
      '--quarantine <seconds[:leave]>',
      'hosts appraise themselves at least so often; VMs of one that fails leave: never, trusted (default: never)',
      quarantineRule,
    )
    .option('--pcrs <list>', 'the PCRs that count', pcrList, pcrList('0-7'))
    .option('-o, --output <file>', 'write it there instead of to standard output')
    .action(async (options: NewOptions) => {
      const { formatPolicyDraft, parsePolicyText } = await import('../appraisal/policy.ts');
      const { id, version, pcrs, quarantine } = options;
      if (options.state === undefined && options.reference === undefined)
        throw usageError('a policy needs a state: give --state or --reference');
      const states = (options.state ?? []).map((file) => restrictTo(readState(file), pcrs));
      checkRules(options);
      const bare = { id, version, pcrs, states, ...(quarantine === undefined ? {} : { quarantine }) };
      const text = formatPolicyDraft(
        options.reference === undefined ? bare : await filledFrom(options.reference, options.rules, bare),
      );
      parsePolicyText(text);
      emit(text, options.output);
    });
}

/** `300`, or `300:trusted`, for commander (SPEC 16). */
function quarantineRule(value: string): QuarantineRule {
  const { selfAppraisalSecondsMin: least, selfAppraisalSecondsMax: most } = limits;
  const [, digits, leave = 'never'] = /^(\d{1,6})(?::(never|trusted))?$/.exec(value) ?? [];
  const everySeconds = Number(digits);
  if (digits === undefined || everySeconds < least || everySeconds > most)
    throw new InvalidArgumentError(
      `It is ${least} to ${most} seconds, and :never or :trusted after them, as in 300:trusted.`,
    );
  return { everySeconds, leave: leave === 'trusted' ? 'trusted' : 'never' };
}

function checkRules({ rules, reference }: NewOptions): void {
  const unknown = rules.find((name) => !(RULES as readonly string[]).includes(name));
  if (unknown !== undefined) throw usageError(`--rules knows ${RULES.join(', ')}, not ${unknown}`);
  if (rules.length > 0 && reference === undefined)
    throw usageError('--rules needs --reference: where values come from');
}

/** A draft with what the references hold for it. */
async function filledFrom(
  files: readonly string[],
  names: readonly string[],
  draft: PolicyDraft,
): Promise<PolicyDraft> {
  const { fillPolicy } = await import('../appraisal/reference-merge.ts');
  const reference = await readReferences(files, null);
  return fillPolicy(
    names.length === 0 ? draft : { ...draft, rules: emptyRules(names, reference) },
    reference,
  );
}

/** Rules that are there and hold nothing yet, as `--rules` names them. */
function emptyRules(rules: readonly string[], { eventLog: from = {}, ima }: Reference): LogRules {
  const { keys = {}, secureBoot, ...lists } = from;
  const named = Object.keys(lists).concat(
    secureBoot === undefined ? [] : 'secureBoot',
    'keys',
    ima === undefined ? [] : 'ima',
  );
  const missing = rules.find(
    (name) => !named.includes(name) || (name === 'keys' && Object.keys(keys).length === 0),
  );
  if (missing !== undefined) throw usageError(`the references hold nothing for the rule ${missing}`);
  const eventLog = {
    ...(rules.includes('secureBoot') && secureBoot !== undefined ? { secureBoot } : {}),
    ...(rules.includes('keys')
      ? { keys: Object.fromEntries(Object.keys(keys).map((name) => [name, []])) }
      : {}),
    ...Object.fromEntries(
      Object.keys(lists)
        .filter((name) => rules.includes(name))
        .map((name) => [name, []]),
    ),
  };
  const excluded = ima?.excluded;
  return {
    ...(Object.keys(eventLog).length === 0 ? {} : { eventLog }),
    ...(rules.includes('ima') ? { ima: { files: {}, ...(excluded === undefined ? {} : { excluded }) } } : {}),
  };
}
