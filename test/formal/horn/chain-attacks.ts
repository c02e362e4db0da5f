/** One world with a host x whose AK leaked: which chains are accepted there, with each check of SPEC 4 and without it. */
import { verification } from './chain.ts';
import type { ChainDefence } from './chain.ts';
import { facts } from './clauses.ts';
import type { Clause, Theory } from './clauses.ts';
import type { Case } from './prove.ts';

/** kind, VM, epoch, sequence, previous, signer, peer, session */
const en = (...members: readonly string[]): string => `en(${members.join(',')})`;

const [first, second] = ['zero', 'one'].map((life) =>
  en('created', 'v', 'z', 'z', 'none', 'a', 'none', life),
) as [string, string];
const started = en('stay', 'v', 'z', 's(z)', `h(${first})`, 'a', 'none', 'none');
const startedElsewhere = en('stay', 'v', 'z', 's(z)', `h(${second})`, 'a', 'none', 'none');
const leaves = en('departing', 'v', 'z', 's(s(z))', `h(${started})`, 'a', 'x', 's1');
const comes = (epoch: string, sequence: string, session: string) =>
  en('arrived', 'v', epoch, sequence, `h(${leaves})`, 'x', 'a', session);
const came = comes('s(z)', 's(s(s(z)))', 's1');
const after = (kind: string, vm: string) =>
  en(kind, vm, 's(z)', 's(s(s(s(z))))', `h(${came})`, 'x', 'none', 'none');

/** What host a signed: two lives under one id, and that the VM of the first departed to x. What x signs, whose AK somebody has. */
const world: readonly Clause[] = [
  ...facts(
    'host a',
    [first, second, started, startedElsewhere, leaves].map((entry) => `signed(a,${entry})`),
  ),
  ...facts(
    'host x, whatever serves it',
    [
      en('stay', 'v', 'z', 's(z)', `h(${first})`, 'x', 'none', 'none'),
      came,
      comes('z', 's(s(s(z)))', 's1'),
      comes('s(z)', 's(z)', 's1'),
      comes('s(z)', 's(s(s(z)))', 's2'),
      after('stay', 'w'),
      after('created', 'v'),
    ].map((entry) => `signed(x,${entry})`),
  ),
];

interface Attack {
  readonly without: ChainDefence;
  readonly query: string;
  readonly goal: string;
  readonly attack: string;
}

const attacks: readonly Attack[] = [
  {
    without: 'entry-signature',
    query: 'no entry is accepted that its host did not sign',
    goal: `acc(${first},${en('stay', 'v', 'z', 's(s(z))', `h(${started})`, 'a', 'none', 'none')},A,St)`,
    attack: 'anybody writes entries in the name of a host',
  },
  {
    without: 'holder',
    query: 'no entry is accepted of a host that does not hold the VM',
    goal: `acc(${first},${en('stay', 'v', 'z', 's(z)', 'R', 'x', 'P', 'S')},A,St)`,
    attack: 'a host that never had the VM goes on with its chain',
  },
  {
    without: 'previous',
    query: 'no entry is accepted in another life than its own',
    goal: `acc(${first},${startedElsewhere},A,St)`,
    attack: 'entries of two VMs to which operators gave one id are put together',
  },
  {
    without: 'epoch',
    query: 'an arrival opens the next epoch',
    goal: `acc(${first},${en('arrived', 'v', 'z', 'Q', 'R', 'x', 'P', 'S')},A,St)`,
    attack: 'a host that was given the VM says that it is the holder of an epoch that was another’s',
  },
  {
    without: 'sequence',
    query: 'each entry has the next number',
    goal: `acc(${first},${en('arrived', 'v', 'E', 's(z)', 'R', 'x', 'P', 'S')},A,St)`,
    attack:
      'a holder gives its entry a number that was given before: two entries of one number, and nobody is convicted',
  },
  {
    without: 'entry-session',
    query: 'an arrival is of the session of its departure',
    goal: `acc(${first},${en('arrived', 'v', 'E', 'Q', 'R', 'x', 'P', 's2')},A,St)`,
    attack: 'the arrival says that it ends another session',
  },
  {
    without: 'vm',
    query: 'all entries are of one VM',
    goal: `acc(${first},${en('K', 'w', 'E', 'Q', 'R', 'B', 'P', 'S')},A,St)`,
    attack: 'a holder goes on under another id, with the past of this VM',
  },
  {
    without: 'life-cycle',
    query: 'a VM is created once',
    goal: `acc(${first},${en('created', 'v', 's(z)', 'Q', 'R', 'B', 'P', 'S')},A,St)`,
    attack: 'a holder lets the VM begin again in the middle of its life',
  },
];

function theory(goal: string, without: readonly ChainDefence[]): Theory {
  return { clauses: [...verification(new Set(without)), ...world], goals: [[goal]] };
}

/** Each attack, against verification as it is and without the check that prevents it; and that a chain with a hand-over is accepted at all. */
export function chainAttacks(): readonly Case[] {
  return [
    {
      model: 'chain',
      query: 'a chain with a hand-over is accepted',
      expected: 'reached',
      theory: () => theory(`acc(${first},${came},x,home)`, []),
    },
    ...attacks.flatMap(({ without, query, goal, attack }): readonly Case[] => [
      { model: 'chain', query, expected: 'holds', theory: () => theory(goal, []) },
      {
        model: `chain without ${without}`,
        query,
        expected: 'attack',
        attack,
        theory: () => theory(goal, [without]),
      },
    ]),
  ];
}
