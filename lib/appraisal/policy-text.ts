/** The JSON of a policy (SPEC 10): what an operator writes, and what the authority signs. */
import { spkiOf } from '../certificates/public-key.ts';
import { base64 } from '../encoding/base64.ts';
import { hex, sha256Form, unhex } from '../encoding/hex.ts';
import { timeForm } from '../encoding/json-place.ts';
import type { JsonMembers, JsonPlace } from '../encoding/json-place.ts';
import { limits } from '../limits.ts';
import { domainsJson, domainsMember, policyIdForm, readDomains } from './domains.ts';
import type { Domains } from './domains.ts';
import { hostRuleMembers, readHostRules } from './host-rules.ts';
import type { HostRules } from './host-rules.ts';
import { logRuleMembers, readLogRules } from './log-rules.ts';
import type { LogRules } from './log-rules.ts';
import { readP256Key } from './p256-key.ts';
import { policyError } from './policy-error.ts';
import { quarantineMember, readQuarantineRule } from './quarantine-rule.ts';
import type { QuarantineRule } from './quarantine-rule.ts';
import { readJson } from './policy-json.ts';

export const POLICY_FORMAT = 'tvmmp-policy/1';
/** Forms of the texts of a policy; its JSON Schema is written from them too. */
export const policyForms = {
  id: policyIdForm,
  stateName: /^[\x20-\x7e]{1,128}$/,
  sha256: sha256Form,
  time: timeForm,
  /** 64 bytes in base64. */
  approval: /^[A-Za-z0-9+/]{85}[AQgw]==$/,
  /** Index of a PCR, as a member's name. */
  pcr: /^(?:\d|1\d|2[0-3])$/,
} as const;
export const PCR_MAX = 23;

/** A state as an operator states it: the value of each selected PCR of the SHA-256 bank. */
export interface DraftState {
  readonly name: string;
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
}

/** A policy before it is approved and signed. */
export interface PolicyDraft {
  readonly id: string;
  readonly version: number;
  /** PCRs of the SHA-256 bank, ascending. */
  readonly pcrs: readonly number[];
  readonly states: readonly DraftState[];
  /** What a host must be to receive, and to have held (SPEC 10.1); empty where the policy does not say. */
  readonly rulesOfHosts?: HostRules;
  /** What logs have to say; absent where the policy does not ask for logs. */
  readonly rules?: LogRules;
  /** How hosts appraise themselves over time (SPEC 16); absent where they do not. */
  readonly quarantine?: QuarantineRule;
  /** Other domains (SPEC 17); absent where there are none. */
  readonly domains?: Domains;
  /** The escrow key, for which hosts keep copies of vTPM keys (SPEC 15): SPKI DER in base64; absent where there is no escrow. */
  readonly escrow?: { readonly key: string };
}

/** A policy as its signed payload has it. */
export interface PolicyDocument extends PolicyDraft {
  readonly issuedAt: Date;
  readonly states: readonly (DraftState & { readonly approval: Uint8Array })[];
}

/**
 * Reads an operator's policy: `{"format":"tvmmp-policy/1","id","version","pcrs":{"sha256":[...]},"states":[{"name",
 * "pcrs":{"sha256":{"0":"hex"}}}]}`. Throws `policy-invalid`: too-large, malformed (with `fault` and `pointer` of what is
 * wrong).
 */
export function parsePolicyText(text: string): PolicyDraft {
  return parse(text, (document) => {
    const members = document.object(draftMembers, ruleMembers);
    return readPolicy(members, (state, pcrs) => draftState(state.object(['name', 'pcrs']), pcrs));
  });
}

/** Reads the payload of a signed policy; it must be the one text that `formatPolicy` writes. */
export function parsePolicyDocument(text: string): PolicyDocument {
  const document = parse(text, (place) => {
    const members = place.object([...draftMembers, 'issuedAt'], ruleMembers);
    const issuedAt = members.issuedAt.time();
    const policy = readPolicy(members, (state, pcrs) => {
      const parts = state.object(['name', 'pcrs', 'approval']);
      const approval = parts.approval.text(policyForms.approval);
      return { ...draftState(parts, pcrs), approval: Uint8Array.from(Buffer.from(approval, 'base64')) };
    });
    return { ...policy, issuedAt };
  });
  if (formatPolicy(document) !== text) {
    throw policyError('not-canonical', 'the policy is not written as SPEC 10 says');
  }
  return document;
}

/** The payload's text: compact JSON, members in the order of SPEC 10, PCRs ascending. */
export function formatPolicy(policy: PolicyDocument): string {
  return JSON.stringify({
    format: POLICY_FORMAT,
    id: policy.id,
    version: policy.version,
    issuedAt: policy.issuedAt.toISOString(),
    pcrs: { sha256: policy.pcrs },
    states: policy.states.map(({ name, pcrs, approval }) => ({
      name,
      pcrs: { sha256: hexOf(policy.pcrs, pcrs) },
      approval: base64(approval),
    })),
    ...policy.rulesOfHosts,
    ...policy.rules,
    ...quarantineOf(policy),
    ...domainsOf(policy),
    escrow: policy.escrow,
  });
}

