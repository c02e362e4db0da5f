import { createInterface } from 'node:readline/promises';
import { refused, usageError } from './exit.ts';
import { paint } from './output.ts';

/** What an administrator may lose by being mistaken, and how it is accepted. */
export interface Risk {
  /** A sentence. */
  readonly risk: string;
  /** The option that accepts it without a question. */
  readonly option: string;
  readonly accepted: boolean;
  /** What to look at before. */
  readonly first: string;
  /** Name of the VM, to be typed at a terminal. */
  readonly name: string;
  readonly json: boolean;
}

/** By the option that names the risk, or by the VM's name typed at a terminal. Throws where neither was done. */
export async function acceptRisk({ risk, option, accepted, first, name, json }: Risk): Promise<void> {
  if (accepted) return;
  if (!process.stdin.isTTY || json) throw usageError(`${risk} Say ${option} if you accept that`);
  process.stderr.write(`${paint('red', shown(risk))}\n${first}\n`);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const typed = await terminal.question(`Type ${shown(name)} to go on: `);
    if (typed.trim() !== name) throw refused('nothing was changed');
  } finally {
    terminal.close();
  }
}

/** A name may come from a file of somebody else's: it does nothing to a terminal. */
function shown(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, '?');
}
