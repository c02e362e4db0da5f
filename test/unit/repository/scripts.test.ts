/** What a script of ours says to who does not know it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';

const tsx = import.meta.resolve('tsx');
const scripts = { attacks: 'scripts/attacks.d/attacks.ts', mutants: 'scripts/mutants.d/mutants.ts' } as const;

describe('the scripts that run tests', function () {
  this.timeout(120_000);
  const run = (file: string, word: string): ReturnType<typeof spawnSync> =>
    spawnSync(process.execPath, ['--import', tsx, file, word], { encoding: 'utf8' });

  for (const [name, file] of Object.entries(scripts)) {
    it(`${name} explains itself when asked`, () => {
      const { status, stdout } = run(file, '--help');
      assert.deepEqual([status, String(stdout).startsWith(`usage: npm run ${name} `)], [0, true]);
    });

    it(`${name} names an option that it does not know, and runs nothing`, () => {
      const { status, stdout, stderr } = run(file, '--halp');
      assert.deepEqual([status, stdout], [2, '']);
      assert.match(String(stderr), /'--halp'[^]*usage: npm run /);
    });
  }
});
