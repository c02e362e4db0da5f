/**
 * What holds of every chain that is accepted, however long (SPEC 4): shown of its first entry, and of each further one, given that it holds before. `made(A, N)`: the
 * host of this AK made this entry.
 */
import { birth, chainRules, last } from './chain.ts';
import type { ChainDefence, Place, Rule } from './chain.ts';
import { fixed, implies } from './sequent.ts';
import type { Disjunction, Sequent } from './sequent.ts';

const entry = (kind: string) => `en(${kind},V,E,Q,R,A,P,S)`;
const after = (kind: string) => `en(${kind},V,E,Q,h(L),A,P,S)`;

/** `whole(N)`: every entry up to N was made by its host, and each is about the one before; `heir(B, A)`: A began the chain, or an heir departed to it and it said that it arrived. */
const definitions: readonly Disjunction[] = [
  implies(`whole(${birth})`, `made(A,${birth})`),
  implies(`whole(${after('K')})`, 'whole(L)', `made(A,${after('K')})`),
  implies(`heir(${birth},A)`, `made(A,${birth})`),
  implies('named(B,T)', 'heir(B,A)', 'made(A,en(departing,V,E,Q,R,A,T,S))'),
  implies('heir(B,T)', 'named(B,T)', 'made(T,en(arrived,V,E,Q,R,T,A,S))'),
  implies('sound(B,home)'),
  implies('sound(B,leaving(T,S))', 'honest(T)', 'named(B,T)'),
  ['honest(T)', '~sound(B,leaving(T,S))'],
  ['named(B,T)', '~sound(B,leaving(T,S))'],
];

/** What the other models show: who has the AK of an honest host, and whom an honest host departs to. */
const given: readonly Disjunction[] = [
  implies('made(A,N)', 'signed(A,N)', 'honest(A)'),
  implies('honest(T)', 'honest(A)', 'made(A,en(departing,V,E,Q,R,A,T,S))'),
];

/** SPEC 2 and 4 of two entries that follow each other, written once more: `orderly(N)`. */
const order: readonly Disjunction[] = [
  implies(`orderly(${birth})`),
  ...['stay', 'departing', 'aborted'].map((kind) =>
    implies(`orderly(en(${kind},V,E,s(Q),R,A,P,S))`, 'orderly(en(K0,V,E,Q,R0,A0,P0,S0))'),
  ),
  implies('orderly(en(arrived,V,s(E),s(Q),R,A,P,S))', 'orderly(en(departing,V,E,Q,R0,A0,P0,S))'),
];

const invariant = (first: string, end: string, { holder, state }: Place): readonly string[] => [
  `whole(${end})`,
  `honest(${holder})`,
  `heir(${first},${holder})`,
  `sound(${first},${state})`,
];

function some<T extends Rule | Place>(rule: T): T {
  return JSON.parse(JSON.stringify(rule), (key, value: unknown) =>
    typeof value === 'string' && key !== 'says' ? fixed(value, 'some') : value,
  ) as T;
}

const facts = (atoms: readonly string[]): readonly Disjunction[] => atoms.map((atom) => [atom]);

/** A chain that begins at an honest host: its first entry. */
export function firstEntry(): Sequent {
  const first = fixed(birth, 'some');
  return {
    axioms: [...given, ...definitions, ['honest(some_a)'], [`signed(some_a,${first})`]],
    conclusion: invariant(first, first, { holder: 'some_a', state: 'home' }),
  };
}

/** One entry more. */
export function nextEntry(index: number, without: readonly ChainDefence[]): Sequent {
  const rule = ruleAt(index, without);
  const signed = without.includes('entry-signature') ? [] : [`signed(${rule.signer},${rule.entry})`];
  return {
    axioms: [
      ...given,
      ...definitions,
      ...facts(invariant('first', fixed(last, 'some'), rule.before)),
      ...facts(signed),
    ],
    conclusion: invariant('first', rule.entry, rule.after),
  };
}

/** The same, of the order of entries, whoever signs them. */
export function nextInOrder(index: number, without: readonly ChainDefence[]): Sequent {
  const rule = ruleAt(index, without);
  const before = rule.before.state === 'home' ? last : last.replace('K0', 'departing').replace('S0', 'S');
  return {
    axioms: [...order, [`orderly(${fixed(before, 'some')})`]],
    conclusion: [`orderly(${rule.entry})`],
  };
}

function ruleAt(index: number, without: readonly ChainDefence[]): Rule {
  const rule = chainRules(new Set(without))[index];
  if (rule === undefined) throw new Error(`no rule ${index}`);
  return some(rule);
}

/** Two accepted chains that end in one entry have the same entry before it, and so on to the first. */
export function onePast(without: readonly ChainDefence[]): Sequent {
  const rules = chainRules(new Set(without));
  const ends = (name: string, before: string): Disjunction =>
    rules.map(({ entry: next }) => `end=${fixed(next.replaceAll(last, before), name)}`);
  return {
    axioms: [
      ['h(X)!=h(Y)', 'X=Y'],
      ...['K', 'V', 'E', 'Q', 'R', 'A', 'P', 'S'].map((member) => [
        `${entry('K')}!=${entry('K').replaceAll(/([A-Z])/g, '$11')}`,
        `${member}=${member}1`,
      ]),
      ends('one', 'before_one'),
      ends('other', 'before_other'),
    ],
    conclusion: ['before_one=before_other'],
  };
}

/**
 * After an entry there is one next, where holder and named target are honest: a host signs one entry about another (8.2), and the two do not sign aborted and
 * arrived (6.8; shown by the Spin model).
 */
export function oneFuture(state: 'home' | 'leaving', without: readonly ChainDefence[]): Sequent {
  const rules = chainRules(new Set(without)).filter(({ before }) => before.state.startsWith(state));
  const fixing = (name: string) => rules.map((rule) => renamed(rule, name));
  const follows = (name: string): readonly Disjunction[] => [
    fixing(name).map(({ entry: next }) => `${name}=${next}`),
    ...fixing(name).map(({ entry: next, signer }) => [`${name}!=${next}`, `signed(${signer},${name})`]),
  ];
  return {
    axioms: [
      ...given,
      ['honest(before_a)'],
      ['honest(before_t)'],
      implies('about(en(K,V,E,Q,R,A,P,S),R)'),
      ['~made(A,M)', '~made(A,N)', '~about(M,R)', '~about(N,R)', 'M=N'],
      ['~made(T,en(arrived,V,E,Q,R,T,A,S))', '~made(A,en(aborted,V1,E1,Q1,R,A,P1,S1))'],
      ...follows('one'),
      ...follows('other'),
    ],
    conclusion: ['one=other'],
  };
}

/** Variables of the entry before and of the VM's place are the same for both that follow; the others are each one's own. */
function renamed(rule: Rule, name: string): Rule {
  const shared = new Set([
    'K0',
    'V',
    'E',
    'Q',
    'R',
    'A0',
    'P0',
    'S0',
    'A',
    ...(rule.before.state === 'home' ? [] : ['T', 'S']),
  ]);
  const rename = (term: string) =>
    term.replaceAll(
      /\b[A-Z]\d?\b/g,
      (variable) => `${shared.has(variable) ? 'before' : name}_${variable.toLowerCase()}`,
    );
  return { ...rule, signer: rename(rule.signer), entry: rename(rule.entry) };
}
