/** What this host's TPM says of the state that it is in now (SPEC 5.2). */
import assert from 'node:assert/strict';
import { sha256 } from '../../../lib/encoding/hash.ts';
import { isApprovedNow } from '../../../lib/migration/approved-now.ts';
import { stageBeforeEach } from '../../simulation/stage.ts';
import type { Stage } from '../../simulation/stage.ts';

describe('an approved state of now (SPEC 5.2)', () => {
  let stage: Stage;
  stageBeforeEach((opened) => {
    stage = opened;
  });

  type Quotes = Parameters<typeof isApprovedNow>[0]['quotes'];
  /** What is found where the quotes are made so. */
  const found = (
    sign?: (quotes: Quotes, ...asked: Parameters<Quotes['sign']>) => ReturnType<Quotes['sign']>,
  ) => {
    const { host, quotes } = stage.beta.agent!.services;
    const through = {
      sign: (...asked: Parameters<Quotes['sign']>) => sign?.(quotes, ...asked) ?? quotes.sign(...asked),
    };
    return stage.until(isApprovedNow({ host, quotes: through }));
  };

  it('is what a quote of the PCRs shows', async () => {
    assert.equal(await found(), true);
    stage.beta.boot('surprise');
    assert.equal(await found(), false);
  });

  it('is shown by this host’s key alone', async () => {
    const { quotes: others } = stage.alpha.agent!.services;
    assert.equal(await found((_, ...asked) => others.sign(...asked)), false);
  });

  it('is shown by a quote that was asked for now, not by one of before', async () => {
    const before = (quotes: Quotes, ...[selection, entries]: Parameters<Quotes['sign']>) =>
      quotes.sign(selection, entries, [sha256(new Uint8Array(1))]);
    assert.equal(await found(before), false);
  });

  it('is shown by a quote of all PCRs that count', async () => {
    const fewer = (quotes: Quotes, ...[, entries, statements]: Parameters<Quotes['sign']>) =>
      quotes.sign([{ bank: 'sha256', pcrs: [0] }], entries, statements);
    assert.equal(await found(fewer), false);
  });
});
