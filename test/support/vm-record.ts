import type { VmRecord } from '../../lib/ledger/records.ts';

/** A VM that has just been protected on alpha, as its journal has it; digests and keys are any. */
export function vmRecord(change: Partial<VmRecord> = {}): VmRecord {
  return {
    uuid: '5b0c9c0e-2f5e-4f4b-9d2a-0f3f1f7a1c11',
    name: 'guest',
    state: 'stopped',
    epoch: 0,
    sequence: 0,
    head: Buffer.alloc(32, 1),
    facts: Buffer.alloc(32, 2),
    vtpm: null,
    secret: 'c9d1c1f8-4dd0-4ac8-9f0d-0d8bbd4c0d5a',
    sealed: Buffer.alloc(126, 3),
    context: Buffer.alloc(40, 4),
    holder: 'alpha',
    ...change,
  };
}
