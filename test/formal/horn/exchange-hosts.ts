/** What honest hosts do in the exchange (SPEC 6), as Horn clauses: exchange.ts. */
import { clause, clauses, facts } from './clauses.ts';
import type { Clause } from './clauses.ts';
import type { Terms } from './exchange-terms.ts';

/** A host's end of a connection: `own` names its position, `exporter` the value that both ends have. */
interface End {
  readonly own: string;
  readonly peer: string;
  exporter(run: string): string;
  /** The opener names the session (SPEC 6.1). */
  session(run: string): string;
  /** What tells runs apart: a number; where ids that were seen are refused (SPEC 6.1), the id that is answered. */
  readonly index: string;
}

const ends: readonly End[] = [
  {
    own: 'cl',
    peer: 'sv',
    exporter: (run) => `ex(sh(${run}),Y)`,
    session: (run) => `sid(${run})`,
    index: 'I',
  },
  { own: 'sv', peer: 'cl', exporter: (run) => `ex(Y,sh(${run}))`, session: () => 'S', index: 'S' },
];

/** Sources and targets at both ends of a connection, and what ends a session. */
export function hostClauses(terms: Terms): readonly Clause[] {
  return [...ends.flatMap((end) => [...source(terms, end), ...target(terms, end)]), ...outcomes(terms)];
}

/** SPEC 6.1: the ids that a host has not seen because it opened the session itself: those of others, and of the attacker. */
export function openedElsewhere(honest: readonly string[]): readonly Clause[] {
  const others = honest.flatMap((host) =>
    honest
      .filter((other) => other !== host)
      .flatMap((other) => [
        `foreign(${host},sid(srun(D,${other},V,E,J,I)))`,
        `foreign(${host},sid(trun(D,${other},V,I)))`,
      ]),
  );
  return facts('6.1 ids that a host has not seen', [
    ...others,
    ...honest.map((host) => `foreign(${host},sx)`),
  ]);
}

function unused(terms: Terms, end: End): readonly string[] {
  return end.own === 'sv' ? terms.where('session-once', `foreign(H,${end.session('')})`) : [];
}

/** SPEC 6.8: a source, up to its offer. */
function source(terms: Terms, end: End): readonly Clause[] {
  const run = `srun(${end.own},H,V,E,J,${terms.checked('session-once', end.index, 'I')})`;
  const [exporter, session] = [end.exporter(run), end.session(run)];
  const own = terms.hello('s', session, 'V', `nonce(${run})`, 'H', 'ct(H,ak(H),rk(H))', 'rk(H)', 'Po');
  const name = (any: string) => terms.checked('peer-name', 'P', any);
  const certified = terms.checked('receive-key', 'K', 'Kc');
  const peer = terms.hello(
    't',
    session,
    'V',
    'Nt',
    name('Hh'),
    `ct(${name('Hc')},A,${certified})`,
    'K',
    'Pt',
  );
  const t1 = terms.t1(exporter, 'P', 'H', own, peer);
  const state = terms.checked('pcr-state', 'good', 'St');
  const leaf = terms.checked('quote-binding', terms.statement('t', t1), 'L');
  const evidence = `evid(${session},cm(A,${state},${leaf}))`;
  const departing = terms.entry({
    kind: 'departing',
    vm: 'V',
    epoch: 'E',
    previous: `h(pfx(${run}))`,
    facts: `fac(${run})`,
    host: 'hid(H,ak(H))',
    policy: 'Po',
    peer: 'hid(P,A)',
    session,
  });
  const t2 = terms.t2(t1, evidence);
  const sealed = terms.seal('K', 'V', 'E', 'S', 'key(V,J)');
  const offered = `offered(${run},${exporter},P,A,K,${session},${leaf},${t2},${departing},Po)`;
  return [
    clause('6.1 hello of a source', `snd(${end.own},${exporter},H,${own})`, 'honest(H)'),
    clause(
      '6.5, 6.6 the source appraises the target and commits itself',
      offered,
      'does_offer(H)',
      ...unused(terms, end),
      `snd(${end.peer},${exporter},P,${peer})`,
      ...terms.where('ak-certificate', `enrolled(${name('Hc')},A,${certified})`),
      `snd(${end.peer},${exporter},P,${evidence})`,
      ...terms.where('quote-signature', `claim(A,${state},${leaf})`),
    ),
    ...clauses(
      '6.4 one quote of statement and departing; the offer',
      [
        `claim(ak(H),good,${terms.statement('s', 'T2')})`,
        'claim(ak(H),good,lf(Dep))',
        `blob(${sealed})`,
        `snd(${end.own},Ex,H,offer(S,pfx(${run}),Dep,${sealed}))`,
      ],
      `offered(${run},Ex,P,A,K,S,L,T2,Dep,Po)`,
    ),
    clause('4 what the chain says when the run begins', `chain(pfx(${run}),V,E,H)`, 'honest(H)'),
  ];
}

