import type { Command } from 'commander';
import { makeProgram } from '../../../lib/cli/program.ts';

/** All commands by their words, the program itself as none. */
export function allCommands(): readonly { readonly words: readonly string[]; readonly command: Command }[] {
  const visit = (
    command: Command,
    words: readonly string[],
  ): { words: readonly string[]; command: Command }[] => [
    { words, command },
    ...command.commands.flatMap((child) => visit(child, [...words, child.name()])),
  ];
  return visit(makeProgram(), []);
}

/** What `--help` prints for a command. */
export function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (chunk) => (text += chunk) });
  command.outputHelp();
  return text;
}
