/** What the demo ends with; the last line of `scripts/demo --json`. */
export interface DemoSummary {
  readonly migrations: readonly {
    readonly from: string;
    readonly to: string;
    readonly by: 'virsh' | 'tvmmp';
    readonly totalMs: number;
    readonly downtimeMs: number;
  }[];
  readonly guest: {
    readonly ticksLost: number;
    readonly pcrUnchanged: boolean;
    readonly secretUnsealed: boolean;
  };
  readonly refusals: readonly { readonly case: string; readonly reason: string }[];
  readonly proof: { readonly entries: number; readonly verified: boolean; readonly file: string };
}

/** Writes numbered steps for people; with `--json` to standard error, so that the last line of standard output is the summary. */
export class Narrator {
  readonly #out: NodeJS.WriteStream;
  #step = 0;

  constructor(json: boolean) {
    this.#out = json ? process.stderr : process.stdout;
  }

  /** What comes next, in a line. */
  step(text: string): void {
    this.#step += 1;
    this.#out.write(`\n${this.#step}. ${text}\n`);
  }

  /** What was typed or seen. */
  detail(text: string): void {
    for (const line of text.trimEnd().split('\n')) this.#out.write(`     ${line}\n`);
  }
}

/** The end of the demo for people. */
export function printSummary(out: NodeJS.WriteStream, summary: DemoSummary): void {
  const line = (text: string): void => void out.write(`  ${text}\n`);
  out.write('\nSummary\n');
  for (const { from, to, by, totalMs, downtimeMs } of summary.migrations) {
    line(`${from} -> ${to} by ${by}: ${totalMs} ms in all, ${downtimeMs} ms downtime`);
  }
  const { ticksLost, pcrUnchanged, secretUnsealed } = summary.guest;
  line(
    `guest: ${ticksLost} ticks lost, PCR ${yes(pcrUnchanged)} unchanged, secret ${yes(secretUnsealed)} unsealed throughout`,
  );
  for (const { case: name, reason } of summary.refusals) line(`refused: ${name}: ${reason}`);
  line(
    `proof: ${summary.proof.entries} entries, ${summary.proof.verified ? 'verified' : 'NOT VERIFIED'} offline`,
  );
}

function yes(holds: boolean): string {
  return holds ? 'was' : 'WAS NOT';
}

/** What of the promise did not hold; empty when all of it did. */
export function broken(summary: DemoSummary): readonly string[] {
  const failures: string[] = [];
  if (summary.migrations.length !== 2) failures.push('not both migrations happened');
  if (summary.guest.ticksLost !== 0) failures.push(`${summary.guest.ticksLost} ticks were lost`);
  if (!summary.guest.pcrUnchanged) failures.push("the guest's PCR changed");
  if (!summary.guest.secretUnsealed) failures.push("the guest's secret did not unseal");
  if (summary.refusals.length !== 3) failures.push('not all three refusals happened');
  if (!summary.proof.verified) failures.push('the proof does not verify');
  return failures;
}