/** SPEC 6.8: a target, up to *staged*. */
function target(terms: Terms, end: End): readonly Clause[] {
  const run = `trun(${end.own},H,V,${terms.checked('session-once', end.index, 'I')})`;
  const [exporter, session] = [end.exporter(run), end.session(run)];
  const own = terms.hello('t', session, 'V', `nonce(${run})`, 'H', 'ct(H,ak(H),rk(H))', 'rk(H)', 'Pt');
  const greeting = terms.hello('s', session, 'V', 'Ns', 'Hh', 'Cs', 'Ks', 'Ps');
  const t1 = terms.t1(exporter, 'H', 'P', greeting, own);
  const statement = terms.statement('t', t1);
  const name = (any: string) => terms.checked('peer-name', 'P', any);
  const appraised = terms.hello('s', session, 'V', 'Ns', name('Hh'), `ct(${name('Hc')},A,Ks)`, 'Ks', 'Ps');
  const t1Seen = terms.t1(exporter, 'H', 'P', appraised, own);
  const t2 = terms.t2(t1Seen, `evid(${session},cm(ak(H),good,${terms.statement('t', t1Seen)}))`);
  const state = terms.checked('pcr-state', 'good', 'St');
  const departing = terms.entry({
    kind: 'departing',
    vm: 'V',
    epoch: 'E',
    previous: 'h(Pf)',
    facts: 'F',
    host: `hid(${terms.checked('signer', 'P', 'Q')},A)`,
    policy: 'Po',
    peer: 'hid(H,ak(H))',
    session,
  });
  const leaf = terms.checked('quote-binding', terms.statement('s', t2), 'L');
  return [
    clause('6.1 hello of a target', `snd(${end.own},${exporter},H,${own})`, 'honest(H)'),
    clause(
      '6.3 the target attests itself',
      `attested(${run},${exporter},P,${session},${terms.kept('source-nonce', 'Ns')},${statement},Pt)`,
      'does_attest(H)',
      ...unused(terms, end),
      `snd(${end.peer},${exporter},P,${greeting})`,
    ),
    ...clauses(
      '6.3 its quote',
      ['claim(ak(H),good,L)', `snd(${end.own},Ex,H,evid(S,cm(ak(H),good,L)))`],
      `attested(${run},Ex,P,S,Ns,L,Pt)`,
    ),
    clause(
      '6.5, 6.7 the target appraises the source, verifies the proof, opens the key',
      `staged(${run},${exporter},P,A,${session},E,Pf,F,X,${leaf},${departing},Pt,Po)`,
      'honest(H)',
      ...unused(terms, end),
      `snd(${end.peer},${exporter},P,${appraised})`,
      ...terms.where('ak-certificate', `enrolled(${name('Hc')},A,Ks)`),
      `snd(${end.peer},${exporter},P,offer(${session},Pf,${departing},${terms.seal('rk(H)', 'V', 'E', session, 'X')}))`,
      ...terms.where(
        'quote-signature',
        `claim(A,${state},${leaf})`,
        ...terms.where('departing', `claim(A,${state},lf(${departing}))`),
      ),
      'chain(Pf,V,E,P)',
      ...terms.where('policy-version', 'newer(Pt,Po)'),
      `blob(${terms.seal('rk(H)', 'V', 'E', session, 'X')})`,
    ),
    ...arrival(terms, run),
  ];
}

/** SPEC 6.8: *arrived*, by a target. */
function arrival(terms: Terms, run: string): readonly Clause[] {
  const arrived = terms.entry({
    kind: 'arrived',
    vm: 'V',
    epoch: 'E2',
    previous: 'h(Dep)',
    facts: 'F',
    host: 'hid(H,ak(H))',
    policy: 'Pt',
    peer: 'hid(P,A)',
    session: 'S',
  });
  return [
    clause(
      '6.8 libvirt: CPUs run here',
      `arrived(${run},${arrived},P,S,E,Dep)`,
      'does_arrive(H)',
      `staged(${run},Ex,P,A,S,E,Pf,F,X,L,Dep,Pt,Po)`,
      'next(E,E2)',
    ),
    clause('4 it is signed', 'claim(ak(H),good,lf(En))', `arrived(${run},En,P,S,E,Dep)`),
  ];
}

