/** Runs the programs that decide about models: model checkers and provers, each in a process of its own. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';

/** A program that is not installed. A check that needs it fails. */
export class MissingTool extends Error {
  constructor(program: string) {
    super(`${program} is not installed: run scripts/setup`);
  }
}

/** How to run a program. */
export interface ToolOptions {
  /** It is killed after this time, and `timedOut` is set. */
  readonly timeoutMs: number;
  /** Written to its standard input. */
  readonly input?: string;
  readonly cwd?: string;
}

/** What came of a run. */
export interface ToolRun {
  /** Exit code; null where a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
  readonly timedOut: boolean;
}

/** Runs a program of the PATH and waits for its end. Throws `MissingTool` where it is not there. */
export async function runTool(
  program: string,
  args: readonly string[],
  options: ToolOptions,
): Promise<ToolRun> {
  const began = performance.now();
  const child = spawn(program, args, { cwd: options.cwd, stdio: ['pipe', 'pipe', 'pipe'] });
  const output: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
  child.stdout.on('data', (chunk: Buffer) => output.stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => output.stderr.push(chunk));
  // A program may end before it has read all: its exit says what came of it.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill(constants.signals.SIGKILL);
  }, options.timeoutMs);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('close', resolve);
    child.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'ENOENT' ? new MissingTool(program) : error);
    });
  }).finally(() => {
    clearTimeout(timer);
  });
  return {
    code,
    stdout: Buffer.concat(output.stdout).toString(),
    stderr: Buffer.concat(output.stderr).toString(),
    seconds: (performance.now() - began) / 1000,
    timedOut,
  };
}
