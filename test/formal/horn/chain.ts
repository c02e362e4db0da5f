/**
 * Verification of a chain (SPEC 4), entry by entry. One text of its rules serves two questions: what follows for chains of any length, by induction
 * (chain-induction.ts), and what is accepted where a check is left out (chain-suite.ts).
 */
import { clause } from './clauses.ts';
import type { Clause } from './clauses.ts';

/** What is compared from entry to entry (SPEC 4). */
export type ChainDefence =
  'entry-signature' | 'previous' | 'sequence' | 'epoch' | 'holder' | 'vm' | 'entry-session' | 'life-cycle';

/** Where the VM is by a chain: its holder, and `home` or `leaving(Target, Session)`. */
export interface Place {
  readonly holder: string;
  readonly state: string;
}

/** An entry that is accepted after another, and where the VM is before and after it. */
export interface Rule {
  readonly says: string;
  readonly signer: string;
  readonly entry: string;
  readonly before: Place;
  readonly after: Place;
}

/** The entry before: kind, VM, epoch, sequence, previous, signer, peer, session. */
export const last = 'en(K0,V,E,Q,R,A0,P0,S0)';
/** The first entry of a chain. `S`: all that tells two births apart. */
export const birth = 'en(created,V,z,z,none,A,none,S)';

const checked =
  (without: ReadonlySet<ChainDefence>) =>
  (defence: ChainDefence, term: string, any: string): string =>
    without.has(defence) ? any : term;

/** The rows of SPEC 2's table; all that leave the VM at its host are one. A check that is left out leaves a variable of its own. */
export function chainRules(without: ReadonlySet<ChainDefence>): readonly Rule[] {
  const where = checked(without);
  const entry = (kind: string, epoch: string, signer: string, peer: string, session: string) =>
    `en(${[
      where('life-cycle', kind, 'K2'),
      where('vm', 'V', 'V2'),
      where('epoch', epoch, 'E2'),
      where('sequence', 's(Q)', 'Q2'),
      where('previous', `h(${last})`, 'R2'),
      signer,
      peer,
      session,
    ].join(',')})`;
  const [holder, target] = [where('holder', 'A', 'A2'), where('holder', 'T', 'A2')];
  const session = where('entry-session', 'S', 'S2');
  const home = { holder: 'A', state: 'home' };
  const leaving = { holder: 'A', state: 'leaving(T,S)' };
  return [
    {
      says: '2 started, suspended, resumed, saved, restored, stopped, checkpoint',
      signer: holder,
      entry: entry('stay', 'E', holder, 'none', 'none'),
      before: home,
      after: home,
    },
    {
      says: '2 departing',
      signer: holder,
      entry: entry('departing', 'E', holder, 'T', 'S'),
      before: home,
      after: leaving,
    },
    {
      says: '2 arrived, by the host that departing named, opens the next epoch',
      signer: target,
      entry: entry('arrived', 's(E)', target, where('holder', 'A', 'P2'), session),
      before: leaving,
      after: { holder: target, state: 'home' },
    },
    {
      says: '2 aborted, resolved',
      signer: holder,
      entry: entry('aborted', 'E', holder, 'none', session),
      before: leaving,
      after: home,
    },
  ];
}

/** Verification as Horn clauses: `acc(First, Last, Holder, State)` is a chain that is accepted. */
export function verification(without: ReadonlySet<ChainDefence>): readonly Clause[] {
  const signed = (ak: string, entry: string) =>
    without.has('entry-signature') ? [] : [`signed(${ak},${entry})`];
  return [
    clause('2 created', `acc(${birth},${birth},A,home)`, ...signed('A', birth)),
    ...chainRules(without).map(({ says, signer, entry, before, after }) =>
      clause(
        says,
        `acc(B,${entry},${after.holder},${after.state})`,
        `acc(B,${last},${before.holder},${before.state})`,
        ...signed(signer, entry),
      ),
    ),
  ];
}
