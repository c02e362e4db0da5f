/** Two ends of a pipe within one process. */
import { PassThrough } from 'node:stream';

/** What one side reads from and writes to. */
export interface PipeEnd {
  readonly input: PassThrough;
  readonly output: PassThrough;
}

/** Makes a pipe; what one end writes, the other reads. */
export function duplexPipe(): readonly [PipeEnd, PipeEnd] {
  const there = new PassThrough();
  const back = new PassThrough();
  return [
    { input: back, output: there },
    { input: there, output: back },
  ];
}
