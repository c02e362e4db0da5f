import assert from 'node:assert/strict';
import { exchangeTheory } from './exchange-queries.ts';
import { exchangeMutants } from './exchange-suite.ts';
import { checksOf } from './prove.ts';

const pairs = exchangeMutants.filter(({ without }) => without.length > 1);

describe('defences that back each other', () => {
  for (const { without, question } of pairs)
    for (const kept of without)
      it(`without ${without.join(', ')} but with ${kept}: ${question}`, async () => {
        const rest = without.filter((defence) => defence !== kept);
        const theory = () => exchangeTheory(question, rest);
        const [check] = checksOf({ model: 'exchange', query: question, expected: 'holds', theory });
        assert.equal((await check?.run())?.found, 'holds');
      });
});
