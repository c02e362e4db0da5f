/** Puts reference values together, and fills a policy in from them (SPEC 10.4). */
import { bytesEqual } from '../bytes/compare.ts';
import { digestRules } from './log-rules.ts';
import type { EventLogRules, ImaRules, LogRules } from './log-rules.ts';
import { policyError } from './policy-error.ts';
import type { DraftState, PolicyDraft } from './policy-text.ts';
import type { Reference } from './reference.ts';
import { keyVariables } from './secure-boot.ts';

type Keys = NonNullable<EventLogRules['keys']>;

/**
 * What any of them accepts: old and new versions side by side, while an update is rolled out. Throws `policy-invalid`, reason
 * `conflict`, where two states of one name differ, or Secure Boot was on at one host and off at another.
 */
export function mergeReferences(references: readonly Reference[]): Reference {
  return references.reduce((a, b) => {
    const eventLog =
      a.eventLog === undefined || b.eventLog === undefined
        ? (a.eventLog ?? b.eventLog)
        : mergeLogs(a.eventLog, b.eventLog);
    const ima = a.ima === undefined || b.ima === undefined ? (a.ima ?? b.ima) : mergeIma(a.ima, b.ima);
    return {
      sources: [...a.sources, ...b.sources],
      states: mergeStates(a.states, b.states),
      ...(eventLog === undefined ? {} : { eventLog }),
      ...(ima === undefined ? {} : { ima }),
    };
  });
}

/**
 * A draft with the states of the references, restricted to its PCRs, and with their values in those rules about logs that it has
 * already: a policy says what is ruled, references which values are good. Throws `policy-invalid`, reason `conflict`.
 */
export function fillPolicy(draft: PolicyDraft, reference: Reference): PolicyDraft {
  const added = reference.states.map((state) => restricted(state, draft.pcrs));
  const fresh = added.filter(
    (state, index) => ![...draft.states, ...added.slice(0, index)].some((other) => isSame(other, state)),
  );
  const rules = draft.rules === undefined ? {} : { rules: fillRules(draft.rules, reference) };
  return { ...draft, states: mergeStates(draft.states, fresh), ...rules };
}

function fillRules(rules: LogRules, reference: Reference): LogRules {
  const { eventLog, ima } = rules;
  return {
    ...(eventLog === undefined ? {} : { eventLog: fillEventLog(eventLog, reference.eventLog ?? {}) }),
    ...(ima === undefined
      ? {}
      : { ima: { ...ima, files: mergeFiles(ima.files, reference.ima?.files ?? {}) } }),
  };
}

function fillEventLog(rules: EventLogRules, from: EventLogRules): EventLogRules {
  sameSecureBoot(rules, from);
  const lists = [...digestRules, 'commandLines' as const].flatMap((name) =>
    rules[name] === undefined ? [] : [[name, union(rules[name], from[name] ?? [])] as const],
  );
  const { keys } = rules;
  const filled = keyVariables.flatMap((name) =>
    keys?.[name] === undefined ? [] : [[name, union(keys[name], from.keys?.[name] ?? [])] as const],
  );
  return {
    ...rules,
    ...(keys === undefined ? {} : { keys: Object.fromEntries(filled) }),
    ...(Object.fromEntries(lists) as Partial<EventLogRules>),
  };
}

function mergeLogs(a: EventLogRules, b: EventLogRules): EventLogRules {
  sameSecureBoot(a, b);
  const secureBoot = a.secureBoot ?? b.secureBoot;
  const keys = a.keys === undefined || b.keys === undefined ? (a.keys ?? b.keys) : mergeKeys(a.keys, b.keys);
  const lists = [...digestRules, 'commandLines' as const].flatMap((name) => {
    const [left, right] = [a[name], b[name]];
    return left === undefined && right === undefined ? [] : [[name, union(left ?? [], right ?? [])] as const];
  });
  return {
    ...(secureBoot === undefined ? {} : { secureBoot }),
    ...(keys === undefined ? {} : { keys }),
    ...(Object.fromEntries(lists) as Partial<EventLogRules>),
  };
}

/** Keys that may be there add up; of those that have to be there (dbx), what all have is left. */
function mergeKeys(a: Keys, b: Keys): Keys {
  return Object.fromEntries(
    keyVariables.flatMap((name) => {
      const [left, right] = [a[name], b[name]];
      if (left === undefined && right === undefined) return [];
      const both = (left ?? []).filter((key) => right === undefined || right.includes(key));
      return [
        [name, name === 'dbx' ? (left === undefined ? (right ?? []) : both) : union(left ?? [], right ?? [])],
      ];
    }),
  );
}

function sameSecureBoot(a: EventLogRules, b: EventLogRules): void {
  if (a.secureBoot !== undefined && b.secureBoot !== undefined && a.secureBoot !== b.secureBoot)
    throw policyError('conflict', 'Secure Boot is on in one of them and off in another');
}

function mergeIma(a: ImaRules, b: ImaRules): ImaRules {
  const excluded = union(a.excluded ?? [], b.excluded ?? []);
  const keys = union(a.keys ?? [], b.keys ?? []);
  return {
    files: mergeFiles(a.files, b.files),
    ...(excluded.length === 0 ? {} : { excluded }),
    ...(keys.length === 0 ? {} : { keys }),
  };
}

function mergeFiles(a: ImaRules['files'], b: ImaRules['files']): ImaRules['files'] {
  const files = new Map(Object.entries(a));
  for (const [path, digests] of Object.entries(b)) files.set(path, union(files.get(path) ?? [], digests));
  return Object.fromEntries([...files].sort(([x], [y]) => (x < y ? -1 : 1)));
}

function mergeStates(a: readonly DraftState[], b: readonly DraftState[]): readonly DraftState[] {
  const merged = [...a];
  for (const state of b) {
    const same = merged.find(({ name }) => name === state.name);
    if (same === undefined) merged.push(state);
    else if (!isSame(same, state))
      throw policyError(
        'conflict',
        `two states are called "${state.name}", with other values: name one of them otherwise`,
      );
  }
  return merged;
}

function isSame(a: DraftState, b: DraftState): boolean {
  return (
    a.pcrs.size === b.pcrs.size &&
    [...a.pcrs].every(([pcr, value]) => bytesEqual(b.pcrs.get(pcr) ?? new Uint8Array(), value))
  );
}

function restricted({ name, pcrs }: DraftState, wanted: readonly number[]): DraftState {
  const values = wanted.map((pcr): [number, Uint8Array] => {
    const value = pcrs.get(pcr);
    if (value === undefined)
      throw policyError(
        'conflict',
        `the reference state "${name}" has no PCR ${pcr}, which the policy selects`,
      );
    return [pcr, value];
  });
  return { name, pcrs: new Map(values) };
}

function union(a: readonly string[], b: readonly string[]): readonly string[] {
  return [...new Set([...a, ...b])];
}
