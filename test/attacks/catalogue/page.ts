/** The catalogue as tables of Markdown: test/attacks/README.md, and the attack index of SECURITY.md. */
import { dimensions } from './attack.ts';
import type { Attack } from './attack.ts';
import { attacks } from './catalogue.ts';

const head = `# Attacks

What an attacker of a migration can try, in the 24 rows of a catalogue that was collected from papers on vTPM migration, from today's systems and from advisories; what stands against each, and the
tests that show it. The tests attack real agents, libvirt, QEMU and swtpm in the lab, or, where that is not possible, the real code.

\`npm run attacks\` runs all tests that are named here and prints a table of attack, defence and outcome; \`npm run attacks -- --row 8\` those of one row. It needs root, as the lab does.

This page is written by \`npm run attacks -- --write\` from the catalogue in \`test/attacks/catalogue/\`; a test holds that it is, that every row is here, and that every test it names exists.
`;

/** test/attacks/README.md. */
export function indexPage(): string {
  return `${head}
| Row | Attack | Defence | SPEC | Tests | Model queries |
|---|---|---|---|---|---|
${attacks.map((attack) => line(String(attack.row), attack.attack, defence(attack), attack.spec, namedTests(attack), queries(attack))).join('\n')}
`;
}

/** The rows of SECURITY.md's attack index: attacks by X.805 dimension. */
function dimensionTable(): string {
  const rows = dimensions.flatMap((dimension) =>
    attacks
      .filter((attack) => attack.dimensions.includes(dimension))
      .map((attack, index) =>
        line(
          index === 0 ? `**${dimension}**` : '',
          `${attack.row}: ${attack.attack}`,
          attack.tests.length === 0 ? (attack.limit ?? '') : `${attack.defence} (SPEC ${attack.spec})`,
          queries(attack),
          attack.tests.map(({ file }) => `\`${file}\``).join(', ') || 'none',
        ),
      ),
  );
  return [
    '| Dimension | Row and attack | Defence | Model queries | Tests |',
    '|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}

const marks = ['<!-- attacks: written by npm run attacks -- --write -->', '<!-- /attacks -->'] as const;

/** A document with the table between its marks written anew. Throws where the marks are not there. */
export function withDimensionTable(document: string): string {
  const [begin, end] = marks.map((mark) => document.indexOf(mark));
  if (begin === undefined || end === undefined || begin < 0 || end < begin)
    throw new Error('no marks for the table');
  return `${document.slice(0, begin)}${marks[0]}\n${dimensionTable()}\n${document.slice(end)}`;
}

function line(...cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

function defence({ defence: text, limit }: Attack): string {
  return limit === undefined ? text : `${text}<br>*${limit}*`;
}

function namedTests({ tests }: Attack): string {
  return (
    tests
      .map(({ file, titles }) => `\`${file}\`: ${titles.map((title) => `“${title}”`).join(', ')}`)
      .join('<br>') || 'none'
  );
}

function queries({ queries: named = [] }: Attack): string {
  return named.map((query) => `\`${query}\``).join(', ') || '–';
}
