/** What commands that work on an authority's directory have in common. */
import type { Command } from 'commander';
import type { Authority } from '../authority/authority.ts';
import type { CommonOptions } from './command.ts';
import { readText } from './files.ts';

/** Options of a command that uses the authority's keys. */
export interface PassphraseOptions extends CommonOptions {
  readonly passphraseFile?: string;
}

/** Adds `--passphrase-file` to a command that uses the authority's keys. */
export function withPassphrase(command: Command): Command {
  return command.option(
    '--passphrase-file <file>',
    'first line: passphrase of the keys (- for standard input)',
  );
}

/** The passphrase, where one was given. */
export function passphraseOf({ passphraseFile }: PassphraseOptions): { readonly passphrase?: string } {
  if (passphraseFile === undefined) return {};
  const [passphrase = ''] = readText(passphraseFile, 4096).split('\n');
  return { passphrase };
}

/** Opens an authority for one piece of work. */
export async function withAuthority<T>(
  directory: string,
  options: PassphraseOptions,
  work: (authority: Authority) => Promise<T>,
): Promise<T> {
  const { openAuthority } = await import('../authority/authority.ts');
  const opened = openAuthority(directory, passphraseOf(options));
  try {
    return await work(opened);
  } finally {
    opened.close();
  }
}
