import type { Command } from 'commander';
import type { Domain } from '../appraisal/domains.ts';
import type { HostRule } from '../appraisal/host-rules.ts';
import { limits } from '../limits.ts';
import { leaf, positiveInteger } from './command.ts';
import type { CommonOptions } from './command.ts';
import { usageError } from './exit.ts';
import { emit, readText } from './files.ts';

interface DomainOptions extends CommonOptions {
  readonly self?: string;
  readonly bundle?: string;
  readonly policyId?: string;
  readonly policyVersion?: number;
  readonly forward?: string | true;
  readonly backward?: string | true;
  readonly remove?: boolean;
  readonly output?: string;
}

/** `tvmmp policy domain`. */
export function addDomain(policy: Command): void {
  leaf(policy, {
    usage: 'domain <draft> <name>',
    summary: 'name another domain in a draft',
    description:
      'Writes the draft with another authority in it: whose hosts may receive VMs from here (--forward) and give VMs to here ' +
      '(--backward), each with a condition over their attributes or none. Without both its hosts are believed in proofs, and ' +
      'get and give nothing. The bundle is what tvmmp authority bundle prints there. The ' +
      'other policy has to say the same of this domain. A domain that is named already is replaced.',
    examples: [
      [
        "tvmmp policy domain draft.json partner --self acme --bundle partner.json --policy-id partner --policy-version 4 --forward 'level >= 3' --backward -o draft.json",
        'VMs may go there and come back.',
      ],
      ['tvmmp policy domain draft.json partner --remove -o draft.json', 'No more.'],
    ],
  })
    .option('--self <name>', 'what the policy calls its own domain; stays where it has said so before')
    .option('--bundle <file>', "the other authority's bundle")
    .option('--policy-id <id>', 'id of the policy that its hosts have to have')
    .option('--policy-version <number>', 'its lowest version', positiveInteger)
    .option('--forward [condition]', 'its hosts may receive VMs')
    .option('--backward [condition]', 'its hosts may give VMs')
    .option('--remove', 'take the domain out')
    .option('-o, --output <file>', 'write it there instead of to standard output')
    .action(write);
}

async function write(draftFile: string, name: string, options: DomainOptions): Promise<void> {
  const { formatPolicyDraft, parsePolicyText } = await import('../appraisal/policy.ts');
  const { domains, ...draft } = parsePolicyText(readText(draftFile, limits.policyBytesMax));
  const before = domains?.others ?? [];
  const rest = before.filter((other) => other.name !== name);
  if (options.remove === true && rest.length === before.length)
    throw usageError(`the draft names no domain ${name}`);
  const others = options.remove === true ? rest : [...rest, await domainFrom(name, options)];
  const self = options.self ?? domains?.self;
  if (self === undefined) throw usageError('say --self: what the policy calls its own domain');
  const text = formatPolicyDraft({ ...draft, ...(others.length === 0 ? {} : { domains: { self, others } }) });
  parsePolicyText(text);
  emit(text, options.output);
}

async function domainFrom(name: string, options: DomainOptions): Promise<Domain> {
  const { parseBundle } = await import('../authority/bundle.ts');
  const { bundle, policyId, policyVersion, forward, backward } = options;
  if (bundle === undefined || policyId === undefined || policyVersion === undefined)
    throw usageError('a domain needs --bundle, --policy-id and --policy-version');
  const { root, signer } = parseBundle(readText(bundle, 4 * limits.certificateBytesMax), new Date());
  return {
    name,
    root,
    policyKey: signer.spki,
    policy: { id: policyId, version: policyVersion },
    rules: {
      ...(forward === undefined ? {} : { forward: ruleOf(forward) }),
      ...(backward === undefined ? {} : { backward: ruleOf(backward) }),
    },
  };
}

function ruleOf(condition: string | true): HostRule {
  return condition === true ? {} : { attributes: condition };
}
