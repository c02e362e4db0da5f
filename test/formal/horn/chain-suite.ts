/** What is asked about chains of any length, and about proofs from a checkpoint on: by induction, base and step a row each, and the attacks. */
import { chainAttacks } from './chain-attacks.ts';
import { firstEntry, nextEntry, nextInOrder, oneFuture, onePast } from './chain-induction.ts';
import type { ChainDefence } from './chain.ts';
import { checkpointAttacks } from './checkpoint-attacks.ts';
import { checkpointSteps } from './checkpoint.ts';
import type { Case } from './prove.ts';
import type { Sequent } from './sequent.ts';

/** The rules of chain.ts in their order. */
const kinds = ['that stays', 'departing', 'arrived', 'aborted'] as const;

const holds = (query: string, sequent: () => Sequent): Case => ({
  model: 'chain, by induction',
  query,
  expected: 'holds',
  theory: sequent,
});

const authorship = 'entries are by their hosts, heirs of the first';

/** Without these the step fails already for an entry that stays at its host; chain-attacks.ts has the attack. */
const needed: readonly ChainDefence[] = ['entry-signature', 'holder', 'previous'];

/** All cases about chains. */
export function chainCases(): readonly Case[] {
  return [
    holds(`base: ${authorship}`, firstEntry),
    ...kinds.map((kind, index) => holds(`step, ${kind}: ${authorship}`, () => nextEntry(index, []))),
    ...kinds.map((kind, index) =>
      holds(`step, ${kind}: numbers, epochs, VM, session in order`, () => nextInOrder(index, [])),
    ),
    holds('step: two chains with one end are one', () => onePast([])),
    holds('step, at home: no two chains part', () => oneFuture('home', [])),
    holds('step, on the way: no two chains part', () => oneFuture('leaving', [])),
    ...needed.map((without): Case => ({
      model: `chain without ${without}, by induction`,
      query: `step, that stays: ${authorship}`,
      expected: 'not shown',
      attack: 'the entry that is accepted need not be its host’s, or not about the one before',
      theory: () => nextEntry(0, [without]),
    })),
    ...chainAttacks(),
    ...Object.entries(checkpointSteps).map(([query, sequent]): Case => ({
      model: 'checkpoints, by induction',
      query,
      expected: 'holds',
      theory: () => sequent,
    })),
    ...checkpointAttacks(),
  ];
}
