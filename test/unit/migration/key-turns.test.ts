/** At a slow TPM, what can wait waits for keys that libvirt waits for (SPEC 5.2). */
import assert from 'node:assert/strict';
import { limits } from '../../../lib/limits.ts';
import { KeyTurns } from '../../../lib/migration/key-turns.ts';
import { HandTimers, settle } from '../../support/hand-timers.ts';

describe('what can wait at a slow TPM', () => {
  let timers: HandTimers;
  let commandMs: number;
  let turns: KeyTurns;
  let gone: boolean;
  beforeEach(() => {
    timers = new HandTimers();
    commandMs = 200;
    turns = new KeyTurns(timers, () => commandMs);
    gone = false;
  });
  const giveWay = (): void => void turns.giveWay().then(() => (gone = true));
  /** A key that is being opened, until it is called. */
  const opening = (): (() => void) => {
    let end: () => void = () => undefined;
    void turns.first(() => new Promise<void>((resolve) => (end = resolve)));
    return () => {
      end();
    };
  };

  it('goes on when the last key is open', async () => {
    const ends = [opening(), opening()];
    giveWay();
    ends[0]!();
    await settle();
    assert.equal(gone, false);
    ends[1]!();
    await settle();
    assert.equal(gone, true);
    assert.equal(timers.waiting, 0);
  });

  it('goes on at once where no key is being opened, or the TPM is fast', async () => {
    giveWay();
    await settle();
    assert.equal(gone, true);
    gone = false;
    opening();
    commandMs = 1;
    giveWay();
    await settle();
    assert.equal(gone, true);
  });

  it('waits for four commands at most, and no longer than its bound', async () => {
    opening();
    giveWay();
    await timers.pass(799);
    assert.equal(gone, false);
    await timers.pass(1);
    assert.equal(gone, true);
    gone = false;
    commandMs = 10_000;
    giveWay();
    await timers.pass(limits.givingWayMs - 1);
    assert.equal(gone, false);
    await timers.pass(1);
    assert.equal(gone, true);
  });

  it('goes on after a key that could not be opened', async () => {
    const failing = turns.first(() => Promise.reject(new Error('TPM_RC_FAILURE')));
    giveWay();
    await assert.rejects(failing);
    await settle();
    assert.equal(gone, true);
  });
});
