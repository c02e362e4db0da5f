/** Completion scripts, run by the shells that are there. */
import { strict as assert } from 'node:assert';
import { spawnSync } from 'node:child_process';
import { allCommands } from './commands.ts';
import { tvmmp } from './run-cli.ts';
import { skipWithout } from '../../support/skip.ts';

describe('tvmmp completion', () => {
  let bash: string;
  before(async () => {
    bash = (await tvmmp(['completion', 'bash'])).stdout;
  });

  /** What bash offers for these words, the last of which is being typed. */
  function complete(...words: string[]): readonly string[] {
    const quoted = ['tvmmp', ...words].map((word) => `'${word}'`).join(' ');
    const script = `${bash}\nCOMP_WORDS=(${quoted}); COMP_CWORD=${words.length}; _tvmmp; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const run = spawnSync('bash', ['--norc', '-u', '-c', script], { encoding: 'utf8' });
    assert.equal(run.stderr, '');
    return run.stdout.split('\n').filter((line) => line !== '');
  }

  it('offers every command and every option, and only those', () => {
    for (const { words, command } of allCommands()) {
      const offered = complete(...words, '');
      const wanted = command.commands.map((child) => child.name());
      const options = command.options.filter(({ hidden }) => !hidden).map(({ long }) => long ?? '');
      assert.deepEqual([...offered].sort(), [...wanted, ...options, '--help'].sort(), words.join(' '));
    }
  });

  it('completes words that were begun, also after arguments', () => {
    assert.deepEqual(complete('pro'), ['proof']);
    assert.deepEqual(complete('vm', 'un'), ['unprotect']);
    assert.deepEqual(complete('migrate', 'web', 'beta', '--band'), ['--bandwidth']);
    assert.deepEqual(complete('proof', 'verify', 'web.tvmmp-proof', '--auth'), ['--authority']);
    assert.deepEqual(complete('vm', 'protect', 'w'), []);
  });

  it('prints a script for zsh that names every command', async () => {
    const { code, stdout } = await tvmmp(['completion', 'zsh']);
    assert.equal(code, 0);
    assert.ok(stdout.startsWith('#compdef tvmmp\n'));
    for (const { words } of allCommands())
      assert.ok(stdout.includes(`'${words.join(' ')}') items=(`), words.join(' '));
  });

  it('prints a script for zsh that zsh can read', async function () {
    skipWithout(this, spawnSync('zsh', ['--version']).error && 'zsh is not installed');
    const { stdout } = await tvmmp(['completion', 'zsh']);
    const run = spawnSync('zsh', ['-n'], { input: stdout, encoding: 'utf8' });
    assert.deepEqual([run.status, run.stderr], [0, '']);
  });
});