/** The text of a draft, indented for people to edit: what `parsePolicyText` reads. */
export function formatPolicyDraft(policy: PolicyDraft): string {
  const states = policy.states.map(({ name, pcrs }) => ({
    name,
    pcrs: { sha256: hexOf(policy.pcrs, pcrs) },
  }));
  const { id, version, pcrs, rulesOfHosts, rules, escrow } = policy;
  return `${JSON.stringify({ format: POLICY_FORMAT, id, version, pcrs: { sha256: pcrs }, states, ...rulesOfHosts, ...rules, ...quarantineOf(policy), ...domainsOf(policy), escrow }, null, 2)}\n`;
}

const draftMembers = ['format', 'id', 'version', 'pcrs', 'states'] as const;
const ruleMembers = [
  ...hostRuleMembers,
  ...logRuleMembers,
  quarantineMember,
  domainsMember,
  'escrow',
] as const;
type Members = JsonMembers<(typeof draftMembers)[number], (typeof ruleMembers)[number]>;

function parse<T>(text: string, read: (document: JsonPlace) => T): T {
  if (Buffer.byteLength(text) > limits.policyBytesMax) {
    throw policyError('too-large', 'the policy is too large');
  }
  return readJson('the policy', text, read);
}

function readPolicy<S extends DraftState>(
  members: Members,
  readState: (state: JsonPlace, pcrs: readonly number[]) => S,
): PolicyDraft & { readonly states: readonly S[] } {
  members.format.constant(POLICY_FORMAT);
  const id = members.id.text(policyForms.id);
  const version = members.version.integer(1, Number.MAX_SAFE_INTEGER);
  const pcrs = readSelection(members.pcrs);
  const places = members.states.items(1, limits.policyStatesMax);
  const states = places.map((state) => readState(state, pcrs));
  const names = states.map(({ name }) => name);
  const again = places.find((_, index) => names.indexOf(names[index] ?? '') !== index);
  if (again !== undefined) throw again.at('name').fault('inconsistent', 'is the name of another state');
  const rulesOfHosts = hostRuleMembers.some((name) => members[name] !== undefined)
    ? { rulesOfHosts: readHostRules(members, names) }
    : {};
  const rules = logRuleMembers.some((name) => members[name] !== undefined)
    ? { rules: readLogRules(members) }
    : {};
  const quarantine =
    members.quarantine === undefined ? {} : { quarantine: readQuarantineRule(members.quarantine) };
  const escrow = members.escrow === undefined ? {} : { escrow: readEscrow(members.escrow) };
  const domains = members.domains === undefined ? {} : { domains: readDomains(members.domains, id, names) };
  return { id, version, pcrs, states, ...rulesOfHosts, ...rules, ...quarantine, ...domains, ...escrow };
}

function readEscrow(place: JsonPlace): NonNullable<PolicyDraft['escrow']> {
  const { key } = place.object(['key']);
  return { key: base64(spkiOf(readP256Key(key))) };
}

/** The member as a policy's JSON has it. */
function quarantineOf({ quarantine }: PolicyDraft): { readonly quarantine?: QuarantineRule } {
  if (quarantine === undefined) return {};
  const { everySeconds, leave } = quarantine;
  return { quarantine: { everySeconds, leave } };
}

/** The member as a policy's JSON has it. */
function domainsOf({ domains }: PolicyDraft): { readonly domains?: unknown } {
  return domains === undefined ? {} : { domains: domainsJson(domains) };
}

function draftState(members: JsonMembers<'name' | 'pcrs'>, pcrs: readonly number[]): DraftState {
  const name = members.name.text(policyForms.stateName);
  return { name, pcrs: readValues(members.pcrs, pcrs) };
}

function readSelection(place: JsonPlace): readonly number[] {
  const items = place.object(['sha256']).sha256.items(1, PCR_MAX + 1);
  const pcrs = items.map((item) => item.integer(0, PCR_MAX));
  for (const [index, item] of items.entries()) {
    if (pcrs.indexOf(pcrs[index] ?? 0) !== index) throw item.fault('repeated', 'is there twice');
  }
  const step = items.find((_, index) => index > 0 && (pcrs[index] ?? 0) < (pcrs[index - 1] ?? 0));
  if (step !== undefined) throw step.fault('inconsistent', 'is not above the PCR before it');
  return pcrs;
}

/** Exactly the selected PCRs, each with a SHA-256 value. */
function readValues(place: JsonPlace, pcrs: readonly number[]): ReadonlyMap<number, Uint8Array> {
  const values = place.object(['sha256']).sha256;
  const found = values.names().map((name): [number, Uint8Array] => {
    const value = values.at(name);
    if (!policyForms.pcr.test(name)) throw value.fault('unknown-member', 'is not a PCR');
    return [Number(name), unhex(value.text(policyForms.sha256))];
  });
  const other = found.find(([pcr]) => !pcrs.includes(pcr));
  if (other !== undefined) throw values.at(other[0]).fault('inconsistent', 'is not a PCR of this policy');
  const missing = pcrs.find((pcr) => !found.some(([one]) => one === pcr));
  if (missing !== undefined) throw values.fault('inconsistent', `lacks PCR ${missing}`);
  return new Map(found.sort(([a], [b]) => a - b));
}

/** PCR values as a policy's JSON has them, in this order. */
export function hexOf(
  order: readonly number[],
  pcrs: ReadonlyMap<number, Uint8Array>,
): Record<string, string> {
  const text = (pcr: number): string => hex(pcrs.get(pcr) ?? new Uint8Array());
  return Object.fromEntries(order.map((pcr) => [String(pcr), text(pcr)]));
}
