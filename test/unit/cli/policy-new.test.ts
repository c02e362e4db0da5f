/** `tvmmp policy new --quarantine` (SPEC 16): what is typed is what the draft holds, and nothing else passes. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json, tvmmp } from './run-cli.ts';

describe('tvmmp policy new --quarantine', function () {
  this.timeout(30_000);
  let directory: string;
  let state: string;

  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-policy-new-'));
    state = join(directory, 'alpha.json');
    writeFileSync(state, JSON.stringify({ name: 'alpha', pcrs: { sha256: { 0: 'ab'.repeat(32) } } }));
  });
  after(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  const draft = (...more: readonly string[]): ReturnType<typeof tvmmp> =>
    tvmmp(['policy', 'new', '--id', 'fleet', '--version', '1', '--pcrs', '0', '--state', state, ...more]);

  for (const [typed, held] of [
    ['300:trusted', { everySeconds: 300, leave: 'trusted' }],
    ['86400:never', { everySeconds: 86_400, leave: 'never' }],
    ['10', { everySeconds: 10, leave: 'never' }],
  ] as const)
    it(`takes ${typed}, and policy check reads it`, async () => {
      const made = await draft('--quarantine', typed);
      assert.equal(made.code, 0, made.stderr);
      const file = join(directory, 'draft.json');
      writeFileSync(file, made.stdout);
      const checked = json(await tvmmp(['policy', 'check', file, '--json'])) as { quarantine?: unknown };
      assert.deepEqual(checked.quarantine, held);
    });

  it('leaves it out where it is not asked for', async () => {
    assert.ok(!('quarantine' in json(await draft())));
  });

  for (const typed of ['9', '86401', '300:sometimes', '300:', ':never', '5m', '-300', ''])
    it(`refuses ${JSON.stringify(typed)}, and says what it takes`, async () => {
      const { code, stderr } = await draft('--quarantine', typed);
      assert.deepEqual([code, /10 to 86400 seconds/.test(stderr)], [2, true], stderr);
    });
});