/** SPEC 6.8: what ends a session: *arrived* at the source, *departed* at the target; and the key at rest. */
function outcomes(terms: Terms): readonly Clause[] {
  const run = 'srun(D,H,V,E,J,I)';
  const state = terms.checked('pcr-state', 'good', 'St');
  const signer = terms.checked('signer', 'hid(P,A)', 'hid(Q,A2)');
  const key = terms.checked('signer', 'A', 'A2');
  const arrived = terms.entry({
    kind: 'arrived',
    vm: 'V',
    epoch: 'E2',
    previous: 'h(Dep)',
    facts: 'F',
    host: signer,
    policy: 'Pt',
    peer: 'hid(H,ak(H))',
    session: 'S',
  });
  const departed = (host: string, peer: string, epoch: string) =>
    terms.entry({
      kind: 'departed',
      vm: 'V',
      epoch,
      previous: 'h(En)',
      facts: 'F',
      host,
      policy: 'Po',
      peer,
      session: 'S',
    });
  return [
    clause(
      '6.8 the source takes arrived and destroys its copy',
      `destroyed(${run},${arrived},P,S,Dep)`,
      'does_destroy(H)',
      `offered(${run},Ex,P,A,K,S,L,T2,Dep,Po)`,
      'next(E,E2)',
      ...terms.where('ak-certificate', `enrolled(${terms.checked('signer', 'P', 'Q')},${key},Ka)`),
      `claim(${key},${state},lf(${arrived}))`,
    ),
    clause(
      '4 departed',
      `departed(${run},${departed('hid(H,ak(H))', 'hid(P,A)', 'E')},En)`,
      `destroyed(${run},En,P,S,Dep)`,
      'enrolled(P,A,Ka)',
    ),
    clause('4 it is signed', 'claim(ak(H),good,lf(Dp))', `departed(${run},Dp,En)`),
    clause(
      '6.8 the target takes departed',
      `done(trun(D,H,V,I),P,En,${departed('hid(P,A)', 'hid(H,ak(H))', 'E')})`,
      'arrived(trun(D,H,V,I),En,P,S,E,Dep)',
      'enrolled(P,A,Ka)',
      `claim(A,${state},lf(${departed('hid(P,A)', 'hid(H,ak(H))', 'E')}))`,
    ),
    ...disclaimers(terms, run),
    clause(
      '5.2 the form at rest: sealed to itself at protection',
      `blob(${terms.seal('rk(H)', 'V', 'E', 'null', 'key(V,J)')})`,
      'honest(H)',
    ),
    clause(
      '8.2 a start opens what lies on the disk',
      'opened(H,V,X)',
      'honest(H)',
      `blob(${terms.seal('rk(H)', 'V', 'E', 'S', 'X')})`,
    ),
  ];
}

/** SPEC 6.8, 6.10: a target gives up any session, whatever departure it is asked about; a source signs *aborted*. */
function disclaimers(terms: Terms, run: string): readonly Clause[] {
  const state = terms.checked('pcr-state', 'good', 'St');
  const own = terms.disclaimer('S', 'Dep', 'hid(H,ak(H))');
  const leaf = terms.disclaimer('S', 'Dep', 'hid(P,A)');
  const word = terms.has('disclaimer-signature')
    ? [...terms.where('ak-certificate', 'enrolled(P,A,Ka)'), `claim(A,${state},${leaf})`]
    : ['later(P,word(S))'];
  return [
    clause('6.10 a target disclaims', `disclaimed(H,S,Dep,${own})`, 'does_giveup(H)'),
    clause('6.10 it is signed', 'claim(ak(H),good,L)', 'disclaimed(H,S,Dep,L)'),
    clause('6.1 it is said on a later connection', 'later(H,word(S))', 'disclaimed(H,S,Dep,L)'),
    clause(
      "6.8 the source signs aborted on the target's word",
      `aborted(${run},P,S,${leaf})`,
      `offered(${run},Ex,P,A,K,S,L,T2,Dep,Po)`,
      ...word,
    ),
  ];
}
