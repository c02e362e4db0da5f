/**
 * Enrolment (SPEC 1.2) as Horn clauses: when the authority certifies keys under a host's name, where are these keys? Host b has a TPM, `tb`, and enrols
 * honestly; the attacker is on the way, has a genuine TPM of its own, `te`, and software that plays TPM.
 */
import { clause, facts } from './clauses.ts';
import type { Clause, Theory } from './clauses.ts';
import type { Case } from './prove.ts';

/** A check of the authority, or a member of what the host certifies. */
export type EnrolmentDefence =
  'ek-chain' | 'credential' | 'certification' | 'requests-covered' | 'key-template';

function enrolment(without: ReadonlySet<EnrolmentDefence>): readonly Clause[] {
  const where = (defence: EnrolmentDefence, ...atoms: readonly string[]) =>
    without.has(defence) ? [] : atoms;
  const data = (ek: string, ak: string, requests: string) =>
    `enrol(${ek},${ak},${without.has('requests-covered') ? 'none' : requests})`;
  return [
    ...facts('manufacturers certify the EKs of genuine TPMs', [
      'manufactured(ek(tb))',
      'manufactured(ek(te))',
    ]),
    clause(
      '1.2 step 1, host b, whose software has its TPM alone',
      `certified(ak(tb),rk(tb),${data('ek(tb)', 'ak(tb)', 'tls(b)')})`,
    ),
    clause('the attacker has its TPM certify a receive key', 'certified(ak(te),rk(te),D)'),
    clause('or a key of other attributes, which it can take out', 'certified(ak(te),weak(te),D)'),
    clause('a key in software signs any certification', 'certified(akx,K,D)'),
    ...facts('5.2 keys with the public area of the template', [
      'templated(rk(tb))',
      'templated(rk(te))',
      'templated(rkx)',
    ]),
    ...facts('TPM2_ActivateCredential: a TPM answers for keys of its own', [
      'answered(ek(tb),ak(tb))',
      'answered(ek(te),ak(te))',
    ]),
    clause('an EK in software answers for any', 'answered(ekx,A)'),
    clause(
      '1.2 steps 2 to 4: the authority issues',
      'issued(A,K,R)',
      ...where('ek-chain', 'manufactured(Ek)'),
      ...where('certification', `certified(A,K,${data('Ek', 'A', 'R')})`),
      ...where('key-template', 'templated(K)'),
      ...where('credential', 'answered(Ek,A)'),
    ),
  ];
}

const questions = {
  'no certificate for an attestation key outside a TPM': [['issued(akx,K,R)']],
  'no certificate for a receive key outside a TPM': [['issued(A,rkx,R)'], ['issued(A,weak(T),R)']],
  'no certificate for TLS keys that the host did not name': [['issued(ak(tb),K,tlsx)']],
  'attestation key and receive key are in one TPM': [
    ['issued(ak(tb),rk(te),R)'],
    ['issued(ak(te),rk(tb),R)'],
  ],
  'host b is enrolled': [['issued(ak(tb),rk(tb),tls(b))']],
} as const;

type Question = keyof typeof questions;

/** A question to the enrolment without some defences. */
export function enrolmentTheory(question: Question, without: readonly EnrolmentDefence[] = []): Theory {
  return { clauses: enrolment(new Set(without)), goals: questions[question] };
}

/** Each defence taken away, and the attack that both provers find. */
const mutants: readonly { without: readonly EnrolmentDefence[]; question: Question; attack: string }[] = [
  {
    without: ['ek-chain'],
    question: 'no certificate for an attestation key outside a TPM',
    attack: 'software plays TPM, with an endorsement key of its own',
  },
  {
    without: ['credential'],
    question: 'no certificate for an attestation key outside a TPM',
    attack: 'the EK certificate of a genuine TPM is shown beside an attestation key in software',
  },
  {
    without: ['certification'],
    question: 'no certificate for a receive key outside a TPM',
    attack: 'a receive key in software is put into the request',
  },
  {
    without: ['key-template'],
    question: 'no certificate for a receive key outside a TPM',
    attack: 'the TPM certifies a key that can be taken out, or needs no approved state',
  },
  {
    without: ['requests-covered'],
    question: 'no certificate for TLS keys that the host did not name',
    attack: 'somebody on the way puts requests for its own TLS keys beside the attestation key of host b',
  },
  {
    without: ['certification'],
    question: 'attestation key and receive key are in one TPM',
    attack: 'the receive key of another TPM is put into the request',
  },
];

/** All cases about enrolment. */
export function enrolmentCases(): readonly Case[] {
  const full = (Object.keys(questions) as Question[]).map((question): Case => ({
    model: 'enrolment',
    query: question,
    expected: question === 'host b is enrolled' ? 'reached' : 'holds',
    theory: () => enrolmentTheory(question),
  }));
  const broken = mutants.map(({ without, question, attack }): Case => ({
    model: `enrolment without ${without.join(', ')}`,
    query: question,
    expected: 'attack',
    attack,
    theory: () => enrolmentTheory(question, without),
  }));
  return [...full, ...broken];
}
