/** The page about chaos says what its tables of code have. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { Tick } from '../../../scripts/lab.d/lab.ts';
import { errorOfStop, secondRun, ticksHold } from '../../chaos/guest-ticks.ts';
import { withList } from '../../chaos/page.ts';
import { allCells, cellName, chosenCells } from '../../chaos/table.ts';
import { faults } from '../../chaos/faults.ts';
import { phases } from '../../chaos/phases.ts';

describe('the table of chaos', () => {
  const page = readFileSync('test/chaos/README.md', 'utf8');

  it('has its phases and faults in the page, which `scripts/chaos --write` writes', () => {
    assert.equal(withList(page), page);
  });

  it('has a row in the page for each fault and a column for each phase', () => {
    assert.ok(page.includes(`| Fault | ${phases.map(({ name }) => name).join(' | ')} |`), 'the heads differ');
    for (const { name } of faults) assert.match(page, new RegExp(`^\\| ${name}(?:, \\w+)? \\|`, 'm'));
  });

  it('names each cell once, and finds it by its names', () => {
    assert.equal(new Set(allCells.map(cellName)).size, allCells.length);
    for (const cell of allCells) {
      const { fault, phase, side } = cell;
      assert.deepEqual(chosenCells({ faults: [fault.name], phases: [phase.name], sides: [side] }), [cell]);
    }
  });

  it('refuses a name that is in no cell', () => {
    assert.throws(() => chosenCells({ faults: ['earthquake'] }), /faults are .*; not earthquake/);
    assert.throws(() => chosenCells({ phases: ['later'] }), /phases are /);
    assert.throws(() => chosenCells({ sides: ['both'] }), /sides are /);
  });
});

describe('the ticks of a guest, as chaos judges them', () => {
  const tick = (host: string, number: number, more: Partial<Tick> = {}): Tick => ({
    ...{ host, number, pcr: 'boot', secret: 'secret', clock: number * 1_000 },
    ...more,
  });
  const run = (host: string, from: number, to: number): Tick[] =>
    Array.from({ length: to - from + 1 }, (_, index) => tick(host, from + index));
  const failed = (number: number): Tick => tick('alpha', number, { pcr: null, secret: null });

  it('hold where each boot counts on, over a migration too', () => {
    const again = tick('beta', 1, { pcr: 'next', clock: 9_000 });
    ticksHold([...run('alpha', 1, 4), ...run('beta', 5, 7), again], 0, []);
  });

  it('do not hold with a gap, a repetition or another secret', () => {
    assert.throws(() => {
      ticksHold([...run('alpha', 1, 2), tick('beta', 4)], 0, []);
    }, /tick 4 of the guest follows 2/);
    assert.throws(() => {
      ticksHold([...run('alpha', 1, 2), tick('beta', 2)], 0, []);
    }, /tick 2 of the guest follows 2/);
    assert.throws(() => {
      ticksHold([tick('alpha', 1), tick('alpha', 2, { secret: 'other' })], 0, []);
    }, /secret is another one/);
  });

  it('hold with a TPM error that is accounted for, which has its number, and with no other', () => {
    const ticks = [...run('alpha', 1, 2), failed(3), ...run('beta', 4, 5)];
    ticksHold(ticks, 1, []);
    assert.throws(() => {
      ticksHold(ticks, 0, []);
    }, /met a TPM error in 1 ticks/);
    assert.throws(() => {
      ticksHold([...run('alpha', 1, 2), failed(3), tick('beta', 5)], 1, []);
    }, /tick 5 of the guest follows 2/);
  });

  it('account for the tick whose command a stopped vTPM had, and for none before or after it', () => {
    const atHeal = run('alpha', 1, 2);
    const moved = { ...failed(3), host: 'beta' };
    assert.equal(errorOfStop(atHeal, [...atHeal, moved, tick('beta', 4)]), 1);
    assert.equal(errorOfStop(atHeal, [...atHeal, ...run('beta', 3, 4)]), 0);
    assert.equal(errorOfStop(atHeal, [...atHeal, tick('beta', 3), failed(4)]), 0);
    assert.equal(errorOfStop([...atHeal, failed(3)], [...atHeal, failed(3), tick('beta', 4)]), 0);
    assert.equal(errorOfStop(atHeal, [...atHeal, moved, failed(4)]), 1);
    assert.equal(errorOfStop(atHeal, [...atHeal, failed(7)]), 0);
  });

  it('tell a second run of one boot from the one that is kept', () => {
    const before = run('alpha', 1, 2);
    const second = [tick('alpha', 4, { clock: 4_001 }), tick('alpha', 5, { clock: 5_001 })];
    const now = [...run('alpha', 1, 3), ...run('beta', 4, 6), ...second];
    now.sort((one, other) => one.clock - other.clock);
    assert.deepEqual(secondRun(before, now, 'beta', 'alpha'), second);
    ticksHold([...now, tick('alpha', 7)], 0, second);
    assert.throws(() => {
      ticksHold(now, 0, []);
    }, /tick 4 of the guest follows 4/);
    assert.throws(() => secondRun(before, now, 'gamma', 'alpha'), /has not ticked on gamma/);
  });

  it('do not take for a second run what misses a tick, or is of another boot', () => {
    const [before, kept] = [run('alpha', 1, 2), run('beta', 3, 5)];
    assert.throws(
      () => secondRun(before, [...before, ...kept, tick('alpha', 4)], 'beta', 'alpha'),
      /is missing/,
    );
    const other = tick('alpha', 3, { pcr: 'next' });
    assert.throws(() => secondRun(before, [...before, ...kept, other], 'beta', 'alpha'), /of another boot/);
  });
});
