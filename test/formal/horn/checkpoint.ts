/**
 * Proofs from a checkpoint on (SPEC 4.1): what a target takes would verify from birth, as long as no two hosts lie together. By induction over what hosts take from each
 * other; the attacks are in checkpoint-attacks.ts. `acc(B, L)`: the chain from birth B to entry L verifies.
 */
import { implies } from './sequent.ts';
import type { Disjunction, Sequent } from './sequent.ts';

/** A rule of checkpoints that a variant can lack. */
export type CheckpointDefence = 'another-host' | 'true-summary' | 'named-summary' | 'known-head';

/** A checkpoint: signer, hash of its summary, hash of the entry before. A summary is a function of where the chain begins and ends. */
const axioms: readonly Disjunction[] = [
  ['h(X)!=h(Y)', 'X=Y'],
  ['hs(X)!=hs(Y)', 'X=Y'],
  ['sum(B,L)!=sum(B1,L1)', 'B=B1'],
  // 4 `previous`: a chain that verifies does so up to each of its entries.
  implies('acc(B,L)', 'acc(B,en(A,h(L),N))'),
  // 4 `checkpoint`: in a chain it has to be true.
  ['D=hs(sum(B,L))', '~acc(B,cp(C,D,h(L)))'],
  implies('acc(B,cp(C,hs(sum(B,L)),h(L)))', 'acc(B,L)', 'signed(C,cp(C,hs(sum(B,L)),h(L)))'),
  // An honest host signs a checkpoint of what it has verified: from birth, or as this induction says.
  implies('acc(held(C,D,L),L)', 'honest(C)', 'signed(C,cp(C,D,h(L)))'),
  ['D=hs(sum(held(C,D,L),L))', '~honest(C)', '~signed(C,cp(C,D,h(L)))'],
];

/** 4.1 what a target is shown: a checkpoint that names the summary beside it, signed by its host. */
const shown = 'cp(c,hs(sum(b,l)),h(l))';
const offered: readonly Disjunction[] = [[`signed(c,${shown})`]];

/** Steps of the induction, by the text that the table shows. */
export const checkpointSteps: Readonly<Record<string, Sequent>> = {
  'the past before an honest checkpoint verifies': {
    axioms: [...axioms, ...offered, ['honest(c)']],
    conclusion: ['acc(b,l)', `acc(b,${shown})`],
  },
  'a checkpoint in a chain that verifies tells the birth': {
    axioms: [...axioms, ...offered, [`acc(birth,${shown})`]],
    conclusion: ['birth=b'],
  },
  'so do proofs from it on, with one entry more': {
    // The step before says so of what was shown up to `l2`.
    axioms: [...axioms, implies('B=b', 'acc(B,l2)'), ['acc(birth,en(a,h(l2),n))']],
    conclusion: ['birth=b'],
  },
  'what a target takes verifies from birth, if one lies': {
    axioms: [
      // The steps above: of a checkpoint of an honest host, and of an honest host that has the chain that it offers.
      implies('acc(b,end)', 'honest(c)'),
      implies('acc(has(o),end)', 'honest(o)'),
      implies('B=b', 'acc(B,end)'),
      ['honest(X)', 'X=liar'],
      // 4.1 another host than the one that offers signed the checkpoint.
      ['c!=o'],
    ],
    conclusion: ['acc(b,end)'],
  },
};
