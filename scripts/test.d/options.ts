import { parseArgs } from 'node:util';
import type { ParseArgsConfig } from 'node:util';

/**
 * What was typed after the name of a script of ours. `--help` prints its usage and ends it; an option that it does not know, or a word, ends it with exit
 * code 2, a line that says so, and the usage.
 */
export function optionsOf<T extends NonNullable<ParseArgsConfig['options']>>(usage: string, options: T) {
  const words = process.argv.slice(2);
  if (words.includes('--help') || words.includes('-h')) {
    process.stdout.write(usage);
    process.exit(0);
  }
  try {
    return parseArgs({ args: words, options }).values;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${usage}`);
    process.exit(2);
  }
}
