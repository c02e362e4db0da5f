/** Targets that take proofs from a checkpoint on (SPEC 4.1), and one host x that lies: what it can do with each rule and without. */
import type { CheckpointDefence } from './checkpoint.ts';
import { clause, differences, facts } from './clauses.ts';
import type { Clause, Theory } from './clauses.ts';
import type { Case } from './prove.ts';

const en = (signer: string, before: string, what: string) => `en(${signer},h(${before}),${what})`;
const cp = (signer: string, first: string, before: string) =>
  `cp(${signer},hs(sum(${first},${before})),h(${before}))`;

/** c held the VM, signed a checkpoint and departed to x; x to a. */
const checkpoint = cp('c', 'birth', 'l0');
const toX = en('c', checkpoint, 'dep(x)');
const atX = en('x', toX, 'arr');
const toA = en('x', atX, 'dep(a)');
const toT = en('x', atX, 'dep(t)');
/** What x makes up: a past of its own; a false checkpoint in its own epoch, and a departure after it. */
const invented = cp('x', 'false', 'l9');
const fromInvented = en('x', invented, 'dep(t)');
const lie = cp('x', 'false', atX);
const overLie = en('x', lie, 'dep(a)');
const last = (before: string) => en('a', en('a', before, 'arr'), 'dep(t)');

const steps = (head: (entry: string, holder: string, state: string) => string): readonly Clause[] => {
  const step = (signer: string, what: string, before: string, after: string) => {
    const entry = `en(${signer},h(L),${what})`;
    return clause(
      '4 one entry more',
      head(entry, signer, after),
      head('L', 'A', before),
      `signed(${signer},${entry})`,
    );
  };
  return [
    step('A', 'dep(T)', 'home', 'leaving(T)'),
    step('T', 'arr', 'leaving(T)', 'home'),
    step('A', 'stay', 'home', 'home'),
  ];
};

function theory(goal: string, known: string | null, without: CheckpointDefence | null): Theory {
  const has = (defence: CheckpointDefence, atom: string) => (without === defence ? [] : [atom]);
  const start = `cp(C,${without === 'named-summary' ? 'D' : 'hs(sum(B,L))'},h(L))`;
  const digest = without === 'true-summary' ? 'D' : 'hs(sum(birth,L))';
  const whole = `cp(A,${digest},h(L))`;
  const taken = (...atoms: readonly string[]) =>
    clause(
      '4.1, 6.7 target t takes it',
      'taken(B,L)',
      'shown(cp(C,D,R),B,L,A,leaving(t))',
      ...has('another-host', 'differs(C,A)'),
      ...atoms,
    );
  return {
    clauses: [
      ...facts('signed by c, and by x as it likes', [
        ...[checkpoint, toX].map((entry) => `signed(c,${entry})`),
        ...[atX, toA, toT, invented, fromInvented, lie, overLie].map((entry) => `signed(x,${entry})`),
      ]),
      clause('honest host a has the chain from birth', 'whole(l0,c,home)'),
      clause('4 checkpoint', `whole(${whole},A,home)`, 'whole(L,A,home)', `signed(A,${whole})`),
      ...steps((entry, holder, state) => `whole(${entry},${holder},${state})`),
      clause('6.8 and says that it arrived', 'signed(a,en(a,h(L),arr))', 'whole(L,A,leaving(a))'),
      clause('6.4 and departs to t', 'signed(a,en(a,h(L),dep(t)))', 'whole(L,a,home)'),
      clause(
        '4.1 a proof from a checkpoint on',
        `shown(${start},B,${start},C,home)`,
        `signed(C,${start})`,
        'written(B)',
      ),
      ...facts('summaries that anybody writes', ['written(birth)', 'written(false)']),
      ...steps((entry, holder, state) => `shown(S,B,${entry},${holder},${state})`),
      ...(known === null || without === 'known-head' ? [taken()] : [taken('within(cp(C,D,R),L)')]),
      clause('4 known-head', `within(S,${known ?? 'none'})`, `shown(S,B,${known ?? 'none'},A,St)`),
      clause('4 known-head', 'within(S,en(A,h(L),N))', 'within(S,L)', 'signed(A,en(A,h(L),N))'),
      ...differences([{ a: 0, c: 0, x: 0 }]),
    ],
    goals: [[goal]],
  };
}

interface Attack {
  readonly without: CheckpointDefence;
  readonly query: string;
  readonly goal: string;
  /** What the target knows of the VM. */
  readonly known: string | null;
  readonly attack: string;
}

const attacks: readonly Attack[] = [
  {
    without: 'another-host',
    query: 'no past is taken that the offering host made up',
    goal: `taken(false,${fromInvented})`,
    known: null,
    attack: 'one host signs a checkpoint of a past that never was, and offers the VM with it',
  },
  {
    without: 'named-summary',
    query: 'no past is taken that its signer did not tell',
    goal: `taken(false,${toT})`,
    known: null,
    attack: 'a host shows another’s checkpoint beside a summary of its own',
  },
  {
    without: 'true-summary',
    query: 'no false checkpoint is in an honest host’s chain',
    goal: `taken(false,${last(overLie)})`,
    known: null,
    attack: 'a holder puts a false checkpoint into the chain; the next one, honest, offers from there on',
  },
  {
    without: 'known-head',
    query: 'nothing that the target knows is left out',
    goal: `taken(birth,${toT})`,
    known: en('t', toT, 'arr'),
    attack: 'an earlier holder offers the VM once more, from before the target had it',
  },
];

/** Each attack, against the rules as they are and without the one that prevents it; and that a proof from a checkpoint on is taken. */
export function checkpointAttacks(): readonly Case[] {
  return [
    {
      model: 'checkpoints',
      query: 'a proof from a checkpoint on is taken',
      expected: 'reached',
      theory: () => theory(`taken(birth,${last(toA)})`, null, null),
    },
    ...attacks.flatMap(({ without, query, goal, known, attack }): readonly Case[] => [
      { model: 'checkpoints', query, expected: 'holds', theory: () => theory(goal, known, null) },
      {
        model: `checkpoints without ${without}`,
        query,
        expected: 'attack',
        attack,
        theory: () => theory(goal, known, without),
      },
    ]),
  ];
}
