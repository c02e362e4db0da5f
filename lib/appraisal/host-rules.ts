/** The members `forward` and `backward` of a policy (SPEC 10.1): what a host must be to receive a VM, and to have held it. */
import type { HostAttributes } from '../certificates/attributes.ts';
import { attributesText } from '../certificates/attributes.ts';
import type { JsonMembers, JsonPlace } from '../encoding/json-place.ts';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import { check, skipped } from './check.ts';
import { parseExpression } from './expression.ts';
import type { Check } from './verdict.ts';

/** Members of a policy that are rules about hosts; each may be missing. */
export const hostRuleMembers = ['forward', 'backward'] as const;
export type HostRuleMember = (typeof hostRuleMembers)[number];

/** Components whose versions a hello tells. */
export const ruledComponents = ['kernel', 'libvirt', 'qemu', 'tvmmp'] as const;
type Component = (typeof ruledComponents)[number];

/** One rule, as the policy's JSON has it. At least one member is there. */
export interface HostRule {
  /** Condition over the attributes of the AK certificate. */
  readonly attributes?: string;
  /** Lowest version of each component, by name. */
  readonly versions?: Readonly<Partial<Record<Component, string>>>;
  /** Names of the policy's states that are good enough. */
  readonly states?: readonly string[];
}

/** A policy's rules, as its JSON has them. */
export type HostRules = Readonly<Partial<Record<HostRuleMember, HostRule>>>;

/** Whether every host that has held a VM is asked for something: then its proof has to show them all, from birth (SPEC 4.1). */
export function asksOfEveryHolder({
  rulesOfHosts,
  domains,
}: {
  readonly rulesOfHosts: HostRules;
  readonly domains: { readonly others: readonly { readonly rules: HostRules }[] } | null;
}): boolean {
  const rules = [rulesOfHosts, ...(domains?.others ?? []).map((domain) => domain.rules)];
  return rules.some(({ backward }) => backward?.attributes !== undefined);
}

/** Members of a rule, in the order of SPEC 10.1. */
export const hostRuleParts = ['attributes', 'versions', 'states'] as const;

/** Forms of the texts in a rule. What else a condition has to be, its grammar says. */
export const hostRuleForms = {
  condition: /^[\x20-\x7e]{1,1000}$/,
  version: /^\d{1,6}(?:\.\d{1,6}){0,3}$/,
  stateName: /^[\x20-\x7e]{1,128}$/,
} as const;

/** Reads the members of a policy that are there. Throws JsonFaultError. */
export function readHostRules(
  policy: JsonMembers<never, HostRuleMember>,
  states: readonly string[],
): HostRules {
  return Object.fromEntries(
    hostRuleMembers.flatMap((member) => {
      const rule = policy[member];
      return rule === undefined ? [] : [[member, readRule(rule, states)]];
    }),
  );
}

function readRule(place: JsonPlace, known: readonly string[]): HostRule {
  return readRuleParts(place.someOf(hostRuleParts), known);
}

/** The parts of a rule that are there. Throws JsonFaultError. */
export function readRuleParts(
  { attributes, versions, states }: JsonMembers<never, (typeof hostRuleParts)[number]>,
  known: readonly string[],
): HostRule {
  return {
    ...(attributes === undefined ? {} : { attributes: readCondition(attributes) }),
    ...(versions === undefined ? {} : { versions: readVersions(versions) }),
    ...(states === undefined ? {} : { states: readStates(states, known) }),
  };
}

/** A condition that can be read, as it was written. Throws JsonFaultError. */
export function readCondition(place: JsonPlace): string {
  const text = place.text(hostRuleForms.condition);
  try {
    return parseExpression(text).text;
  } catch (error) {
    if (!(error instanceof TvmmpError)) throw error;
    throw place.fault('inconsistent', `is no condition: ${error.message}`);
  }
}

function readVersions(place: JsonPlace): NonNullable<HostRule['versions']> {
  const versions = place.someOf(ruledComponents);
  return Object.fromEntries(
    ruledComponents.flatMap((name) => {
      const version = versions[name];
      return version === undefined ? [] : [[name, version.text(hostRuleForms.version)]];
    }),
  );
}

