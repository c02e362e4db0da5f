/** The table of `npm run formal`: one row a check, printed as it is decided. */
import type { Check } from './check.ts';

/** A decided check. */
export interface Row {
  readonly suite: string;
  readonly tool: string;
  readonly model: string;
  readonly query: string;
  readonly expected: string;
  readonly found: string;
  readonly seconds: number;
  readonly recorded: boolean;
  readonly passed: boolean;
  /** Of a mutant: the attack, in a sentence. */
  readonly attack?: string;
}

const headings = ['tool', 'model', 'query', 'expected', 'found', 'seconds'] as const;

/** Runs a check. What it throws becomes what was found: a broken check is a failed row, not the end of the table. */
export async function decide(suite: string, check: Check): Promise<Row> {
  const { tool, model, query, expected, attack } = check;
  const known = { suite, tool, model, query, expected, ...(attack === undefined ? {} : { attack }) };
  try {
    const { found, seconds, recorded = false } = await check.run();
    return { ...known, found, seconds, recorded, passed: found === expected };
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    return { ...known, found: found.split('\n')[0] ?? '', seconds: 0, recorded: false, passed: false };
  }
}

/** Lays out rows of which all but the finding is known beforehand, so that each can be printed when it is decided. */
export class Table {
  readonly #widths: readonly number[];

  constructor(checks: readonly Check[]) {
    const known = checks.map((check) => [check.tool, check.model, check.query, check.expected]);
    this.#widths = [0, 1, 2, 3].map((column) =>
      Math.max(...[headings, ...known].map((cells) => (cells[column] ?? '').length)),
    );
  }

  /** The first line. */
  heading(): string {
    return this.#line(headings, '');
  }

  row(row: Row): string {
    const found = row.recorded ? `${row.found} (recorded)` : row.found;
    const cells = [row.tool, row.model, row.query, row.expected, found, row.seconds.toFixed(1)];
    return this.#line(cells, row.passed ? '' : '  FAILED');
  }

  #line(cells: readonly string[], mark: string): string {
    const [found = '', seconds = ''] = cells.slice(4);
    const widthOfFound = (this.#widths[3] ?? 0) + ' (recorded)'.length;
    const known = this.#widths.map((width, column) => (cells[column] ?? '').padEnd(width));
    return [...known, found.padEnd(widthOfFound), seconds.padStart(headings[5].length)].join('  ') + mark;
  }
}

/** The last line: how many checks passed and failed, how many were not run but recorded, and the time of those that ran. */
export function summary(rows: readonly Row[]): string {
  const passed = rows.filter((row) => row.passed).length;
  const recorded = rows.filter((row) => row.recorded).length;
  const seconds = rows.reduce((sum, row) => sum + (row.recorded ? 0 : row.seconds), 0);
  const parts = [`${passed} as expected`, `${rows.length - passed} not`];
  if (recorded > 0) parts.push(`${recorded} of them recorded, not run here`);
  return `${parts.join(', ')}; ${seconds.toFixed(0)} s`;
}
