/** Which questions about the exchange hold, which good ends are reached, and what each defence is for: the mutants. */
import type { Case } from './prove.ts';
import { exchangeQuestions, exchangeTheory } from './exchange-queries.ts';
import type { ExchangeQuestion } from './exchange-queries.ts';
import type { ExchangeDefence } from './exchange-terms.ts';

/** Good ends that must be derivable, so that nothing holds for want of a run. */
const ends: readonly ExchangeQuestion[] = [
  'an offer is made',
  'a VM is staged',
  'the copy of the source is destroyed',
  'a hand-over ends',
  'a session is aborted',
];

interface Mutant {
  readonly without: readonly ExchangeDefence[];
  readonly question: ExchangeQuestion;
  /** The attack that both provers find. */
  readonly attack: string;
}

/** Each defence taken away, alone where that is enough for an attack, with those that back it where it is not. */
export const exchangeMutants: readonly Mutant[] = [
  {
    without: ['exporter'],
    question: 'offer and attestation agree on the channel',
    attack:
      'who has the TLS keys of both sits between them: each attests in another connection than the one it is believed in',
  },
  {
    without: ['exporter'],
    question: 'staging and offer agree on the vTPM key',
    attack:
      'in the middle, the attacker replaces the sealed key, which no quote covers, by one that it knows',
  },
  {
    without: ['exporter', 'source-nonce', 'session-once'],
    question: 'an attestation serves one run of a source',
    attack: 'a quote of an earlier session is replayed under its id',
  },
  {
    without: ['exporter', 'target-nonce', 'session-once'],
    question: 'an offer serves one run of a target',
    attack: 'an offer of an earlier session is replayed under its id',
  },
  {
    without: ['exporter', 'tls-certificates'],
    question: 'offer and attestation agree on both hosts',
    attack: 'a target attests itself to the attacker by name, and its quote convinces a source',
  },
  {
    without: ['exporter', 'tls-certificates', 'peer-name'],
    question: 'staging and offer agree on both hosts',
    attack: 'an enrolled host in any state passes on the evidence of an approved one under its own name',
  },
  {
    without: ['ak-certificate'],
    question: 'the vTPM key is secret',
    attack: "software plays TPM: attestation key and receive key are the attacker's own",
  },
  {
    without: ['quote-signature'],
    question: 'no offer without the attestation',
    attack: 'the evidence is made up',
  },
  {
    without: ['quote-type'],
    question: 'no offer to a host that is not approved',
    attack: "a TPM signs a structure that says what an approved host's quote would say",
  },
  {
    without: ['quote-binding'],
    question: 'offer and attestation agree on the channel',
    attack: 'any quote that the target ever made serves, in any connection',
  },
  {
    without: ['pcr-state'],
    question: 'no offer to a host that is not approved',
    attack: 'an enrolled host in another state is offered the VM',
  },
  {
    without: ['pcr-in-seal'],
    question: 'the vTPM key is secret',
    attack:
      'the target is attacked after its quote, or booted into another system: its TPM opens the sealed key all the same',
  },
  {
    without: ['receive-key', 'target-hello', 'exporter'],
    question: 'the vTPM key is secret',
    attack: 'the attacker puts its own receive key into the hello of an approved host',
  },
  {
    without: ['key-context'],
    question: 'a start opens no key of another VM',
    attack: 'sealed keys of two VMs are exchanged on a disk',
  },
  {
    without: ['policy-version'],
    question: 'no staging under an older policy',
    attack: 'a target with an older policy takes a VM that departed under a newer one',
  },
  {
    without: ['role', 'transcript-label', 'departing'],
    question: 'no staging without the offer',
    attack:
      "a target's evidence is reflected: it passes for the statement of a source that never offered anything",
  },
  {
    without: ['facts'],
    question: 'staging and offer agree on the definition',
    attack: "the destination's libvirt is handed another definition of the VM",
  },
  {
    without: ['previous', 'session'],
    question: 'destruction and arrival agree on session',
    attack:
      'arrived of an earlier session of the same VM id ends a later one: the source destroys the only copy',
  },
  {
    without: ['kind', 'previous', 'session'],
    question: 'no destruction without the arrival',
    attack:
      'another entry of the target about this VM, such as its own departing to the source, passes for arrived',
  },
  {
    without: ['signer', 'previous'],
    question: 'no destruction without the arrival',
    attack: 'a third host’s arrived, of a hand-over that the same source made to it, ends this one',
  },
  {
    without: ['peer', 'previous'],
    question: 'destruction and arrival agree on hosts, VM, epoch',
    attack: 'the target says truly that the VM arrived, from another host, and this source destroys its copy',
  },
  {
    without: ['previous', 'epoch'],
    question: 'destruction and arrival agree on hosts, VM, epoch',
    attack: 'arrived of an earlier epoch ends a later hand-over between the same hosts',
  },
  {
    without: ['disclaimer-signature'],
    question: 'no aborted without word of the target',
    attack: "who has stolen the target's TLS key says in its name that it gave up, while it runs the VM",
  },
  {
    without: ['disclaimer-session'],
    question: 'aborted and disclaimer agree on target and session',
    attack: 'what the target says of a session that it gave up is taken for its word about another one',
  },
  {
    without: ['pcr-state'],
    question: 'no aborted without word of the target',
    attack: 'the target is booted into another system, whose TPM disclaims what it runs',
  },
];

/** All cases about the exchange. */
export function exchangeCases(): readonly Case[] {
  const full = exchangeQuestions.map((question): Case => {
    const expected = ends.includes(question) ? 'reached' : 'holds';
    return { model: 'exchange', query: question, expected, theory: () => exchangeTheory(question) };
  });
  const mutants = exchangeMutants.map(({ without, question, attack }): Case => ({
    model: `exchange without ${without.join(', ')}`,
    query: question,
    expected: 'attack',
    attack,
    theory: () => exchangeTheory(question, without),
  }));
  return [...full, ...mutants];
}
