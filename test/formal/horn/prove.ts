/**
 * Asks E and SPASS whether a goal can be derived from Horn clauses. Both saturate: they end with a refutation (the goal is derivable), or with a set of clauses
 * that is closed under their inferences and has no contradiction (it is not). Anything else, such as the end of the time, is neither, and fails the check.
 */
import type { Check, CheckResult } from '../check.ts';
import { runTool } from '../tool.ts';
import type { ToolRun } from '../tool.ts';
import { tptp } from './clauses.ts';
import type { Theory } from './clauses.ts';
import { sequentText } from './sequent.ts';
import type { Sequent } from './sequent.ts';

/** One question to one theory, for all provers. */
export interface Case {
  readonly model: string;
  readonly query: string;
  /** Of a theory, `holds`: not derivable. `attack`, and `reached` of a good end: derivable. Of a sequent, `holds`: it follows; or `not shown`. */
  readonly expected: 'holds' | 'attack' | 'reached' | 'not shown';
  readonly theory: () => Theory | Sequent;
  /** Of a mutant: what the attacker does. */
  readonly attack?: string;
}

/** Far above what any case needs on a slow machine. */
const timeoutMs = 300_000;

type Verdict = 'derivable' | 'saturated' | 'undecided';

interface Prover {
  readonly tool: string;
  readonly args: readonly string[];
  verdict(run: ToolRun): Verdict;
}

const provers: readonly Prover[] = [
  {
    tool: 'eprover',
    args: ['--auto', '--silent', '--tptp3-format', '-'],
    // E says "Satisfiable" only where its strategy was complete, else "GaveUp" or "ResourceOut".
    verdict: ({ stdout }) => {
      const status = /^# SZS status (\w+)/m.exec(stdout)?.[1];
      return status === 'Unsatisfiable' ? 'derivable' : status === 'Satisfiable' ? 'saturated' : 'undecided';
    },
  },
  {
    tool: 'SPASS',
    args: ['-TPTP', '-Stdin'],
    verdict: ({ stdout }) => {
      const result = /^SPASS beiseite: (.*)$/m.exec(stdout)?.[1]?.trim();
      return result === 'Proof found.'
        ? 'derivable'
        : result === 'Completion found.'
          ? 'saturated'
          : 'undecided';
    },
  },
];

/** The checks of a case: one for each prover. */
export function checksOf({ model, query, expected, theory, attack }: Case): readonly Check[] {
  return provers.map((prover) => {
    const asked = theory();
    const text = 'goals' in asked ? tptp(asked) : sequentText(asked);
    const name = `${model} - ${query}`.replaceAll(/[^a-z0-9]+/gi, '-');
    return {
      tool: prover.tool,
      model,
      query,
      expected,
      ...(attack === undefined ? {} : { attack }),
      text: { name: `${name}.p`, text },
      run: async (): Promise<CheckResult> => {
        const run = await runTool(prover.tool, prover.args, { timeoutMs, input: text });
        const verdict = prover.verdict(run);
        if (verdict === 'undecided')
          throw new Error(
            run.timedOut ? `undecided after ${timeoutMs / 1000} s` : `undecided: ${lastLine(run)}`,
          );
        const derivable = expected === 'reached' ? 'reached' : 'attack';
        const [shown, closed] = 'goals' in asked ? [derivable, 'holds'] : ['holds', 'not shown'];
        return { found: verdict === 'derivable' ? shown : closed, seconds: run.seconds };
      },
    };
  });
}

function lastLine({ stdout, stderr }: ToolRun): string {
  return `${stdout}\n${stderr}`.trim().split('\n').at(-1) ?? '';
}
