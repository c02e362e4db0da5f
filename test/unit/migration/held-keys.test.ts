/** Keys that the TPM opens ahead and for many together, for a bounded time (SPEC 5.2). */
import assert from 'node:assert/strict';
import { limits } from '../../../lib/limits.ts';
import { HeldKeys } from '../../../lib/migration/held-keys.ts';
import { HandTimers, settle } from '../../support/hand-timers.ts';

describe('keys that are opened ahead', () => {
  let timers: HandTimers;
  let held: HeldKeys;
  /** What the TPM was asked for, in order: the envelope of a use, or a number that was released. */
  let asked: (string | number)[];
  let refusing: boolean;
  const [alpha, beta, gamma] = [{}, {}, {}];

  beforeEach(() => {
    timers = new HandTimers();
    asked = [];
    refusing = false;
    let last = 0;
    const opener = {
      hold: async ({ sealed }: { readonly sealed: Uint8Array | null }) => {
        asked.push(`envelope ${sealed?.[1] ?? 0}`);
        await settle();
        if (refusing) throw new Error('TPM_RC_FAILURE');
        return (last += 1);
      },
      release: (hold: number) => void asked.push(hold),
    };
    held = new HeldKeys(opener, timers);
  });

  /** A VM whose key is under an envelope. */
  function vm(envelope: number, nonce = 0) {
    const sealed = new Uint8Array(126).fill(envelope, 1, 66).fill(nonce, 66);
    return { name: 'vm', sealed, context: new Uint8Array(1) };
  }

  it('are opened when the first one is expected, by one use for all of an envelope', async () => {
    held.expect(alpha, vm(1));
    assert.deepEqual(asked, ['envelope 1']);
    held.expect(beta, vm(1, 7));
    assert.equal(await held.of(alpha, vm(1)), 1);
    assert.equal(await held.of(beta, vm(1, 7)), 1);
    held.expect(gamma, vm(2));
    assert.equal(await held.of(gamma, vm(2)), 2);
    assert.deepEqual(asked, ['envelope 1', 'envelope 2']);
  });

  it('are released with the last one that was expected', async () => {
    held.expect(alpha, vm(1));
    held.expect(beta, vm(1));
    await held.of(alpha, vm(1));
    held.forget(alpha);
    await settle();
    assert.deepEqual(asked, ['envelope 1']);
    held.forget(beta);
    held.forget(beta);
    await settle();
    assert.deepEqual(asked, ['envelope 1', 1]);
    assert.equal(timers.waiting, 0);
  });

  it('are released where the last one ends while the TPM is asked', async () => {
    held.expect(alpha, vm(1));
    held.forget(alpha);
    await settle();
    await settle();
    assert.deepEqual(asked, ['envelope 1', 1]);
  });

  it('are kept no longer than the bound: the next one has the TPM asked anew, for all who are left', async () => {
    held.expect(alpha, vm(1));
    held.expect(beta, vm(1));
    await held.of(alpha, vm(1));
    await timers.pass(limits.keysHeldMs - 1_000);
    assert.deepEqual(asked, ['envelope 1'], 'whoever came before may still use it');
    assert.equal(await held.of(beta, vm(1)), 2);
    assert.equal(await held.of(alpha, vm(1)), 2);
    await timers.pass(1_000);
    await settle();
    assert.deepEqual(asked, ['envelope 1', 'envelope 1', 1]);
  });

  it('are for nobody who was not expected, or whose key has been sealed anew', async () => {
    held.expect(alpha, vm(1));
    assert.equal(await held.of(beta, vm(1)), null);
    assert.equal(await held.of(alpha, vm(2)), null);
    held.expect(gamma, { ...vm(1), sealed: null });
    assert.equal(await held.of(gamma, vm(1)), null);
    assert.deepEqual(asked, ['envelope 1']);
  });

  it('are asked for again where the TPM refused', async () => {
    refusing = true;
    held.expect(alpha, vm(1));
    assert.equal(await held.of(alpha, vm(1)), null);
    refusing = false;
    assert.equal(await held.of(alpha, vm(1)), 1);
    assert.deepEqual(asked, ['envelope 1', 'envelope 1']);
  });
});
