/** What is asked about the exchange: bad events that must not be derivable, and good ones that must. */
import type { Theory } from './clauses.ts';
import { exchange } from './exchange.ts';
import type { Silence } from './exchange.ts';
import type { ExchangeDefence } from './exchange-terms.ts';

/** A question to a variant of the exchange; its goals are any ways to the event. */
interface Question {
  readonly goals: readonly (readonly string[])[];
  /** Which act an honest host leaves out: does its peer go on without it? */
  readonly silent?: Silence;
  /** Otherwise the attacker has all of them. */
  readonly tlsKeys?: 'secret';
}

/** An event with some of its arguments changed. */
function event(
  name: string,
  parts: readonly string[],
  changes: Readonly<Record<string, string>> = {},
): string {
  return `${name}(${parts.map((part) => changes[part] ?? part).join(',')})`;
}

const sourceRun = 'srun(D,H,V,E,J,I)';
const offered = (changes?: Readonly<Record<string, string>>) =>
  event('offered', [sourceRun, 'Ex', 'P', 'A', 'K', 'S', 'L', 'T2', 'Dep', 'Po'], changes);
const staged = (changes?: Readonly<Record<string, string>>) =>
  event(
    'staged',
    ['trun(D,H,V,I)', 'Ex', 'P', 'A', 'S', 'E', 'Pf', 'F', 'X', 'L', 'Dep', 'Pt', 'Po'],
    changes,
  );

/** The source took this leaf for its run; the target made it for that one, and they differ in what is named. */
function releaseDiffers(...differences: readonly string[]): readonly (readonly string[])[] {
  const attested = 'attested(trun(D2,P2,V2,I2),Ex2,H2,S2,N2,L,Pt2)';
  return differences.map((difference) => [offered(), attested, `differs(${difference})`]);
}

/** The target took a source's statement for its run; the source made it for another. */
function stagedDiffers(...differences: readonly string[]): readonly (readonly string[])[] {
  const other = 'offered(srun(D2,P2,V2,E2,J2,I2),Ex2,H2,A2,K2,S2,L2,T2,Dep2,Po2)';
  return differences.map((difference) => [staged({ L: 'st(Role,T2)' }), other, `differs(${difference})`]);
}

/** The source took an *arrived* entry for its run; the target signed it in another. */
function arrivalDiffers(...differences: readonly string[]): readonly (readonly string[])[] {
  const [destroyed, arrived] = [
    'destroyed(srun(D,H,V,E,J,I),En,P,S,Dep)',
    'arrived(trun(D2,P2,V2,I2),En,H2,S2,E2,Dep2)',
  ];
  return differences.map((difference) => [destroyed, arrived, `differs(${difference})`]);
}

const sourceOfStaging = 'srun(D2,P2,V2,E2,J2,I2)';

