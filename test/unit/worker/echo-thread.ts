import { workerData } from 'node:worker_threads';
import { TvmmpError } from '../../../lib/errors.ts';
import { serve } from '../../../lib/worker/thread.ts';

const calls = {
  add: (a: number, b: number): number => a + b,
  data: (): unknown => workerData as unknown,
  lengthOfBuffer: (bytes: Uint8Array): number => bytes.buffer.byteLength,
  refuse: (): never => {
    throw new TvmmpError('limit-exceeded', 'too many', { details: { limit: 3 } });
  },
  blunder: (): never => {
    throw new RangeError('out of range');
  },
  die: (): never => process.exit(3),
};
export type EchoCalls = typeof calls;
serve(calls);
