/** Makes the commands of `tvmmp` alike: one-line summary, description, examples, the options that all of them have. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { defaultConfigFile, readConfig } from '../agent/config.ts';
import type { AgentConfig } from '../agent/config.ts';

/** What every command's options hold. */
export interface CommonOptions {
  readonly json?: boolean;
  /** The agent's configuration file. */
  readonly config?: string;
  /** The agent's socket, where it is not that of the configuration. */
  readonly socket?: string;
}

/** The help of a command; each example is a command line and what it does. */
export interface CommandText {
  /** Name and arguments, such as `protect <vm>`. */
  readonly usage: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Paragraphs. */
  readonly description: string;
  readonly examples: readonly (readonly [commandLine: string, meaning: string])[];
  /** Whether it reads the agent's configuration (`--config`). */
  readonly configured?: boolean;
}

/** Adds a command that does something. */
export function leaf(parent: Command, text: CommandText): Command {
  const command = parent.command(text.usage).summary(text.summary).description(text.description);
  command.option('--json', 'print one JSON document');
  if (text.configured === true) {
    command.option('--config <file>', "the agent's configuration", defaultConfigFile);
    command.addOption(new Option('--socket <path>', "the agent's socket").hideHelp());
  }
  return withExamples(command, text.examples);
}

/** Adds a noun: a group of commands. */
export function noun(parent: Command, name: string, summary: string, description: string): Command {
  const group = parent.command(name).summary(summary).description(description);
  group.usage('COMMAND [options]');
  return group;
}

function withExamples(command: Command, examples: CommandText['examples']): Command {
  const lines = examples.flatMap(([commandLine, meaning]) => [`  $ ${commandLine}`, `      ${meaning}`]);
  return command.addHelpText('after', ['', 'Examples:', ...lines].join('\n'));
}

/** The configuration that a command works with. Throws `config-invalid`. */
export function configOf(options: CommonOptions): AgentConfig {
  return readConfig(options.config);
}

/** An option that may be given several times, for commander. */
export function collect(value: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), value];
}

/** `name=value` that may be given several times, for commander; a value of digits alone is a number. */
export function collectAttribute(
  value: string,
  previous: ReadonlyMap<string, string | number> | undefined,
): ReadonlyMap<string, string | number> {
  const [, name = '', text = ''] = /^([^=]+)=(.+)$/.exec(value) ?? [];
  if (name === '') throw new InvalidArgumentError('Attributes look like region=eu.');
  if (previous?.has(name) === true) throw new InvalidArgumentError(`${name} is there twice.`);
  return new Map([...(previous ?? []), [name, /^\d{1,10}$/.test(text) ? Number(text) : text]]);
}

/** A whole number of at least 1, for commander. */
export function positiveInteger(value: string): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(number) || number < 1)
    throw new InvalidArgumentError('It is not a whole number of at least 1.');
  return number;
}

/** PCRs such as `0-7` or `0,4,7-9`, for commander: ascending, 0 to 23, each once. */
export function pcrList(value: string): readonly number[] {
  const pcrs = value.split(',').flatMap((part) => {
    const range = /^(\d{1,2})(?:-(\d{1,2}))?$/.exec(part.trim());
    if (range === null) throw new InvalidArgumentError('PCRs look like 0-7 or 0,4,7.');
    const first = Number(range[1]);
    const last = Number(range[2] ?? range[1]);
    if (last > 23 || first > last) throw new InvalidArgumentError('PCRs are 0 to 23, ranges ascending.');
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
  return [...new Set(pcrs)].sort((a, b) => a - b);
}
