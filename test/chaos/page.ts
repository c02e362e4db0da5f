/** The table of results as text for a terminal, and as the page test/chaos/README.md. */
import { faults, type Fault } from './faults.ts';
import { phases, type Phase, type Side } from './phases.ts';
import type { CellResult, Results } from './results.ts';
import { cellName } from './table.ts';

/** One character for a cell: m moved, s stayed, with a capital where the guest was started again; C a conflict that was resolved; F fails, . not run, - nothing to strike. */
function mark(results: Results, fault: Fault, side: Side, phase: Phase): string {
  if (!fault.applies(phase, side)) return '-';
  const result: CellResult | null = results.of(cellName({ fault, side, phase }));
  if (result === null) return '.';
  if (result.state === 'fails') return 'F';
  if (result.conflict === true) return 'C';
  const letter = result.outcome === 'moved' ? 'm' : 's';
  return result.restarted ? letter.toUpperCase() : letter;
}

const rows = faults.flatMap((fault) => fault.sides.map((side) => ({ fault, side })));

function rowName(fault: Fault, side: Side): string {
  return fault.sides.length === 1 ? fault.name : `${fault.name}, ${side}`;
}

const legend =
  'm: the VM moved; s: it stayed; M, S: and its run, or its vTPM, had ended, so that it was started again; C: both hosts said `hand-over-conflict` until an administrator stopped one copy or stated the outcome, and then all held; F: something did not hold; .: not run; -: nothing to strike.';

/** For a terminal. */
export function tableText(results: Results): string {
  const width = Math.max(...rows.map(({ fault, side }) => rowName(fault, side).length));
  const head = `${''.padEnd(width)}  ${phases.map(({ name }) => name).join(' ')}`;
  const lines = rows.map(({ fault, side }) => {
    const cells = phases.map((phase) => mark(results, fault, side, phase).padEnd(phase.name.length));
    return `${rowName(fault, side).padEnd(width)}  ${cells.join(' ')}`.trimEnd();
  });
  return `${[head, ...lines].join('\n')}\n${legend}\n`;
}

/** Numbers over all cells of the table. */
export function summary(results: Results): {
  readonly holds: number;
  readonly fails: number;
  readonly missing: number;
} {
  const marks = rows.flatMap(({ fault, side }) => phases.map((phase) => mark(results, fault, side, phase)));
  const count = (wanted: RegExp): number => marks.filter((one) => wanted.test(one)).length;
  return { holds: count(/[msC]/i), fails: count(/F/), missing: count(/\./) };
}

/** The table in Markdown, with what it comes from; it stands in the page between two marks. */
export function tableMarkdown(results: Results): string {
  const { holds, fails, missing } = summary(results);
  const times = rows.flatMap(({ fault, side }) =>
    phases.flatMap((phase) => {
      const result = results.of(cellName({ fault, side, phase }));
      return result?.state === 'holds' ? [result.settledMs] : [];
    }),
  );
  times.sort((a, b) => a - b);
  const seconds = (share: number): string =>
    ((times[Math.floor((times.length - 1) * share)] ?? 0) / 1000).toFixed(0);
  return [
    `| Fault | ${phases.map(({ name }) => name).join(' | ')} |`,
    `|---|${phases.map(() => '---|').join('')}`,
    ...rows.map(
      ({ fault, side }) =>
        `| ${rowName(fault, side)} | ${phases.map((phase) => mark(results, fault, side, phase)).join(' | ')} |`,
    ),
    '',
    legend,
    '',
    `${holds} cells hold, ${fails} fail, ${missing} were not run. From the mending of the fault until all of it held: median ${seconds(0.5)} s, 95th percentile ${seconds(0.95)} s, at most ${seconds(1)} s (checks included).`,
    '',
    `Machine: ${results.origin.machine}. Software: ${results.origin.software}.`,
  ].join('\n');
}

/** The page with its phases, faults and table replaced. */
export function withTable(page: string, results: Results): string {
  return withList(replaced(page, 'table', tableMarkdown(results)));
}

/** The page with its phases and faults replaced. */
export function withList(page: string): string {
  const list = (named: readonly { readonly name: string; readonly what: string }[]): string =>
    named.map(({ name, what }) => `- \`${name}\`: ${what}.`).join('\n');
  return replaced(replaced(page, 'phases', list(phases)), 'faults', list(faults));
}

/** What stands between two marks of the page. */
function replaced(page: string, mark: string, text: string): string {
  const [begin, end] = [`<!-- ${mark} -->`, `<!-- end of ${mark} -->`];
  const [head, rest] = [page.indexOf(begin), page.indexOf(end)];
  if (head < 0 || rest < head) throw new Error(`the page has no ${begin} … ${end}`);
  return `${page.slice(0, head + begin.length)}\n\n${text}\n\n${page.slice(rest)}`;
}
