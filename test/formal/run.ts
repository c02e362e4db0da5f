/**
 * Decides all formal checks and prints them as a table: `npm run formal`. Exit 0 only if every check found what it expects; 1 if one did not;
 * 2 for an unusable command line.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { allChecks } from './suites.ts';
import type { NamedCheck } from './suites.ts';
import { decide, summary, Table } from './table.ts';
import type { Row } from './table.ts';

const usage = `usage: npm run formal -- [--only PATTERN] [--json] [--list] [--dump DIR]

  --only PATTERN  only rows whose folder, tool, model or query match this regular expression (any case)
  --json          one JSON document instead of the table
  --list          the rows, without deciding them; of a mutant also its attack, in a sentence
  --dump DIR      write the generated models to DIR/FOLDER/, without deciding anything
  --counts FILE   also write "passed failed" to FILE, for scripts/test
`;

interface Options {
  readonly only: RegExp | null;
  readonly json: boolean;
  readonly list: boolean;
  readonly dump: string | null;
  readonly counts: string | null;
}

class UnusableArguments extends Error {}

function optionsOf(args: readonly string[]): Options {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        only: { type: 'string' },
        json: { type: 'boolean' },
        list: { type: 'boolean' },
        dump: { type: 'string' },
        counts: { type: 'string' },
      },
    });
    const { only, json = false, list = false, dump = null, counts = null } = values;
    return { only: only === undefined ? null : new RegExp(only, 'i'), json, list, dump, counts };
  } catch (error) {
    throw new UnusableArguments(error instanceof Error ? error.message : String(error));
  }
}

function selected({ suite, check }: NamedCheck, only: RegExp | null): boolean {
  return only === null || only.test([suite, check.tool, check.model, check.query].join(' '));
}

/** Writes each generated text once; several checks may share one. */
async function dump(checks: readonly NamedCheck[], directory: string): Promise<number> {
  const files = new Map<string, string>();
  for (const { suite, check } of checks)
    if (check.text !== undefined) files.set(join(directory, suite, check.text.name), check.text.text);
  for (const [file, text] of files) {
    await mkdir(join(file, '..'), { recursive: true });
    await writeFile(file, text);
  }
  return files.size;
}

/** A line on a terminal that the next one replaces. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text.slice(0, process.stderr.columns - 1)}`);
}

async function decideAll(checks: readonly NamedCheck[], json: boolean): Promise<readonly Row[]> {
  const table = new Table(checks.map(({ check }) => check));
  const rows: Row[] = [];
  if (!json) process.stdout.write(`${table.heading()}\n`);
  for (const { suite, check } of checks) {
    progress(`${rows.length + 1}/${checks.length} ${check.tool}: ${check.model}: ${check.query}`);
    const row = await decide(suite, check);
    rows.push(row);
    progress('');
    if (!json) process.stdout.write(`${table.row(row)}\n`);
  }
  return rows;
}

async function main(args: readonly string[]): Promise<number> {
  const options = optionsOf(args);
  const checks = (await allChecks()).filter((one) => selected(one, options.only));
  if (checks.length === 0) throw new UnusableArguments('no check matches');
  if (options.dump !== null) {
    process.stdout.write(`${await dump(checks, options.dump)} models written to ${options.dump}\n`);
    return 0;
  }
  if (options.list) {
    for (const { suite, check } of checks) {
      const { tool, model, query, expected, attack = '' } = check;
      process.stdout.write(`${[suite, tool, model, query, expected, attack].join('\t').trimEnd()}\n`);
    }
    return 0;
  }
  const rows = await decideAll(checks, options.json);
  const failed = rows.filter((row) => !row.passed).length;
  if (options.json)
    process.stdout.write(`${JSON.stringify({ passed: failed === 0, checks: rows }, null, 1)}\n`);
  else process.stdout.write(`\n${summary(rows)}\n`);
  if (options.counts !== null) await writeFile(options.counts, `${rows.length - failed} ${failed}\n`);
  return failed === 0 ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UnusableArguments)) throw error;
  process.stderr.write(`${error.message}\n${usage}`);
  process.exitCode = 2;
}
