/** test/mutants/README.md: the list of mutants, and what became of each when it was last tried. */
import { mutants } from './mutants.ts';

/** `killed`: its test failed, as it must. `survived`: nothing noticed. `broken`: it does not compile, or its test is not sound. */
export type Outcome = 'killed' | 'survived' | 'broken';

/** An outcome and the day (UTC) of its run. */
export interface Tried {
  readonly outcome: Outcome;
  readonly date: string;
}

const head = `# Mutants

Every defence in the code, taken out one at a time, and the one test that must fail without it. \`npm run mutants\` does so in a copy of the repository, runs that test alone, and prints what became of it: *killed*
(the test failed), *survived* (nobody noticed) or *broken* (it does not compile, or its test does not pass without it). \`-- --unit\`, \`-- --native\` and \`-- --lab\` choose the level, \`-- --only NAME\` one mutant or those of a prefix. Mutants
of the lab need root and about a minute each; native ones are compiled.

\`-- --write\` puts the outcomes into this page. A test holds that each text occurs exactly once in its file, that each test exists, and that this page has the list.
`;

/** The page with these outcomes. */
export function outcomesPage(tried: ReadonlyMap<string, Tried>): string {
  const rows = mutants.map(({ name, defence, spec, file, test }) => {
    const { outcome, date } = tried.get(name) ?? { outcome: 'not tried', date: '' };
    const cells = [
      `\`${name}\``,
      defence,
      spec,
      `\`${file}\``,
      `\`${test.file}\`: “${test.title}”`,
      `${outcome} ${date}`,
    ];
    return `| ${cells.map((cell) => cell.trim().replaceAll('|', '\\|')).join(' | ')} |`;
  });
  return `${head}
| Mutant | Defence that it takes away | SPEC | File | Test that fails | Outcome |
|---|---|---|---|---|---|
${rows.join('\n')}
`;
}

/** The outcomes that a page has. */
export function readOutcomes(text: string): ReadonlyMap<string, Tried> {
  const found = text.matchAll(/^\| `([\w/-]+)` \|.* \| (killed|survived|broken) (\d{4}-\d\d-\d\d) \|$/gm);
  return new Map(
    [...found].map(([, name = '', outcome, date = '']) => [name, { outcome: outcome as Outcome, date }]),
  );
}
