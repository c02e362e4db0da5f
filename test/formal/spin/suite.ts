/** Rows of `npm run formal` about the hand-over under faults. README.md beside this folder says what is modelled. */
import type { Check, CheckResult } from '../check.ts';
import { search } from './pan.ts';
import type { Search, Searched } from './pan.ts';
import { revocationChecks } from './revocation.ts';

/** The properties by the names that pan gives them, each with the bit that looks for it alone (`ONLY` in the model). */
const properties = {
  'two runnable': 1,
  forked: 2,
  'current lost': 4,
  'copy destroyed while it runs': 8,
  stuck: 16,
  'key left': 32,
} as const;
type Property = keyof typeof properties;

/** The design tolerates one fault at any step; one more is searched. */
const faults = 2;

/** One rule of the design taken away, and what then goes wrong. */
interface Mutant {
  readonly without: string;
  readonly switches: readonly string[];
  readonly breaks: Property | null;
}

const oneFault = 'FAULTS=1';
const mutants: readonly Mutant[] = [
  {
    without: 'source signs aborted on the target’s word alone',
    switches: ['FAULTS=2', 'MUTANT_LONE_SOURCE'],
    breaks: 'forked',
  },
  {
    without: 'a definition that libvirt left counts as an arrival',
    switches: ['FAULTS=1', 'MUTANT_TARGET_GUESSES'],
    breaks: 'current lost',
  },
  {
    without: 'staged copy is durable before it is acknowledged',
    switches: [oneFault, 'MUTANT_ACK_BEFORE_STAGE'],
    breaks: 'current lost',
  },
  {
    without: 'commit: departing and session in one durable write',
    switches: [oneFault, 'MUTANT_COMMIT_IN_TWO'],
    breaks: 'stuck',
  },
  {
    without: 'arrive: entry and session in one durable write',
    switches: [oneFault, 'MUTANT_ARRIVE_IN_TWO'],
    breaks: 'stuck',
  },
  {
    without: 'what no session waits for is swept away',
    switches: [oneFault, 'MUTANT_NO_SWEEP'],
    breaks: 'key left',
  },
  {
    without: 'an agent that starts takes left keys out of libvirt',
    switches: [oneFault, 'MUTANT_KEY_STAYS'],
    breaks: 'key left',
  },
  {
    without: 'discard: decision and deletion in one durable write',
    switches: [oneFault, 'MUTANT_DISCARD_IN_TWO'],
    breaks: null,
  },
  {
    without: 'one-write discard and sweep',
    switches: [oneFault, 'MUTANT_DISCARD_IN_TWO', 'MUTANT_NO_SWEEP'],
    breaks: 'key left',
  },
  {
    without: 'session number checked on every message',
    switches: [oneFault, 'SESSIONS=2', 'MUTANT_SESSION_UNCHECKED'],
    breaks: 'forked',
  },
  {
    without: 'libvirt asked before arrived is believed',
    switches: [oneFault, 'MUTANT_SOURCE_BELIEVES'],
    breaks: 'copy destroyed while it runs',
  },
  {
    without: 'abort repeated until answered',
    switches: [oneFault, 'MUTANT_ABORT_SAID_ONCE'],
    breaks: 'stuck',
  },
  {
    without: 'arrived repeated until departed',
    switches: [oneFault, 'MUTANT_ARRIVED_SAID_ONCE'],
    breaks: 'stuck',
  },
  {
    without: 'start gate refuses a departing VM',
    switches: [oneFault, 'MUTANT_GATE_LETS_DEPARTING'],
    breaks: 'two runnable',
  },
  {
    without: 'an administrator’s word on what came to the target unseen',
    switches: [oneFault, 'OPERATOR=1', 'MUTANT_NOTHING_TO_STATE_OF_STAGED'],
    breaks: 'stuck',
  },
  {
    without: 'nothing; an administrator is mistaken (SPEC 6.9)',
    switches: [oneFault, 'OPERATOR=2'],
    breaks: 'two runnable',
  },
  {
    without: 'nothing; an administrator is mistaken (SPEC 6.9)',
    switches: [oneFault, 'OPERATOR=2'],
    breaks: 'current lost',
  },
  {
    without: 'nothing; the source’s journal put back',
    switches: [oneFault, 'ROLLBACK=1'],
    breaks: null,
  },
  {
    without: 'start gate asks for the vTPM’s state; journal put back',
    switches: [oneFault, 'ROLLBACK=1', 'MUTANT_GATE_IGNORES_VTPM'],
    breaks: 'two runnable',
  },
  {
    without: 'nothing; the source’s vTPM state put back',
    switches: [oneFault, 'ROLLBACK=2'],
    breaks: null,
  },
  {
    without: 'start gate asks the journal; vTPM state put back',
    switches: [oneFault, 'ROLLBACK=2', 'MUTANT_GATE_IGNORES_JOURNAL'],
    breaks: 'two runnable',
  },
  {
    without: 'nothing; both put back (SPEC 13: not defended)',
    switches: [oneFault, 'ROLLBACK=3'],
    breaks: 'two runnable',
  },
];

const holds = 'holds';

export function checks(): Promise<readonly Check[]> {
  return Promise.resolve([
    ...shared(`hand-over, ${faults} faults`, { switches: [`FAULTS=${faults}`] }),
    ...shared(`hand-over, ${faults} faults, administrators who looked`, {
      switches: [`FAULTS=${faults}`, 'OPERATOR=1'],
    }),
    ...shared('hand-over, 1 fault, two sessions', { switches: [oneFault, 'SESSIONS=2'] }),
    {
      tool: 'spin',
      model: `hand-over, ${faults} faults`,
      query: 'endless run',
      expected: holds,
      run: () => answer({ switches: [`FAULTS=${faults}`], cycles: true }),
    },
    ...mutants.map(check),
    ...revocationChecks(),
  ]);
}

/** One search answers for all properties. */
function shared(model: string, what: Search): readonly Check[] {
  let found: Promise<Searched> | null = null;
  return Object.keys(properties).map((query, index) => ({
    tool: 'spin',
    model,
    query,
    expected: holds,
    run: async (): Promise<CheckResult> => {
      found ??= search(what);
      const { violated, states, seconds } = await found;
      if (index === 0) process.stderr.write(`spin: ${model}: ${states.toLocaleString('en-US')} states\n`);
      return {
        found: violated === null ? holds : `violated: ${violated}`,
        seconds: index === 0 ? seconds : 0,
      };
    },
  }));
}

function check({ without, switches, breaks }: Mutant): Check {
  const rollback = switches.some((name) => name.startsWith('ROLLBACK'));
  const query = breaks ?? (rollback ? 'two runnable' : 'all');
  const only = query === 'all' ? [] : [`ONLY=${properties[query]}`];
  return {
    tool: 'spin',
    model: `without: ${without}`,
    query,
    expected: breaks === null ? holds : `violated: ${breaks}`,
    run: () => answer({ switches: [...switches, ...only] }),
  };
}

async function answer(what: Search): Promise<CheckResult> {
  const { violated, seconds } = await search(what);
  return { found: violated === null ? holds : `violated: ${violated}`, seconds };
}
