/** Help and usage of every command. */
import { strict as assert } from 'node:assert';
import { allCommands, helpOf } from './commands.ts';
import { tvmmp } from './run-cli.ts';

const commands = allCommands();
const doing = commands.filter(({ command }) => command.commands.length === 0);

describe('help of tvmmp', () => {
  it('is there for every command, on standard output, with exit code 0', async () => {
    for (const { words } of commands) {
      const run = await tvmmp([...words, '--help']);
      assert.deepEqual({ code: run.code, stderr: run.stderr }, { code: 0, stderr: '' }, words.join(' '));
      assert.ok(run.stdout.startsWith(`Usage: ${['tvmmp', ...words].join(' ')}`), run.stdout);
    }
  }).timeout(120_000);

  for (const { words, command } of doing) {
    it(`of ${words.join(' ')} has a summary, a description, examples and --json`, () => {
      const text = helpOf(command);
      assert.notEqual(command.summary(), '');
      assert.ok(command.description().length > command.summary().length);
      assert.match(text, /\nExamples:\n {2}\$ tvmmp /);
      assert.match(text, /--json +print one JSON document/);
    });
  }

  it('explains the exit codes and the first steps', async () => {
    const { stdout } = await tvmmp(['--help']);
    for (const text of ['Exit codes: 0 done, 1 refused, 2 unusable', 'tvmmp authority init', 'tvmmp migrate'])
      assert.ok(stdout.includes(text), text);
  });
});

describe('usage errors of tvmmp', () => {
  const cases: readonly (readonly [args: string, says: RegExp])[] = [
    ['', /say which command/],
    ['vm', /say which command/],
    ['vm protect', /missing required argument 'vm'/],
    ['vm protec web', /unknown command 'protec' \(Did you mean protect\?\)/],
    ['status --jsno', /unknown option '--jsno'/],
    ['status extra', /too many arguments/],
    ['migrate web beta --bandwidth 0', /argument '0' is invalid/],
    ['host measure --pcrs 7-0', /argument '7-0' is invalid/],
    ['host measure --pcrs 24', /argument '24' is invalid/],
    ['host init', /required option '--bundle <file>' not specified/],
    ['proof verify x', /required option '--authority <file>' not specified/],
    ['completion fish', /'fish' is invalid for argument 'shell'/],
  ];
  for (const [args, says] of cases) {
    it(`exits 2 with one line for: tvmmp ${args}`, async () => {
      const run = await tvmmp(args.split(' ').filter((word) => word !== ''));
      assert.equal(run.code, 2);
      assert.equal(run.stdout, '');
      const lines = run.stderr.trimEnd().split('\n');
      assert.match(lines.at(-1) ?? '', says);
      assert.match(lines.at(-1) ?? '', /^tvmmp: .*; try --help \(usage-invalid\)$/);
    });
  }

  it('names a file that cannot be read, and exits 2', async () => {
    const run = await tvmmp(['proof', 'verify', '/nonexistent', '--authority', '/nonexistent']);
    assert.deepEqual(run, {
      code: 2,
      stdout: '',
      stderr: 'tvmmp: cannot read /nonexistent: there is no such file (usage-invalid)\n',
    });
  });

  it('refuses a configuration that it does not understand, and exits 2', async () => {
    const run = await tvmmp(['status', '--config', '/nonexistent.json']);
    assert.equal(run.code, 2);
    assert.match(run.stderr, /^tvmmp: cannot read \/nonexistent\.json: .* \(config-invalid\)\n$/);
  });
});
