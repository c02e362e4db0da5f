/** The page about chaos says what its tables of code have. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
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
