/** Targets of native/, under libFuzzer with AddressSanitizer and UBSan: their own programs, driven like the others. */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Outcome, Plan } from './campaign.ts';
import type { Finding } from './engine.ts';
import { corpusFile, foundInputs, readCorpus } from './inputs.ts';
import { writeCorpus } from './save.ts';

export interface NativeTarget {
  /** `native-PROGRAM`. */
  readonly name: string;
  readonly about: string;
  readonly executions: number;
  readonly bytesMax: number;
}

export const nativeTargets: readonly NativeTarget[] = [
  {
    name: 'native-hook-client',
    about: 'the hook client: any domain XML, any answer of the agent; its exit code is what they demand',
    executions: 20_000,
    bytesMax: 8192,
  },
  {
    name: 'native-sealed-key',
    about: 'receive keys and sealed keys: nothing opens that nobody sealed',
    executions: 20_000,
    bytesMax: 1024,
  },
  {
    name: 'native-swtpm',
    about: 'a swtpm that answers anything: a conversion that fails leaves the vTPM as it was',
    executions: 3000,
    bytesMax: 2048,
  },
];

const cache = fileURLToPath(new URL('../../.cache/fuzz/native/', import.meta.url));
const programOf = ({ name }: NativeTarget): string => join(cache, name.replace('native-', ''));

/** Builds the programs; throws where clang is missing or does not like them. */
export function buildNative(): void {
  execFileSync(fileURLToPath(new URL('native/build', import.meta.url)), {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

/** One target's fuzzing, as `campaign` for the others. */
export async function nativeCampaign(target: NativeTarget, plan: Plan): Promise<Outcome> {
  const artifacts = mkdtempSync(join(tmpdir(), 'tvmmp-fuzz-'));
  const inputs = plan.fresh ? join(artifacts, 'inputs') : join(cache, 'inputs', target.name);
  const known = writeInputs(inputs, [
    ...readCorpus(corpusFile(target.name)),
    ...foundInputs(target.name).values(),
  ]);
  try {
    const options = [
      `-seed=${plan.seed || 1}`,
      `-max_len=${target.bytesMax}`,
      `-timeout=${plan.hangSeconds}`,
      `-artifact_prefix=${artifacts}/`,
      '-print_final_stats=1',
      ...(plan.executions === Infinity ? [] : [`-runs=${plan.executions + known}`]),
      ...(plan.seconds === Infinity ? [] : [`-max_total_time=${plan.seconds}`]),
    ];
    const said = await run(programOf(target), [...options, inputs]);
    const findings = artifactsIn(artifacts).map((input) => findingOf(target, input, said));
    const number = (pattern: RegExp): number => Number([...said.matchAll(pattern)].at(-1)?.[1] ?? 0);
    const kept = readdirSync(inputs).map((file) => new Uint8Array(readFileSync(join(inputs, file))));
    const executions = number(/number_of_executed_units: (\d+)/g) || number(/^#(\d+)/gm);
    const blocks = number(/ cov: (\d+)/g);
    const { seed } = plan;
    return {
      target: target.name,
      seed,
      executions,
      accepted: executions,
      blocks,
      corpus: kept.length,
      findings,
      kept,
    };
  } finally {
    rmSync(artifacts, { recursive: true });
  }
}

/** Writes the committed corpus of a target anew: what libFuzzer's merge leaves of all that is known. */
export async function keepNative(target: NativeTarget): Promise<void> {
  const merged = mkdtempSync(join(tmpdir(), 'tvmmp-fuzz-'));
  try {
    await run(programOf(target), ['-merge=1', merged, join(cache, 'inputs', target.name)]);
    const inputs = readdirSync(merged).map((file) => new Uint8Array(readFileSync(join(merged, file))));
    writeCorpus(target.name, inputs);
  } finally {
    rmSync(merged, { recursive: true });
  }
}

/** Everything that the program prints. */
function run(program: string, words: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'] });
    const said: Buffer[] = [];
    child.stderr.on('data', (chunk: Buffer) => said.push(chunk));
    child.on('error', reject);
    child.on('close', (code) => {
      // What a program could not remove itself, because it was ended.
      rmSync(`/dev/shm/tvmmp-fuzz-${child.pid}`, { recursive: true, force: true });
      const text = Buffer.concat(said).toString();
      // libFuzzer's exit codes of findings; anything else but 0 is a program that does not work.
      if ([0, 1, 70, 71, 72, 77].includes(code ?? -1)) resolve(text);
      else reject(new Error(`${program} ended with ${code}: ${text.slice(-2000)}`));
    });
  });
}

function writeInputs(folder: string, inputs: readonly Uint8Array[]): number {
  mkdirSync(folder, { recursive: true });
  for (const input of inputs) {
    writeFileSync(join(folder, createHash('sha1').update(input).digest('hex')), input);
  }
  return readdirSync(folder).length;
}

function artifactsIn(folder: string): readonly Uint8Array[] {
  return readdirSync(folder)
    .filter((file) => /^(?:crash|leak|oom|timeout)-/.test(file))
    .map((file) => new Uint8Array(readFileSync(join(folder, file))));
}

function findingOf(target: NativeTarget, input: Uint8Array, said: string): Finding {
  const [message = 'the program ended'] = /^(?:property: |SUMMARY: |.*runtime error: ).*$/m.exec(said) ?? [];
  return { target: target.name, message, stack: said.slice(-8000), input };
}
