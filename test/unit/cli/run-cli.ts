/** Runs the real `tvmmp` in a process of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../../lib/cli/main.ts', import.meta.url));
const tsx = import.meta.resolve('tsx');

/** What came of a run. */
export interface CliRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Standard input and further environment of a run. */
export interface CliInput {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** A command line that runs `tvmmp` from source, for shells. */
export const cliCommand = `'${process.execPath}' --import '${tsx}' '${main}'`;

/** Runs `tvmmp` with these arguments. */
export async function tvmmp(args: readonly string[], options: CliInput = {}): Promise<CliRun> {
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: '1', ...options.env };
  const child = spawn(process.execPath, ['--import', tsx, main, ...args], { env, cwd: options.cwd });
  const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
}

/** The JSON that a run printed. */
export function json(run: CliRun): Record<string, unknown> {
  return JSON.parse(run.stdout) as Record<string, unknown>;
}
