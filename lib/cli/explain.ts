import type { Command } from 'commander';
import type { Check } from '../appraisal/verdict.ts';
import type { RefusalRecord } from '../ledger/records.ts';
import { askAgent } from './agent-client.ts';
import { leaf, positiveInteger } from './command.ts';
import type { CommonOptions } from './command.ts';
import { paint, print, printJson, timeText } from './output.ts';

/** What of a verdict is shown. */
interface ShownVerdict {
  readonly policy: { readonly id: string; readonly version: number };
  readonly checks: readonly Check[];
}

interface ExplainOptions extends CommonOptions {
  readonly count: number;
  readonly vm?: string;
}

/** `tvmmp explain`. */
export function addExplain(program: Command): void {
  leaf(program, {
    usage: 'explain',
    summary: 'why something was refused, and what to do about it',
    description:
      'Shows the last refusals of this host: what was asked, the reason, and every check that failed with what was ' +
      'expected, what was found, and the remedy. The other host is told nothing but that it was refused: ask there too.',
    examples: [
      ['tvmmp explain', 'The last refusal.'],
      ['tvmmp explain --count 10', 'The last ten.'],
      ['tvmmp explain --vm 6b1a6f4e-0f1d-4c64-9d0a-3f5b8c1e2a77', 'The last one about this VM (UUID).'],
    ],
    configured: true,
  })
    .option('--count <number>', 'how many', positiveInteger, 1)
    .option('--vm <uuid>', 'only those about this VM')
    .action(async (options: ExplainOptions) => {
      const all = (await askAgent(options, 'refusals')) as readonly RefusalRecord[];
      const shown = all
        .filter(({ vm }) => options.vm === undefined || vm === options.vm)
        .slice(0, options.count)
        .map((row) => ({ ...row, verdict: parseVerdict(row.verdict) }));
      if (options.json === true) printJson(shown);
      else if (shown.length === 0) print('nothing was refused on this host');
      else print(...shown.flatMap((row, index) => [...(index === 0 ? [] : ['']), ...refusalText(row)]));
    });
}

function parseVerdict(text: string | null): ShownVerdict | null {
  return text === null ? null : (JSON.parse(text) as ShownVerdict);
}

function refusalText(
  row: Omit<RefusalRecord, 'verdict'> & { readonly verdict: ShownVerdict | null },
): readonly string[] {
  const about = [row.vm === null ? '' : `of VM ${row.vm}`, row.peer === null ? '' : `with ${row.peer}`];
  const head = [timeText(row.time), row.operation, ...about].filter((part) => part !== '').join(' ');
  const lines = [paint('bold', head), `  ${row.reason}`];
  if (row.verdict === null) return lines;
  const { policy, checks } = row.verdict;
  const failed = checks.filter(({ outcome }) => outcome === 'fail');
  const passed = checks.length - failed.length;
  lines.push(
    `  judged by policy ${policy.id} version ${policy.version}: ${passed} checks passed, ${failed.length} failed`,
  );
  for (const { name, expected, found, remedy } of failed) {
    lines.push(
      `  ${paint('red', name)}`,
      `    expected  ${expected}`,
      `    found     ${found}`,
      `    remedy    ${remedy}`,
    );
  }
  return lines;
}
