/** What the guest's ticks say over all that a lab has seen. */
import assert from 'node:assert/strict';
import type { Tick } from '../../scripts/lab.d/lab.ts';

/** How many ticks met a TPM error. */
export function errorsIn(ticks: readonly Tick[]): number {
  return ticks.filter(({ pcr }) => pcr === null).length;
}

/**
 * Whether the one tick met a TPM error whose command a stopped vTPM had when it went on: 1 or 0. Its driver gives the command up in
 * the meantime and cancels it, which QEMU waits for: the guest stands still, and says so in its first tick afterwards, wherever it
 * runs then. `atHeal`: all ticks just before the vTPM went on; `now`: some later ones too.
 */
export function errorOfStop(atHeal: readonly Tick[], now: readonly Tick[]): number {
  const next = now.find((tick) => !atHeal.some((other) => isSame(tick, other)));
  return next?.pcr === null && next.number === (atHeal.at(-1)?.number ?? 0) + 1 ? 1 : 0;
}

/**
 * Each boot's ticks are numbered without a gap or a repetition, and all boots unseal one secret. `errors`: how many ticks that met
 * a TPM error are accounted for; such a tick has its number in its boot too. `givenUp`: those of second runs, which count nowhere.
 */
export function ticksHold(all: readonly Tick[], errors: number, givenUp: readonly Tick[]): void {
  const ticks = all.filter((tick) => !givenUp.some((other) => isSame(tick, other)));
  assert.equal(all.length - ticks.length, givenUp.length, 'a tick of a second run is there no more');
  const met = errorsIn(ticks);
  assert.equal(met, errors, `the guest met a TPM error in ${met - errors} ticks`);
  const last = new Map<string, Tick>();
  const secrets = new Set<string>();
  for (const tick of ticks) {
    if (tick.pcr === null || tick.secret === null) continue;
    const before = last.get(tick.pcr);
    if (before !== undefined) assertFollows(ticks, before, tick);
    last.set(tick.pcr, tick);
    secrets.add(tick.secret);
  }
  assert.equal(secrets.size, 1, 'the guest’s sealed secret is another one');
}

/**
 * A guest that libvirt has run twice since `before`, and whose run at `loser` has ended: the ticks of that run from the split on.
 * Until then it must have been the run that `keeper` went on with: same boot, same secret, numbered on without a gap.
 */
export function secondRun(
  before: readonly Tick[],
  now: readonly Tick[],
  keeper: string,
  loser: string,
): readonly Tick[] {
  const fresh = now.filter((tick) => !before.some((other) => isSame(tick, other)));
  const kept = fresh.find(({ host }) => host === keeper);
  assert.ok(kept !== undefined, `the guest has not ticked on ${keeper}`);
  const second = fresh.filter(({ host, number }) => host === loser && number >= kept.number);
  second.forEach(({ number, pcr, secret }, index) => {
    assert.equal(number, kept.number + index, 'a tick of the second run is missing, or came twice');
    assert.deepEqual([pcr, secret], [kept.pcr, kept.secret], 'the second run is of another boot');
  });
  return second;
}

/** By the next number, where no tick between them met a TPM error. */
function assertFollows(ticks: readonly Tick[], before: Tick, tick: Tick): void {
  const between = ticks.filter(
    ({ pcr, clock }) => pcr === null && clock > before.clock && clock < tick.clock,
  );
  [...between, tick].forEach(({ number }, index) => {
    assert.equal(
      number,
      before.number + index + 1,
      `tick ${tick.number} of the guest follows ${before.number}`,
    );
  });
}

function isSame(one: Tick, other: Tick): boolean {
  return one.host === other.host && one.number === other.number && one.clock === other.clock;
}
