/** ProVerif is in no package: what it said is recorded, and held against the models, the expectations and the list of defences. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { cases, modelText, readRecorded } from './cases.ts';
import { defences } from './defences.ts';
import { expand, queriesOf, switchesOf } from './expand.ts';
import { readAnswers } from './prover.ts';

const all = cases();
const models = [...new Set(all.map(({ model }) => model))];
const { prover, runs } = readRecorded();
const sections: ReadonlySet<string> = new Set(
  [...readFileSync('SPEC.md', 'utf8').matchAll(/^#{2,3} (\d+(?:\.\d+)?)\.? /gm)].map((match) => match[1]!),
);
const broken = (model: string, variant: string): readonly string[] => {
  const names = (text: string): string => text.split('+').sort().join('+');
  const found = all.find((one) => one.model === model && names(one.variant) === names(variant));
  assert.ok(found !== undefined, `${model} has no variant ${variant} in expected.json`);
  return Object.keys(found.expected).filter((query) => found.expected[query] === 'broken');
};

describe('the recorded proofs of ProVerif', () => {
  it('name the prover', () => {
    assert.match(prover, /^ProVerif 2\.\d+/);
  });

  it('are all expected, and no more', () => {
    const recorded = Object.entries(runs).flatMap(([model, variants]) =>
      Object.keys(variants).map((variant) => `${model} ${variant}`),
    );
    assert.deepEqual(recorded.sort(), all.map(({ model, variant }) => `${model} ${variant}`).sort());
  });

  for (const { model, variant, sha256, expected, finding } of all) {
    it(`of ${model}, ${variant}: are of this text and say what is expected`, () => {
      const run = runs[model]?.[variant];
      assert.equal(run?.sha256, sha256, 'the model was changed: npx tsx test/formal/proverif/record.ts');
      assert.deepEqual(run.found, expected);
      assert.equal(finding === null, variant === 'base');
      if (finding !== null)
        assert.ok(finding.length > 40 && finding.endsWith('.'), 'a finding is a sentence');
    });
  }

  for (const model of models) {
    it(`hold whole in ${model} as it is, and every good end is reached`, () => {
      assert.deepEqual(broken(model, 'base'), []);
      const ends = queriesOf(modelText(model)).filter(({ kind }) => kind === 'reach');
      // Two worlds that cannot be told apart have no ends; that something happens in them, its broken variants show.
      assert.ok(ends.length > 0 || modelText(model).includes('choice['));
      for (const { expected } of all.filter((one) => one.model === model)) {
        for (const { name } of ends) assert.equal(expected[name], 'reached', name);
      }
    });
  }
});

describe('the defences of SPEC.md in the models', () => {
  it('are switches of the models, all of them', () => {
    const listed = defences.flatMap((defence) =>
      Object.keys(defence.in).map((model) => `${model} ${defence.name}`),
    );
    const switches = models.flatMap((model) =>
      switchesOf(modelText(model)).map((name) => `${model} ${name}`),
    );
    assert.deepEqual(listed.sort(), switches.sort());
  });

  it('have one entry each, in sections that SPEC.md has', () => {
    const names = defences.map(({ name }) => name);
    assert.deepEqual(names, [...new Set(names)]);
    const named = defences.flatMap((defence) => defence.sections);
    assert.deepEqual(
      named.filter((section) => !sections.has(section)),
      [],
    );
  });

  for (const { name, in: where, outside } of defences) {
    if (Object.keys(where).length === 0) {
      it(`${name}: is outside the models for a reason`, () => {
        assert.ok((outside ?? '').length > 40);
      });
    }
    for (const [model, others] of Object.entries(where)) {
      if (others.length === 0) {
        it(`${name}: ${model} breaks without it`, () => {
          assert.notDeepEqual(broken(model, name), []);
        });
      } else {
        it(`${name}: is backed in ${model} by ${others.join(' and ')}, and counts where that is gone`, () => {
          assert.deepEqual(broken(model, name), []);
          const without = broken(model, others.join('+'));
          const both = broken(model, [name, ...others].join('+'));
          assert.ok(both.some((query) => !without.includes(query)));
        });
      }
    }
  }
});

describe('the models', () => {
  for (const model of models) {
    it(`${model}: names sections that SPEC.md has`, () => {
      const named = [...modelText(model).matchAll(/\bSPEC ((?:\d+(?:\.\d+)?(?:, | and | to )?)+)/g)];
      assert.ok(named.length > 0);
      const numbers = named.flatMap((match) => match[1]!.match(/\d+(?:\.\d+)?/g) ?? []);
      assert.deepEqual(
        numbers.filter((number) => !sections.has(number)),
        [],
      );
    });

    it(`${model}: has a section at every message, check and event of its processes`, () => {
      const lines = expand(modelText(model), []).split('\n');
      const processes = lines.slice(lines.findIndex((line) => line.startsWith('let ')));
      const step = /^[\s(|!]*(?:in\(|out\(|if |get |insert |event )/;
      const bare = processes.filter((line) => step.test(line) && !line.includes('(* SPEC '));
      assert.deepEqual(bare, []);
    });
  }
});

describe('models with switches', () => {
  const text = ['a', '(* @without x *)', 'b', '(* @else *)', 'c', '(* @end *)', 'd'].join('\n');

  it('keep a defence, or take it away', () => {
    assert.equal(expand(text, []), 'a\nc\nd');
    assert.equal(expand(text, ['x']), 'a\nb\nd');
  });

  it('nest', () => {
    const nested = ['(* @without y *)', 'e', '(* @else *)', text, '(* @end *)'].join('\n');
    assert.equal(expand(nested, ['x']), 'a\nb\nd');
    assert.equal(expand(nested, ['x', 'y']), 'e');
  });

  it('refuse a switch that is not there, and blocks that do not close', () => {
    assert.throws(() => expand(text, ['z']), /no switch z/);
    assert.throws(() => expand('(* @without x *)', []), /not closed/);
    assert.throws(() => expand('(* @end *)', []), /without a block/);
  });
});

describe('answers of the prover', () => {
  const model = '(* @query q: one *)\n(* @reach r: two *)';

  it('are read in the order of the queries', () => {
    const output = 'RESULT x is false.\nRESULT (even y is false.)\nRESULT not event(e) is false.\n';
    assert.deepEqual(readAnswers(model, output), { q: 'broken', r: 'reached' });
    const other = 'RESULT x cannot be proved.\nRESULT not event(e) is true.\n';
    assert.deepEqual(readAnswers(model, other), { q: 'unproved', r: 'never reached' });
  });

  it('about two worlds are an equivalence, or a run that tells them apart', () => {
    const worlds = '(* @query q: one *)';
    const differs = 'The result in the left-hand side is different from the result in the right-hand side.\n';
    const open = 'RESULT Observational equivalence cannot be proved.\n';
    assert.deepEqual(readAnswers(worlds, 'RESULT Observational equivalence is true.\n'), { q: 'holds' });
    assert.deepEqual(readAnswers(worlds, `${differs}A trace has been found.\n${open}`), { q: 'broken' });
    assert.deepEqual(readAnswers(worlds, open), { q: 'unproved' });
  });

  it('must all be there', () => {
    assert.throws(() => readAnswers(model, 'RESULT x is true.\n'), /1 answers to 2 queries/);
  });
});
