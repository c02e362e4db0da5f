/** What the search takes as given, each replaceable by a mutant: the shipped machines, and rules of drivers and journals. */
import { stepSource } from '../../../lib/protocol/source.ts';
import type { SourceEffect, SourceInput, SourceState } from '../../../lib/protocol/source.ts';
import type { Step } from '../../../lib/protocol/step.ts';
import { stepTarget } from '../../../lib/protocol/target.ts';
import type { TargetEffect, TargetInput, TargetState } from '../../../lib/protocol/target.ts';

export interface Rules {
  readonly stepSource: (state: SourceState, input: SourceInput) => Step<SourceState, SourceEffect>;
  readonly stepTarget: (state: TargetState, input: TargetInput) => Step<TargetState, TargetEffect>;
  /** A definition that libvirt left at the target counts as an arrival (SPEC 6.8). */
  readonly definitionCounts: boolean;
  /** Session and entry of *departing* are one durable write. */
  readonly commitsAtOnce: boolean;
  /** Proof, sealed key and permit are on disk when *staged* is sent (SPEC 6.7). */
  readonly stagesDurably: boolean;
  /** What a crash left of a session that came to nothing is thrown away at the next start. */
  readonly sweeps: boolean;
  /** An agent that starts takes keys out of libvirt that are there for no start (SPEC 8.3). */
  readonly forgetsLeftKeys: boolean;
  /** libvirt has to agree that the VM left before *arrived* is believed. */
  readonly asksLibvirt: boolean;
  /** *abort*, *query* and *arrived* are said again until they are answered. */
  readonly repeats: boolean;
}

export const shipped: Rules = {
  stepSource,
  stepTarget,
  definitionCounts: true,
  commitsAtOnce: true,
  stagesDurably: true,
  sweeps: true,
  forgetsLeftKeys: true,
  asksLibvirt: true,
  repeats: true,
};
