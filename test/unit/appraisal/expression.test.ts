import { strict as assert } from 'node:assert';
import { parseExpression } from '../../../lib/appraisal/expression.ts';
import { limits } from '../../../lib/limits.ts';

const host = new Map<string, string | number>([
  ['region', 'eu'],
  ['level', 2],
]);
const holds = (text: string): boolean | 'unknown' => parseExpression(text).holds(host);

describe('conditions over attributes (SPEC 10.1)', () => {
  it('hold or not, by value and by order of numbers', () => {
    for (const text of [
      'region == "eu"',
      'region != "us"',
      'level == 2',
      'level >= 2',
      'level <= 2',
      'level > 1',
      'level < 3',
      'level != 3',
      'region in ["us", "eu"]',
      'level in [1, 2]',
      'region == "eu" and level >= 2',
      'region == "us" or level >= 2',
      'not region == "us"',
      'not (region == "us" or level < 2)',
      '  region=="eu"and(level>1)  ',
    ])
      assert.equal(holds(text), true, text);
    for (const text of [
      'region == "us"',
      'region != "eu"',
      'level > 2',
      'level < 2',
      'region in ["us", "EU"]',
      'not level == 2',
      'region == "eu" and level >= 3',
      'region == "us" or level >= 3',
    ])
      assert.equal(holds(text), false, text);
  });

  it('bind not before and before or', () => {
    assert.equal(holds('region == "eu" or region == "us" and level == 9'), true);
    assert.equal(holds('(region == "eu" or region == "us") and level == 9'), false);
    assert.equal(holds('not region == "eu" or level == 2'), true);
  });

  it('stay open about an attribute that is missing or of another type, also under not, unless something else decides', () => {
    for (const text of [
      'zone == "a"',
      'zone != "a"',
      'not zone == "a"',
      'zone in ["a"]',
      'level == "2"',
      'region == 1',
      'region in [1]',
      'region < 5',
      'region == "eu" and zone == "a"',
      'region == "us" or zone == "a"',
    ])
      assert.equal(holds(text), 'unknown', text);
    assert.equal(holds('region == "eu" or zone == "a"'), true);
    assert.equal(holds('region == "us" and zone == "a"'), false);
  });

  it('name their attributes, each once', () => {
    assert.deepEqual(parseExpression('a == 1 and (b in [1] or not a == 2)').names, ['a', 'b']);
  });

  it('that cannot be read are refused', () => {
    for (const text of [
      '',
      'region',
      'region ==',
      '== "eu"',
      'region = "eu"',
      'region == eu',
      "region == 'eu'",
      'region == "eu',
      'region == "e\\u"',
      'region == "eu" level == 2',
      'region == "eu" and',
      '(region == "eu"',
      'region == "eu")',
      'region in []',
      'region in ["eu",]',
      'region in "eu"',
      'region > "eu"',
      'Region == "eu"',
      'and == 1',
      'level == 2147483648',
      'level == -1',
      'level == 1.5',
      'region == "eu"; level == 2',
      'region == "\u00fc"',
      'region == "eu"\n',
      '__proto__ == 1',
      `a == "${'x'.repeat(limits.expressionCharactersMax)}"`,
      `${'('.repeat(limits.expressionDepthMax + 1)}a == 1${')'.repeat(limits.expressionDepthMax + 1)}`,
      `${'not '.repeat(limits.expressionDepthMax + 1)}a == 1`,
    ])
      assert.throws(() => parseExpression(text), { code: 'policy-invalid' }, text);
    const deep = limits.expressionDepthMax - 1;
    parseExpression(`${'('.repeat(deep)}a == 1${')'.repeat(deep)}`);
  });
});
