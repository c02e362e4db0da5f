/** The attack catalogue is whole, true and shown: what it names exists, and the documents are written from it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dimensions } from '../../attacks/catalogue/attack.ts';
import { attacks, rowsMax } from '../../attacks/catalogue/catalogue.ts';
import { indexPage, withDimensionTable } from '../../attacks/catalogue/page.ts';
import { testTitles } from './test-titles.ts';

describe('the attack catalogue', () => {
  it('has every row from 1 to 24, and every dimension of X.805', () => {
    const rows = Array.from({ length: rowsMax }, (_, index) => index + 1);
    assert.deepEqual([...new Set(attacks.map(({ row }) => row))], rows);
    const named = new Set(attacks.flatMap((attack) => attack.dimensions));
    assert.deepEqual(
      dimensions.filter((dimension) => !named.has(dimension)),
      [],
    );
  });

  it('shows a test for each attack, or says why there is none', () => {
    for (const { attack, tests, limit } of attacks) {
      assert.ok(tests.length > 0 || /^(?:Not defended|Out of scope)/.test(limit ?? ''), attack);
      for (const { file, titles } of tests) assert.ok(titles.length > 0, `${attack}: ${file}`);
    }
  });

  it('names tests that exist, each by its exact title', function () {
    this.timeout(120_000);
    const named = attacks.flatMap(({ tests }) => tests);
    const found = testTitles([...new Set(named.map(({ file }) => file))]);
    const missing = named.flatMap(({ file, titles }) =>
      titles.map((title) => `${file}: ${title}`).filter((test) => !found.has(test)),
    );
    assert.deepEqual(missing, []);
  });

  it('names queries of models that are in the repository', () => {
    for (const { queries = [] } of attacks)
      for (const query of queries) {
        const [file = '', name = ''] = query.split(': ');
        assert.ok(readFileSync(`test/formal/${file}`, 'utf8').includes(name), query);
      }
  });

  it('names sections that SPEC.md has', () => {
    const spec = readFileSync('SPEC.md', 'utf8');
    for (const { attack, spec: sections } of attacks)
      for (const section of sections.split(', '))
        assert.match(spec, new RegExp(`^#+ ${section.replace('.', '\\.')}\\b`, 'm'), `${attack}: ${section}`);
  });

  it('is what test/attacks/README.md and SECURITY.md show', () => {
    assert.equal(readFileSync('test/attacks/README.md', 'utf8'), indexPage(), 'npm run attacks -- --write');
    const security = readFileSync('SECURITY.md', 'utf8');
    assert.equal(security, withDimensionTable(security), 'npm run attacks -- --write');
  });
});
