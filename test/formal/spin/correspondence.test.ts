/** The Promela model is the code's: the same transitions, the same effects in the same order, and a section of SPEC.md behind each. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { modelFile } from './pan.ts';
import { codeRows, isIdle, modelRows, rowText } from './rows.ts';

describe('the model of the hand-over', () => {
  const model = modelRows(modelFile);
  const code = codeRows();

  it('has every transition of the shipped state machines', () => {
    const known = new Set(model.map(rowText));
    const inScope = code.filter((row) => !isIdle(row));
    assert.ok(inScope.length > 60, `${inScope.length} transitions`);
    assert.deepEqual(
      inScope.map(rowText).filter((row) => !known.has(row)),
      [],
    );
  });

  it('has no transition that the shipped state machines lack', () => {
    const known = new Set(code.map(rowText));
    assert.deepEqual(
      model.map(rowText).filter((row) => !known.has(row)),
      [],
    );
    assert.equal(new Set(model.map(rowText)).size, model.length, 'a row stands twice');
  });

  it('names sections of SPEC.md that are there', () => {
    const spec = readFileSync('SPEC.md', 'utf8');
    for (const section of new Set(model.flatMap((row) => row.section.replace('SPEC ', '').split(', '))))
      assert.match(spec, new RegExp(`^##+ ${section.replace('.', '\\.')}\\.? `, 'm'), section);
  });
});
