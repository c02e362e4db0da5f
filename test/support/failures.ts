import assert from 'node:assert/strict';
import { TvmmpError } from '../../lib/errors.ts';
import type { ErrorCode } from '../../lib/errors.ts';

/** For `assert.throws` and `assert.rejects`: fails with this code, for this reason where its code has reasons, and says so. */
export function failsWith(code: ErrorCode, reason?: string, says = /(?:)/): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof TvmmpError, String(error));
    assert.deepEqual([error.code, error.details['reason']], [code, reason], error.message);
    assert.match(error.message, says);
    return true;
  };
}