function readStates(place: JsonPlace, known: readonly string[]): readonly string[] {
  const wanted = place.texts(hostRuleForms.stateName, 1, limits.policyStatesMax, { once: true });
  const unknown = wanted.findIndex((name) => !known.includes(name));
  if (unknown >= 0) throw place.at(unknown).fault('inconsistent', 'names no state of the policy');
  return known.filter((name) => wanted.includes(name));
}

/** What a rule is held against. */
export interface RuledHost {
  readonly attributes: HostAttributes;
  readonly versions: ReadonlyMap<string, string>;
  /** Name of the approved state; undefined where it is in none. */
  readonly state: string | undefined;
}

/** `rule-attributes`, `rule-versions`, `rule-states` of SPEC 6.5: what the rule does not ask for passes, and says so. */
export function ruleChecks(member: string, rule: HostRule | undefined, host: RuledHost): readonly Check[] {
  return [
    attributesCheck(member, rule?.attributes, host.attributes),
    versionsCheck(member, rule?.versions ?? {}, host.versions),
    statesCheck(member, rule?.states, host.state),
  ];
}

/** What is wrong with attributes by a rule; null where nothing is. */
export function attributesFault(condition: string | undefined, attributes: HostAttributes): string | null {
  if (condition === undefined) return null;
  const { names, holds } = parseExpression(condition);
  const outcome = holds(attributes);
  if (outcome === true) return null;
  const missing = names.filter((name) => !attributes.has(name));
  const has = attributes.size === 0 ? 'no attributes' : attributesText(attributes);
  return outcome === 'unknown' && missing.length > 0
    ? `${has}: nothing is said about ${missing.join(', ')}`
    : has;
}

function attributesCheck(member: string, condition: string | undefined, attributes: HostAttributes): Check {
  const fault = attributesFault(condition, attributes);
  return check('rule-attributes', fault === null, {
    expected: condition === undefined ? `anything: ${member} has no condition` : condition,
    found: fault ?? (attributes.size === 0 ? 'no attributes' : attributesText(attributes)),
    remedy:
      'the authority gives attributes: `tvmmp authority enroll` with --renew and --attribute; or choose another host',
  });
}

function versionsCheck(
  member: string,
  wanted: NonNullable<HostRule['versions']>,
  told: ReadonlyMap<string, string>,
): Check {
  const rows = Object.entries(wanted).map(([name, least]) => ({
    name,
    least,
    found: told.get(name) ?? 'not told',
  }));
  const failed = rows.filter(({ least, found }) => !reaches(found, least));
  const shown = failed.length === 0 ? rows : failed;
  return check('rule-versions', failed.length === 0, {
    expected:
      rows.length === 0
        ? `any versions: ${member} has none`
        : shown.map(({ name, least }) => `${name} ${least} or later`).join(', '),
    found:
      rows.length === 0 ? 'not asked for' : shown.map(({ name, found }) => `${name} ${found}`).join(', '),
    remedy: 'update that host, or have a policy signed that asks for less',
  });
}

function statesCheck(
  member: string,
  wanted: readonly string[] | undefined,
  state: string | undefined,
): Check {
  if (wanted !== undefined && state === undefined) return skipped('rule-states', 'pcr-state');
  const pass = wanted === undefined || (state !== undefined && wanted.includes(state));
  return check('rule-states', pass, {
    expected:
      wanted === undefined ? `any approved state: ${member} names none` : `state ${wanted.join(' or ')}`,
    found: state === undefined ? 'not asked for' : `state ${state}`,
    remedy: 'boot one of the states that the rule names',
  });
}

/** Whether a version is this one or a later one: numbers between dots, up to whatever follows them. */
export function reaches(found: string, least: string): boolean {
  const [numbers] = /^\d{1,9}(?:\.\d{1,9})*/.exec(found) ?? [];
  if (numbers === undefined) return false;
  const [a, b] = [numbers.split('.').map(Number), least.split('.').map(Number)];
  for (let index = 0; index < b.length; index += 1) {
    const [x, y] = [a[index] ?? 0, b[index] ?? 0];
    if (x !== y) return x > y;
  }
  return true;
}
