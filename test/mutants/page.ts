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

Where two defences stand behind each other, the mutant takes both, and says so: either alone would hold. Some defences have no mutant here:

- what no test can tell apart: that SQLite writes through to the disk, that locked memory is not swapped, deadlines by the real clock;
- the kind of entry that *arrived* and *departed* have to be (\`lib/migration/arrival.ts\`, \`target-entries.ts\`): the chain lets no other kind of another host follow, which has mutants (\`chain/...\`, \`departed/...\`);
- \`assertFor\` where a target stages: nothing happens between it and the appraisal; the types want it;
- TPMs’ own policy checks and key attributes: \`seal/...\`, \`peer/receive-key-policy\` and \`enrolment/...\` take away what asks for them;
- the formal models’ defences: they have their own mutants (\`test/formal/README.md\`).

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
