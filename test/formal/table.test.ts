import assert from 'node:assert/strict';
import type { Check } from './check.ts';
import { allChecks } from './suites.ts';
import { decide, summary, Table } from './table.ts';
import { MissingTool, runTool } from './tool.ts';

const check = (run: Check['run']): Check => ({ tool: 't', model: 'm', query: 'q', expected: 'holds', run });
const finding = (found: string) => check(() => Promise.resolve({ found, seconds: 1 }));

describe('the table of formal checks', () => {
  it('passes a check that found what it expects, and no other', async () => {
    assert.equal((await decide('s', finding('holds'))).passed, true);
    assert.equal((await decide('s', finding('fails'))).passed, false);
    assert.equal((await decide('s', finding(''))).passed, false);
  });

  it('fails a check whose tool is missing, and says which', async () => {
    const row = await decide(
      's',
      check(async () => {
        await runTool('tvmmp-no-such-prover', [], { timeoutMs: 1000 });
        return { found: 'holds', seconds: 0 };
      }),
    );
    assert.equal(row.passed, false);
    assert.equal(row.found, 'tvmmp-no-such-prover is not installed: run scripts/setup');
  });

  it('marks failures and recorded verdicts, and counts them', async () => {
    const good = await decide('s', finding('holds'));
    const bad = await decide('s', finding('fails'));
    const recorded = await decide(
      's',
      check(() => Promise.resolve({ found: 'holds', seconds: 9, recorded: true })),
    );
    const table = new Table([finding('holds')]);
    assert.doesNotMatch(table.row(good), /FAILED|recorded/);
    assert.match(table.row(bad), /FAILED$/);
    assert.match(table.row(recorded), /holds \(recorded\)/);
    assert.equal(
      summary([good, bad, recorded]),
      '2 as expected, 1 not, 1 of them recorded, not run here; 2 s',
    );
  });

  it('has no two rows that ask the same', async () => {
    const rows = (await allChecks()).map(
      ({ check: { tool, model, query } }) => `${tool}: ${model}: ${query}`,
    );
    assert.deepEqual(
      rows.filter((row, index) => rows.indexOf(row) !== index),
      [],
    );
  });
});

describe('the runner of provers', () => {
  it('tells exit code and output, and feeds the input', async () => {
    const run = await runTool('sh', ['-c', 'cat; echo why >&2; exit 3'], {
      timeoutMs: 10_000,
      input: 'model',
    });
    assert.deepEqual([run.code, run.stdout, run.stderr, run.timedOut], [3, 'model', 'why\n', false]);
  });

  it('ends a program that takes too long, and says so', async () => {
    const run = await runTool('sleep', ['60'], { timeoutMs: 50 });
    assert.deepEqual([run.code, run.timedOut], [null, true]);
  });

  it('throws MissingTool for a program that is not there', async () => {
    await assert.rejects(runTool('tvmmp-no-such-prover', [], { timeoutMs: 1000 }), MissingTool);
  });
});
