/** Shell completion, made from the commands themselves. */
import { Argument } from 'commander';
import type { Command } from 'commander';
import { leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { printJson } from './output.ts';

type Shell = 'bash' | 'zsh';

/** A command and the words that may follow it. */
interface Completion {
  /** `vm protect`; empty for the program itself. */
  readonly path: string;
  readonly words: readonly { readonly word: string; readonly summary: string }[];
}

/** `tvmmp completion`. */
export function addCompletion(program: Command): void {
  const command = leaf(program, {
    usage: 'completion',
    summary: 'print a completion script for a shell',
    description: 'Prints a script that completes commands and options; where neither fits, files.',
    examples: [
      ['tvmmp completion bash > /etc/bash_completion.d/tvmmp', 'For everybody who uses bash.'],
      ['tvmmp completion zsh > "${fpath[1]}/_tvmmp"', 'For zsh; then start a new shell.'],
    ],
  });
  command.addArgument(new Argument('<shell>', 'which').choices(['bash', 'zsh']));
  command.action((shell: Shell, options: CommonOptions) => {
    const script = shell === 'bash' ? bashScript(program) : zshScript(program);
    if (options.json === true) printJson({ shell, script });
    else process.stdout.write(script);
  });
}

/** All commands with their subcommands and visible options. */
export function completions(program: Command): readonly Completion[] {
  const visit = (command: Command, path: readonly string[]): Completion[] => {
    const subcommands = command.commands.map((child) => ({ word: child.name(), summary: child.summary() }));
    const options = command
      .createHelp()
      .visibleOptions(command)
      .flatMap(({ long, description }) => (long === undefined ? [] : [{ word: long, summary: description }]));
    return [
      { path: path.join(' '), words: [...subcommands, ...options] },
      ...command.commands.flatMap((child) => visit(child, [...path, child.name()])),
    ];
  };
  return visit(program, []);
}

function bashScript(program: Command): string {
  const name = program.name();
  const cases = completions(program).map(
    ({ path, words }) => `    ${quote(path)}) words=${quote(words.map(({ word }) => word).join(' '))} ;;`,
  );
  return `# bash completion of ${name}
_${name}() {
  local word=\${COMP_WORDS[COMP_CWORD]} path= words= at
  for ((at = 1; at < COMP_CWORD; at++)); do
    case \${COMP_WORDS[at]} in
      -*) break ;;
      *) path="\${path:+$path }\${COMP_WORDS[at]}" ;;
    esac
  done
  # Arguments follow the command: take words away until a command is left.
  while :; do
    case $path in
${cases.map((line) => `  ${line}`).join('\n')}
    esac
    [[ -n $words || -z $path ]] && break
    [[ $path == *' '* ]] && path=\${path% *} || path=
  done
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o bashdefault -o default -F _${name} ${name}
`;
}

function zshScript(program: Command): string {
  const name = program.name();
  const cases = completions(program).map(({ path, words }) => {
    const items = words.map(({ word, summary }) => quote(`${word.replaceAll(':', '\\:')}:${summary}`));
    return `      ${quote(path)}) items=(${items.join(' ')}) ;;`;
  });
  return `#compdef ${name}
_${name}() {
  local -a items
  local at current=
  for ((at = 2; at < CURRENT; at++)); do
    [[ \${words[at]} == -* ]] && break
    current="\${current:+$current }\${words[at]}"
  done
  while :; do
    case $current in
${cases.join('\n')}
    esac
    (( \${#items} )) || [[ -z $current ]] && break
    [[ $current == *' '* ]] && current=\${current% *} || current=
  done
  _describe -t commands ${name} items
  _files
}
_${name} "$@"
`;
}

/** A word for either shell. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
