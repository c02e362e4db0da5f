/** Finds the checks: each folder beside this file that has a `suite.ts` (check.ts). */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import type { Check } from './check.ts';

/** A check, and the folder of models that it is from. */
export interface NamedCheck {
  readonly suite: string;
  readonly check: Check;
}

/** All checks of all folders, folders in the order of their names. A folder without checks is an error. */
export async function allChecks(): Promise<readonly NamedCheck[]> {
  const here = new URL('.', import.meta.url);
  const entries = await readdir(here, { withFileTypes: true });
  const folders = entries
    .filter((entry) => entry.isDirectory() && existsSync(new URL(`${entry.name}/suite.ts`, here)))
    .map((entry) => entry.name);
  const found: NamedCheck[] = [];
  for (const suite of folders.sort()) {
    const loaded = (await import(new URL(`${suite}/suite.ts`, here).href)) as {
      checks(): Promise<readonly Check[]>;
    };
    const checks = await loaded.checks();
    if (checks.length === 0) throw new Error(`test/formal/${suite} has no checks`);
    found.push(...checks.map((check) => ({ suite, check })));
  }
  if (found.length === 0) throw new Error('test/formal has no folder of models');
  return found;
}
