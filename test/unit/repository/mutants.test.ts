/** The list of mutants stays true: each takes out a text that is there, and names a test that exists. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { changesOf } from '../../mutants/mutant.ts';
import { mutants } from '../../mutants/mutants.ts';
import { outcomesPage, readOutcomes } from '../../mutants/page.ts';
import { testTitles } from './test-titles.ts';

describe('the list of mutants', () => {
  it('names each once', () => {
    const names = mutants.map(({ name }) => name);
    assert.deepEqual(
      names.filter((name, index) => names.indexOf(name) !== index),
      [],
    );
    for (const name of names) assert.match(name, /^[a-z-]+\/[a-z0-9-]+$/);
  });

  it('takes out texts that are there exactly once, and puts another in their place', () => {
    for (const mutant of mutants)
      for (const { file, find, replace } of changesOf(mutant)) {
        const times = readFileSync(file, 'utf8').split(find).length - 1;
        assert.equal(times, 1, `${mutant.name}: its text in ${file}`);
        assert.notEqual(find, replace, mutant.name);
      }
  });

  it('names tests that exist, each by its exact title', function () {
    this.timeout(120_000);
    const found = testTitles([...new Set(mutants.map(({ test }) => test.file))]);
    const missing = mutants.filter(({ test }) => !found.has(`${test.file}: ${test.title}`));
    assert.deepEqual(
      missing.map(({ name }) => name),
      [],
    );
  });

  it('is what test/mutants/README.md shows, and none of them survived', () => {
    const text = readFileSync('test/mutants/README.md', 'utf8');
    const tried = readOutcomes(text);
    assert.equal(text, outcomesPage(tried), 'npm run mutants -- --only NAME --write');
    assert.deepEqual(
      [...tried].filter(([, { outcome }]) => outcome !== 'killed').map(([name]) => name),
      [],
    );
  });
});
