/**
 * The exchange of SPEC 5 and 6 as Horn clauses: mutual attestation over the bound channel, sealing, hand-over, completion. README.md beside this file says
 * what the predicates mean, and why it is enough that they allow more than the protocol does.
 */
import { clause, differences, facts } from './clauses.ts';
import type { Clause } from './clauses.ts';
import { hostClauses, openedElsewhere } from './exchange-hosts.ts';
import { Terms } from './exchange-terms.ts';
import type { ExchangeDefence } from './exchange-terms.ts';

/** What host b (the first three) or host a (the others) never does, in a query that asks whether the peer goes on without it. */
export type Silence = 'attest' | 'arrive' | 'give-up' | 'offer' | 'destroy';

/** A variant of the exchange. */
export interface ExchangeOptions {
  readonly without: ReadonlySet<ExchangeDefence>;
  readonly silent?: Silence;
  /** The attacker has every host's TLS key; good ends are reached without that. */
  readonly tlsKeys: 'stolen' | 'secret';
}

const acts = (act: Silence) => `does_${act.replace('-', '')}`;
const honest = ['a', 'b', 'c'];
const enrolled = [...honest, 'e'];

/** All clauses of a variant. */
export function exchange({ without, silent, tlsKeys }: ExchangeOptions): readonly Clause[] {
  const terms = new Terms(without);
  const actors = (act: Silence) =>
    facts(
      `hosts that ${act}`,
      honest
        .filter((host) => silent !== act || host !== (act === 'offer' || act === 'destroy' ? 'a' : 'b'))
        .map((host) => `${acts(act)}(${host})`),
    );
  return [
    ...attacker(terms, tlsKeys),
    ...(['attest', 'arrive', 'give-up', 'offer', 'destroy'] as const).flatMap(actors),
    ...facts('epochs below the one that is looked at, that one, the next, and those above', [
      'next(lo,lo)',
      'next(lo,at)',
      'next(at,nx)',
      'next(nx,hi)',
      'next(hi,hi)',
    ]),
    ...facts('policy versions', ['newer(p1,p1)', 'newer(p2,p1)', 'newer(p2,p2)']),
    ...openedElsewhere(honest),
    ...hostClauses(terms),
    ...differences([
      { srun: 6, trun: 4 },
      { i1: 0, i2: 0, sid: 1, sx: 0 },
      { cl: 0, sv: 0 },
      { a: 0, b: 0, c: 0, e: 0 },
      { v1: 0, v2: 0 },
      { lo: 0, at: 0, nx: 0, hi: 0 },
      { p1: 0, p2: 0 },
      { sh: 1, shx: 0 },
      { ex: 2 },
      { nonce: 1, nv: 0 },
      { pfx: 1 },
      { fac: 1, fx: 0 },
      { key: 2, kx: 0 },
      { rk: 1, rkx: 0 },
    ]),
  ];
}

/** SPEC 13: the network, hosts in bad states, software that plays TPM. */
function attacker(terms: Terms, tlsKeys: 'stolen' | 'secret'): readonly Clause[] {
  return [
    ...facts(
      'honest hosts, while they are in an approved state',
      honest.map((host) => `honest(${host})`),
    ),
    ...facts(
      '1.1 hosts with certificates',
      enrolled.map((host) => `enrolled(${host},ak(${host}),rk(${host}))`),
    ),
    ...facts(
      'names with which the attacker authenticates in TLS',
      (tlsKeys === 'stolen' ? enrolled : ['e']).map((host) => `poses(${host})`),
    ),
    clause('a connection of which the attacker opened one end', 'mine(cl,ex(shx,Y))'),
    clause('a connection of which the attacker answered', 'mine(sv,ex(Y,shx))'),
    clause('what it sends there, it makes up', 'snd(D,Ex,P,M)', 'mine(D,Ex)', 'poses(P)'),
    clause('6.1 the same on a later connection', 'later(P,M)', 'poses(P)'),
    clause(
      'the TPM of any host quotes anything in a state that is not approved',
      'claim(ak(H),bad,L)',
      'enrolled(H,A,K)',
    ),
    clause('a key of its own signs anything', 'claim(akx,St,L)'),
    ...(terms.has('quote-type')
      ? []
      : [
          clause(
            '6.5 quote-type: an AK signs what looks like a quote',
            'claim(ak(H),good,L)',
            'enrolled(H,A,K)',
          ),
        ]),
    clause('a vTPM key of its own', 'att(kx)'),
    clause('5.3 sealing needs no secret', 'blob(seal(K,C,X))', 'att(X)'),
    clause('a receive key of its own', 'att(X)', 'blob(seal(rkx,C,X))'),
    ...(terms.has('pcr-in-seal')
      ? []
      : [clause('5.2 a TPM opens in any state', 'att(X)', 'blob(seal(rk(H),C,X))')]),
  ];
}
