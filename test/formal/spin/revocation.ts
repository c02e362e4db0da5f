/** Rows of `npm run formal` about revocation lists that hosts bring to each other (SPEC 1.3). */
import { fileURLToPath } from 'node:url';
import type { Check, CheckResult } from '../check.ts';
import { search } from './pan.ts';

const model = fileURLToPath(new URL('revocation.pml', import.meta.url));

/** The properties by the names that pan gives them. */
type Property = 'revoked accepted' | 'behind accepted' | 'went back' | 'forged';
const properties: Readonly<Record<Property, { readonly bit: number; readonly says: string }>> = {
  'revoked accepted': { bit: 1, says: 'no host accepts one that either knows to be revoked' },
  'behind accepted': { bit: 2, says: 'no host accepts one that keeps its newer list back' },
  'went back': { bit: 4, says: 'no host takes a list that is older than one it had' },
  forged: { bit: 8, says: 'no host takes a list that the authority did not sign' },
};

const mutants: readonly {
  readonly without: string;
  readonly switch: string;
  readonly breaks: Property;
  readonly attack: string;
}[] = [
  {
    without: 'comparison of versions',
    switch: 'MUTANT_ROLLBACK',
    breaks: 'went back',
    attack: 'somebody on the way brings the list from before a host was revoked',
  },
  {
    without: 'the signature of the list',
    switch: 'MUTANT_UNSIGNED',
    breaks: 'forged',
    attack:
      'a revoked host makes a list of a high version that does not name it, and every later one is refused',
  },
  {
    without: 'the check at appraisal',
    switch: 'MUTANT_NO_CHECK',
    breaks: 'revoked accepted',
    attack: 'a revoked host is given the VM, or gives one',
  },
  {
    without: 'the announced version at appraisal',
    switch: 'MUTANT_ANNOUNCED_UNCHECKED',
    breaks: 'revoked accepted',
    attack:
      'the newer list, which names the peer, is lost on its way, and the peer is accepted under the older one',
  },
];

async function answer(switches: readonly string[]): Promise<CheckResult> {
  const { violated, seconds } = await search({ model, switches });
  return { found: violated === null ? 'holds' : `violated: ${violated}`, seconds };
}

/** One search answers for all properties; one more shows that a list does spread. */
export function revocationChecks(): readonly Check[] {
  let whole: Promise<CheckResult> | null = null;
  const base = Object.values(properties).map(({ says: query }, index): Check => ({
    tool: 'spin',
    model: 'revocation lists',
    query,
    expected: 'holds',
    run: async () => {
      const { found, seconds } = await (whole ??= answer([]));
      return { found, seconds: index === 0 ? seconds : 0 };
    },
  }));
  const reached: Check = {
    tool: 'spin',
    model: 'revocation lists',
    query: 'a list comes to a host from a peer',
    expected: 'reached',
    run: async () => {
      const { found, seconds } = await answer(['LOOK_FOR_SPREAD']);
      return { found: found === 'violated: spread' ? 'reached' : found, seconds };
    },
  };
  return [
    ...base,
    reached,
    ...mutants.map((mutant): Check => ({
      tool: 'spin',
      model: `revocation lists without: ${mutant.without}`,
      query: properties[mutant.breaks].says,
      expected: `violated: ${mutant.breaks}`,
      attack: mutant.attack,
      run: () => answer([mutant.switch, `ONLY=${properties[mutant.breaks].bit}`]),
    })),
  ];
}
