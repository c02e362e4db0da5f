/**
 * Transition tables in one spelling, from the model's text and from the shipped state machines, so that they can be compared row by row:
 * `source: offered --m_staged--> staged: release`.
 */
import { readFileSync } from 'node:fs';
import { stepSource } from '../../../lib/protocol/source.ts';
import type { SourceEffect, SourceInput, SourceState } from '../../../lib/protocol/source.ts';
import { ProtocolViolation } from '../../../lib/protocol/step.ts';
import type { Step } from '../../../lib/protocol/step.ts';
import { stepTarget } from '../../../lib/protocol/target.ts';
import type { TargetEffect, TargetInput, TargetState } from '../../../lib/protocol/target.ts';
import { inputsOfSource, inputsOfTarget, placesOfSource, placesOfTarget } from './places.ts';

export type Role = 'source' | 'target';

/** One transition. Effects in their order, joined by ` then `; `none` for no effect. */
export interface TableRow {
  readonly role: Role;
  readonly from: string;
  readonly input: string;
  readonly to: string;
  readonly effects: string;
}

export function rowText({ role, from, input, to, effects }: TableRow): string {
  return `${role}: ${from} --${input}--> ${to}: ${effects}`;
}

/** Rows of the model: `:: S(from, input, to, effects)`, without those of mutants. */
export function modelRows(file: string): readonly (TableRow & { readonly section: string })[] {
  const text = readFileSync(file, 'utf8').replaceAll(/^#else\n(?:(?!#endif)[^\n]*\n)*?(?=#endif)/gm, '');
  const pattern = /^\s*:: ([ST])\((\w+), (\w+), (\w+), (\w+)\) *\/\* (SPEC [^*]+?) \*\/$/gm;
  return [...text.matchAll(pattern)].map(
    ([, letter, from = '', input = '', to = '', effects = '', section = '']) => ({
      role: letter === 'S' ? 'source' : 'target',
      from,
      input,
      to,
      effects: effects.replaceAll('_then_', ' then '),
      section,
    }),
  );
}

/** Rows of lib/protocol: every state, every kind of input. */
export function codeRows(): readonly TableRow[] {
  return [
    ...rowsOf<SourceState, SourceInput, SourceEffect>('source', stepSource, placesOfSource, inputsOfSource),
    ...rowsOf<TargetState, TargetInput, TargetEffect>('target', stepTarget, placesOfTarget, inputsOfTarget),
  ];
}

function rowsOf<
  State extends { readonly tag: string },
  Input extends { readonly kind: string },
  Effect extends { readonly do: string },
>(
  role: Role,
  step: (state: State, input: Input) => Step<State, Effect>,
  places: readonly State[],
  inputs: readonly Input[],
): readonly TableRow[] {
  const rows = new Map<string, TableRow>();
  for (const state of places)
    for (const input of inputs) {
      try {
        const next = step(state, input);
        const row = {
          role,
          from: spelled(state.tag),
          input: inputName(input),
          to: spelled(next.state.tag),
          effects: effectsText(next.effects),
        };
        rows.set(rowText(row), row);
      } catch (error) {
        if (!(error instanceof ProtocolViolation)) throw error;
      }
    }
  return [...rows.values()];
}

/** An input in the model's spelling. */
export function inputName(input: {
  readonly kind: string;
  readonly message?: { readonly kind: string };
}): string {
  return input.message === undefined ? spelled(input.kind) : `m_${spelled(input.message.kind)}`;
}

export function effectsText(
  effects: readonly { readonly do: string; readonly message?: { readonly kind: string } }[],
): string {
  const names = effects.map((effect) =>
    effect.message === undefined ? spelled(effect.do) : `send_${spelled(effect.message.kind)}`,
  );
  return names.length === 0 ? 'none' : names.join(' then ');
}

/** Nothing changes and nothing is done: the model leaves such rows out. */
export function isIdle(row: TableRow): boolean {
  return row.from === row.to && row.effects === 'none';
}

function spelled(name: string): string {
  return name.replaceAll('-', '_');
}
