import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { modelFile } from './pan.ts';
import { modelRows } from './rows.ts';
import { tracesAreBehaviours } from './traces.ts';

const model = modelRows(modelFile);
const recorded = readFileSync(new URL('recorded.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n');

describe('what agents did, by their logs', () => {
  it('is a behaviour of the model: a migration, and one whose target was killed while it waited', () => {
    const { steps, strays } = tracesAreBehaviours(recorded, model);
    assert.deepEqual(strays, []);
    assert.equal(steps, recorded.filter((line) => line.includes('"msg":"session"')).length);
    assert.ok(steps > 25);
  });

  it('is none where a step is missing, or comes in another order', () => {
    for (let index = 0; index < recorded.length; index += 1) {
      const [line = '', next = ''] = recorded.slice(index, index + 2);
      const inside = /"state":"(appraising|signing|offered|destroying|attested|staging|arriving|arrived)"/;
      const together = hostAndRole(line) === hostAndRole(next);
      if (!inside.test(line) || !together) continue;
      const without = recorded.filter((_, at) => at !== index);
      assert.equal(tracesAreBehaviours(without, model).strays.length, 1, line);
    }
  });

  it('is none where a session does what the model has not', () => {
    const invented = { host: 'alpha', vm: 'v', role: 'target', msg: 'session' };
    const lines = ['hello-sent', 'greeted', 'staged'].map((state) => JSON.stringify({ ...invented, state }));
    assert.deepEqual(tracesAreBehaviours(lines, model).strays, [
      { host: 'alpha', role: 'target', from: 'greeted', to: 'staged' },
    ]);
  });
});

function hostAndRole(line: string): string {
  return /"host":"\w+".*"role":"\w+"/.exec(line)?.[0].replace(/"vm":"[^"]*",/, '') ?? '';
}
