import type { Command } from 'commander';
import type { Domain } from '../appraisal/domains.ts';
import type { PolicyDraft } from '../appraisal/policy-text.ts';
import { hex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import { leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { readText } from './files.ts';
import { fields, print, printJson } from './output.ts';

/** One difference: what it is about, before, after. */
interface Difference {
  readonly what: string;
  readonly before: string;
  readonly after: string;
}

/** `tvmmp policy diff`. */
export function addDiff(policy: Command): void {
  leaf(policy, {
    usage: 'diff <before> <after>',
    summary: 'what one policy says otherwise than another',
    description:
      'Compares two policies by what they say: id, version, PCRs, rules about hosts, and states with the PCRs in which they ' +
      'differ. Either may be a draft or signed; signatures are not looked at.',
    examples: [['tvmmp policy diff /etc/tvmmp/policy.json draft.json', 'Before it is signed.']],
  }).action(async (before: string, after: string, options: CommonOptions) => {
    const found = await differences(await readPolicyFile(before), await readPolicyFile(after));
    if (options.json === true) printJson(found);
    else if (found.length === 0) print('they say the same');
    else print(...fields(found.map(({ what, before: old, after: next }) => [what, `${old} -> ${next}`])));
  });
}

/** A draft, or what is in a signed policy, whose signature is not looked at. */
export async function readPolicyFile(file: string): Promise<PolicyDraft> {
  const { parsePolicyText } = await import('../appraisal/policy.ts');
  const { decodePolicy } = await import('./policy-view.ts');
  const text = readText(file, limits.policyEnvelopeBytesMax);
  return /"payloadType"/.test(text.slice(0, 256)) ? decodePolicy(text) : parsePolicyText(text);
}

async function differences(before: PolicyDraft, after: PolicyDraft): Promise<readonly Difference[]> {
  const { hostRuleMembers } = await import('../appraisal/host-rules.ts');
  const { domainText, escrowText, quarantineText, ruleText } = await import('./policy-view.ts');
  const others = ({ domains }: PolicyDraft): readonly Domain[] => domains?.others ?? [];
  const plain = [
    { what: 'id', before: before.id, after: after.id },
    { what: 'version', before: String(before.version), after: String(after.version) },
    { what: 'PCRs', before: before.pcrs.join(','), after: after.pcrs.join(',') },
    ...hostRuleMembers.map((what) => ({
      what,
      before: ruleText(before.rulesOfHosts?.[what]),
      after: ruleText(after.rulesOfHosts?.[what]),
    })),
    {
      what: 'quarantine',
      before: quarantineText(before.quarantine),
      after: quarantineText(after.quarantine),
    },
    {
      what: 'own domain',
      before: before.domains?.self ?? 'not named',
      after: after.domains?.self ?? 'not named',
    },
    ...[...new Set([...others(before), ...others(after)].map(({ name }) => name))].map((name) => ({
      what: `domain ${name}`,
      before: domainText(others(before).find((one) => one.name === name)),
      after: domainText(others(after).find((one) => one.name === name)),
    })),
    { what: 'escrow', before: escrowText(before.escrow), after: escrowText(after.escrow) },
  ];
  const names = new Set([...before.states, ...after.states].map(({ name }) => name));
  const states = [...names].map((name) => {
    const [old, next] = [before, after].map(({ states: all }) => all.find((one) => one.name === name)?.pcrs);
    const values = (pcrs: typeof old): string => {
      if (pcrs === undefined) return 'not approved';
      const other = pcrs === old ? next : old;
      const differing = [...pcrs].filter(
        ([pcr, value]) => hex(other?.get(pcr) ?? new Uint8Array()) !== hex(value),
      );
      if (other === undefined) return 'approved';
      return differing.map(([pcr, value]) => `PCR ${pcr} ${hex(value).slice(0, 16)}...`).join(', ');
    };
    return { what: `state ${name}`, before: values(old), after: values(next) };
  });
  return [...plain, ...states].filter((one) => one.before !== one.after);
}
