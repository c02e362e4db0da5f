#!/usr/bin/env node
import { CommanderError } from 'commander';
import { errorLine, exitCodeOf, usageError } from './exit.ts';
import { makeProgram } from './program.ts';

/** A reader that has seen enough (`tvmmp proof show web | head`) is no fault. */
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
}

function fail(error: unknown): void {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return;
    // `tvmmp vm` alone: commander has printed the help of `vm`.
    const message = error.code === 'commander.help' ? 'say which command' : error.message;
    error = usageError(message.replace(/^error: /, '').replace(/\.?$/, '; try --help'));
  }
  process.stderr.write(`${errorLine(error)}\n`);
  process.exitCode = exitCodeOf(error);
}

makeProgram().parseAsync(process.argv).catch(fail);