const questions = {
  'the vTPM key is secret': { goals: [['att(key(V,J))']] },
  'no offer to a host that is not approved': { goals: [[offered({ P: 'e' })]] },
  'no offer without the attestation': { goals: [[offered({ P: 'b' })]], silent: 'attest' },
  'offer and attestation agree on the channel': { goals: releaseDiffers('Ex,Ex2') },
  'offer and attestation agree on both hosts': { goals: releaseDiffers('H,H2', 'P,P2') },
  'offer and attestation agree on session, VM, receive key': {
    goals: releaseDiffers('S,S2', 'V,V2', 'K,rk(P2)'),
  },
  'an attestation serves one run of a source': {
    goals: [
      [
        offered(),
        offered({
          [sourceRun]: 'srun(D2,H2,V2,E2,J2,I2)',
          Ex: 'Ex2',
          P: 'P2',
          A: 'A2',
          K: 'K2',
          S: 'S2',
          T2: 'T3',
          Dep: 'Dep2',
          Po: 'Po2',
        }),
        'differs(I,I2)',
      ],
    ],
  },
  'no staging from a host that is not approved': { goals: [[staged({ P: 'e' })]] },
  'no staging without the offer': { goals: [[staged({ P: 'a' })]], silent: 'offer' },
  'staging and offer agree on the channel': { goals: stagedDiffers('Ex,Ex2') },
  'staging and offer agree on both hosts': { goals: stagedDiffers('H,H2', 'P,P2') },
  'staging and offer agree on session, VM, epoch': { goals: stagedDiffers('S,S2', 'V,V2', 'E,E2') },
  'staging and offer agree on the chain': {
    goals: stagedDiffers(`Pf,pfx(${sourceOfStaging})`, 'Dep,Dep2'),
  },
  'staging and offer agree on the definition': { goals: stagedDiffers(`F,fac(${sourceOfStaging})`) },
  'staging and offer agree on the vTPM key': { goals: stagedDiffers('X,key(V2,J2)') },
  'an offer serves one run of a target': {
    goals: [
      [
        staged(),
        staged({
          'trun(D,H,V,I)': 'trun(D2,H2,V2,I2)',
          Ex: 'Ex2',
          P: 'P2',
          A: 'A2',
          S: 'S2',
          E: 'E2',
          Pf: 'Pf2',
          F: 'F2',
          X: 'X2',
          Dep: 'Dep2',
          Pt: 'Pt2',
          Po: 'Po2',
        }),
        'differs(I,I2)',
      ],
    ],
  },
  'no staging under an older policy': { goals: [[staged({ Pt: 'p1', Po: 'p2' })]] },
  'no destruction without the arrival': { goals: [['destroyed(R,En,b,S,Dep)']], silent: 'arrive' },
  'destruction and arrival agree on session': { goals: arrivalDiffers('S,S2') },
  'destruction and arrival agree on hosts, VM, epoch': {
    goals: [
      ...arrivalDiffers('H,H2', 'P,P2', 'V,V2'),
      ['destroyed(srun(D,H,V,at,J,I),En,P,S,Dep)', 'arrived(R,En,H2,S2,E2,Dep2)', 'differs(at,E2)'],
    ],
  },
  'no end without the destruction': { goals: [['done(R,a,En,Dp)']], silent: 'destroy' },
  'a start opens no key of another VM': {
    goals: [['opened(H,V,key(V2,J))', 'differs(V,V2)']],
  },
  'no aborted without word of the target': { goals: [['aborted(R,b,S,L)']], silent: 'give-up' },
  'aborted and disclaimer agree on target and session': {
    goals: ['P,H2', 'S,S2'].map((differing) => [
      'aborted(R,P,S,L)',
      'disclaimed(H2,S2,Dep2,L)',
      `differs(${differing})`,
    ]),
  },
  'an offer is made': { goals: [[offered({ P: 'b' })]], tlsKeys: 'secret' },
  'a VM is staged': { goals: [[staged({ P: 'a' })]], tlsKeys: 'secret' },
  'the copy of the source is destroyed': { goals: [['destroyed(R,En,b,S,Dep)']], tlsKeys: 'secret' },
  'a hand-over ends': { goals: [['done(R,a,En,Dp)']], tlsKeys: 'secret' },
  'a session is aborted': { goals: [['aborted(R,b,S,L)']], tlsKeys: 'secret' },
} satisfies Readonly<Record<string, Question>>;

/** The name of a question is the text that the table shows. */
export type ExchangeQuestion = keyof typeof questions;

/** Every question. */
export const exchangeQuestions = Object.keys(questions) as readonly ExchangeQuestion[];

/** A question to the exchange without some defences. */
export function exchangeTheory(name: ExchangeQuestion, without: readonly ExchangeDefence[] = []): Theory {
  const question: Question = questions[name];
  const options = { without: new Set(without), tlsKeys: question.tlsKeys ?? 'stolen' } as const;
  const { silent } = question;
  return {
    clauses: exchange(silent === undefined ? options : { ...options, silent }),
    goals: question.goals,
  };
}
