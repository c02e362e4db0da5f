/** Runs the table of phases and faults on the lab; scripts/chaos says how it is called. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { labMissing } from '../../scripts/lab.d/lab.ts';
import { runCell } from './cell.ts';
import type { Cell } from './cell.ts';
import { ChaosLab } from './chaos-lab.ts';
import { summary, tableText, withTable } from './page.ts';
import { Results } from './results.ts';
import type { CellResult } from './results.ts';
import { allCells, cellName, chosenCells } from './table.ts';

const page = 'test/chaos/README.md';
const several = { type: 'string', multiple: true } as const;
const flag = { type: 'boolean', default: false } as const;

process.exitCode = await main();

async function main(): Promise<number> {
  let values;
  let cells: readonly Cell[];
  let results: Results;
  try {
    ({ values } = parseArgs({
      options: {
        fault: several,
        phase: several,
        side: several,
        results: { type: 'string', default: '.cache/chaos/results.json' },
        fresh: flag,
        again: flag,
        list: flag,
        show: flag,
        json: flag,
        write: flag,
      },
    }));
    cells = chosenCells({
      ...(values.fault === undefined ? {} : { faults: values.fault }),
      ...(values.phase === undefined ? {} : { phases: values.phase }),
      ...(values.side === undefined ? {} : { sides: values.side }),
    });
    results = new Results(values.results, values.fresh);
  } catch (error) {
    say(`chaos: ${(error as Error).message}`);
    return 2;
  }
  if (values.list) {
    for (const cell of cells) process.stdout.write(`${cellName(cell)}\n`);
    return 0;
  }
  if (!values.show && !values.write) {
    const missing = labMissing();
    if (missing !== undefined) {
      say(`chaos: ${missing}`);
      return 2;
    }
    const due = cells.filter((cell) => values.again || results.of(cellName(cell))?.state !== 'holds');
    await runCells(due, results, values.results);
  }
  if (values.write) writeFileSync(page, withTable(readFileSync(page, 'utf8'), results));
  if (values.json) {
    const entries = allCells.map((cell) => [cellName(cell), results.of(cellName(cell))] as const);
    process.stdout.write(
      `${JSON.stringify({ origin: results.origin, cells: Object.fromEntries(entries) })}\n`,
    );
  } else {
    const { holds, fails, missing } = summary(results);
    process.stdout.write(`${tableText(results)}${holds} hold, ${fails} fail, ${missing} not run\n`);
  }
  return cells.every((cell) => results.of(cellName(cell))?.state === 'holds') ? 0 : 1;
}

/** Cells one after another on one lab; a cell that fails costs the lab, so that nothing of it is in the next one's way. */
async function runCells(cells: readonly Cell[], results: Results, file: string): Promise<void> {
  let chaos: ChaosLab | null = null;
  const interrupted = new AbortController();
  // Not once: a terminal and tsx may both say it, and a second word must not leave the lab behind.
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.on(name, () => {
      interrupted.abort();
    });
  try {
    for (const [index, cell] of cells.entries()) {
      if (interrupted.signal.aborted) break;
      const name = cellName(cell);
      chaos ??= await ChaosLab.start();
      const began = Date.now();
      let result: CellResult;
      try {
        result = { state: 'holds', ...(await runCell(chaos, cell, await chaos.holder())) };
      } catch (error) {
        result = { state: 'fails', error: error instanceof Error ? error.message : String(error) };
        keepLogs(chaos, join(file, '..', name.replaceAll('/', '-')));
        await chaos.close();
        chaos = null;
      }
      results.put(name, result);
      const text =
        result.state === 'holds'
          ? `${result.outcome}${result.restarted ? ', started again' : ''}${result.conflict === true ? ', conflict resolved' : ''}`
          : `FAILS: ${result.error}`;
      say(`${index + 1}/${cells.length} ${name}: ${text} (${((Date.now() - began) / 1000).toFixed(0)} s)`);
    }
  } finally {
    await chaos?.close();
  }
}

/** What the hosts wrote, beside the results. */
function keepLogs({ lab }: ChaosLab, directory: string): void {
  mkdirSync(directory, { recursive: true });
  for (const host of lab.hostNames) {
    for (const log of [
      'fs/var-log-tvmmp/tvmmpd.log',
      'fs/var-log-libvirt/libvirtd.log',
      'fs/var-log-libvirt/qemu/guest.log',
    ]) {
      const text = readLog(join(lab.hostDirectory(host), log));
      writeFileSync(join(directory, `${host}-${log.split('/').at(-1) ?? ''}`), text.slice(-200_000));
    }
  }
}

function readLog(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    return String(error);
  }
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
