/** A bounded run of every target, so many executions each, from a fixed seed; and that the fuzzer finds what is broken. */
import { strict as assert } from 'node:assert';
import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { corpusFile, foundInputs, readCorpus } from './inputs.ts';
import { nativeTargets } from './native.ts';
import { canaries } from './targets/canary.ts';
import { targets } from './targets.ts';

interface Told {
  readonly target: string;
  readonly executions: number;
  readonly accepted: number;
  readonly blocks: number;
  readonly findings: readonly { readonly message: string; readonly input: string }[];
}

/** `npm run fuzz -- --ci --json ARGUMENTS`. */
function fuzz(...words: readonly string[]): Promise<{ code: number; told: readonly Told[]; stderr: string }> {
  const script = ['--import', './test/fuzz/instrument.mjs', 'test/fuzz/main.ts', '--ci', '--json', ...words];
  return new Promise((resolve) => {
    const child = execFile(process.execPath, script, { maxBuffer: 64 * 1024 * 1024 }, (_, stdout, stderr) => {
      const told = stdout === '' ? [] : (JSON.parse(stdout) as Told[]);
      resolve({ code: child.exitCode ?? -1, told, stderr });
    });
  });
}

describe('fuzzing', () => {
  let run: Awaited<ReturnType<typeof fuzz>>;

  before(async () => {
    run = await fuzz();
    assert.ok(run.told.length > 0, run.stderr);
  });

  for (const { name, about, executions, seeds } of targets) {
    it(`${name}: ${about}`, () => {
      const told = run.told.find(({ target }) => target === name);
      assert.ok(told, run.stderr);
      assert.deepEqual(told.findings, [], run.stderr);
      assert.ok(told.executions >= executions + seeds().length + foundInputs(name).size);
      assert.ok(told.accepted > 0, 'nothing was accepted: what was fuzzed?');
    });
  }

  for (const { name, about, executions } of nativeTargets) {
    it(`${name}: ${about}`, () => {
      const told = run.told.find(({ target }) => target === name);
      assert.ok(told, run.stderr);
      assert.deepEqual(told.findings, [], run.stderr);
      assert.ok(told.executions >= executions + readCorpus(corpusFile(name)).length, run.stderr);
    });
  }

  it('keeps corpora and findings of targets that exist, and no others', () => {
    const names = [...targets, ...nativeTargets].map(({ name }) => name);
    const folders = ['corpus/', 'found/'].map((folder) => new URL(folder, import.meta.url));
    const kept = folders.filter((folder) => existsSync(folder)).flatMap((folder) => readdirSync(folder));
    assert.deepEqual(
      kept.filter((file) => !names.includes(file.replace(/\.txt$/, ''))),
      [],
    );
  });
});

describe('the fuzzer', () => {
  const expected: Readonly<Record<string, RegExp>> = {
    'canary-throws': /RangeError: the canary sings/,
    'canary-works': /too much work/,
    'canary-hangs': /hangs/,
    'canary-eats': /memory/,
  };

  for (const { name } of canaries) {
    it(`finds what is broken in ${name}, and the input that shows it`, async () => {
      const { code, told, stderr } = await fuzz(
        name,
        ...(name === 'canary-hangs' ? ['--hang-seconds', '10'] : []),
      );
      assert.equal(code, 1, stderr);
      const [finding] = told[0]?.findings ?? [];
      assert.match(finding?.message ?? stderr, expected[name]!);
      const input = Buffer.from(finding?.input ?? '', 'base64');
      if (name !== 'canary-throws') assert.equal(input[0], 0x42);
      else assert.match(input.toString('latin1'), /^tvmp..bird/s);
    });
  }

  it('repeats itself: the same seed, the same run', async () => {
    const told = await Promise.all(
      [1, 2].map(() => fuzz('tpm-attest', '--executions', '2000', '--seed', '7')),
    );
    assert.ok((told[0]?.told[0]?.executions ?? 0) > 2000, told[0]?.stderr);
    assert.deepEqual(told[0]?.told, told[1]?.told);
  });

  it('refuses a target that it does not have', async () => {
    const { code, stderr } = await fuzz('no-such-target');
    assert.equal(code, 2);
    assert.match(stderr, /no target no-such-target/);
  });
});
