/** The JSON of a policy (SPEC 10): what an operator writes, and what the authority signs. */
import {
  JsonShapeError,
  arrayOf,
  base64,
  base64Of,
  integerOf,
  objectOf,
  textOf,
} from '../encoding/json-object.ts';
import type { JsonObject } from '../encoding/json-object.ts';
import { limits } from '../limits.ts';
import { hostRuleMembers, readHostRules } from './host-rules.ts';
import type { HostRules } from './host-rules.ts';
import { logRuleMembers, readLogRules } from './log-rules.ts';
import type { LogRules } from './log-rules.ts';
import { policyError } from './policy-error.ts';

const FORMAT = 'tvmmp-policy/1';
const ID = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const STATE_NAME = /^[\x20-\x7e]{1,128}$/;
const SHA256_HEX = /^[0-9a-f]{64}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const PCR_MAX = 23;
const APPROVAL_BYTES = 64;

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
}

/** A policy as its signed payload has it. */
export interface PolicyDocument extends PolicyDraft {
  readonly issuedAt: Date;
  readonly states: readonly (DraftState & { readonly approval: Uint8Array })[];
}

/**
 * Reads an operator's policy: `{"format":"tvmmp-policy/1","id","version","pcrs":{"sha256":[...]},"states":[{"name",
 * "pcrs":{"sha256":{"0":"hex"}}}]}`. Throws `policy-invalid`: too-large, malformed.
 */
export function parsePolicyText(text: string): PolicyDraft {
  return parse(text, (value) => {
    const members = policyMembers(value, ['format', 'id', 'version', 'pcrs', 'states']);
    return readPolicy(members, ['name', 'pcrs'], (_, state) => state);
  });
}

/** Reads the payload of a signed policy; it must be the one text that `formatPolicy` writes. */
export function parsePolicyDocument(text: string): PolicyDocument {
  const document = parse(text, (value) => {
    const members = policyMembers(value, ['format', 'id', 'version', 'issuedAt', 'pcrs', 'states']);
    const issuedAt = new Date(textOf(members['issuedAt'], 'issuedAt', TIME));
    if (Number.isNaN(issuedAt.getTime())) throw new JsonShapeError('issuedAt is no time');
    const policy = readPolicy(members, ['name', 'pcrs', 'approval'], (state, draft) => {
      const approval = base64Of(state['approval'], 'approval', APPROVAL_BYTES);
      if (approval.byteLength !== APPROVAL_BYTES) throw new JsonShapeError('approval is not of 64 bytes');
      return { ...draft, approval };
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
    format: FORMAT,
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
  });
}

/** The text of a draft, indented for people to edit: what `parsePolicyText` reads. */
export function formatPolicyDraft(policy: PolicyDraft): string {
  const states = policy.states.map(({ name, pcrs }) => ({
    name,
    pcrs: { sha256: hexOf(policy.pcrs, pcrs) },
  }));
  const { id, version, pcrs } = policy;
  return `${JSON.stringify({ format: FORMAT, id, version, pcrs: { sha256: pcrs }, states, ...policy.rulesOfHosts, ...policy.rules }, null, 2)}\n`;
}

function parse<T>(text: string, read: (value: unknown) => T): T {
  if (Buffer.byteLength(text) > limits.policyBytesMax) {
    throw policyError('too-large', 'the policy is too large');
  }
  try {
    return read(JSON.parse(text));
  } catch (cause) {
    if (!(cause instanceof JsonShapeError || cause instanceof SyntaxError)) throw cause;
    throw policyError('malformed', `the policy cannot be read: ${cause.message}`, cause);
  }
}

function readPolicy<S extends DraftState>(
  members: JsonObject,
  stateMembers: readonly string[],
  extend: (state: JsonObject, draft: DraftState) => S,
): PolicyDraft & { readonly states: readonly S[] } {
  if (members['format'] !== FORMAT) throw new JsonShapeError(`the format is not ${FORMAT}`);
  const pcrs = readSelection(members['pcrs']);
  const states = arrayOf(members['states'], 'states', 1, limits.policyStatesMax).map((value) => {
    const state = objectOf(value, 'a state', stateMembers);
    const name = textOf(state['name'], 'the name of a state', STATE_NAME);
    return extend(state, { name, pcrs: readValues(state['pcrs'], pcrs) });
  });
  if (new Set(states.map(({ name }) => name)).size !== states.length) {
    throw new JsonShapeError('two states have one name');
  }
  return {
    id: textOf(members['id'], 'id', ID),
    version: integerOf(members['version'], 'version', 1, Number.MAX_SAFE_INTEGER),
    pcrs,
    states,
    ...(hostRuleMembers.some((name) => name in members)
      ? {
          rulesOfHosts: readHostRules(
            members,
            states.map(({ name }) => name),
          ),
        }
      : {}),
    ...(logRuleMembers.some((name) => name in members) ? { rules: readLogRules(members) } : {}),
  };
}

/** All members that a policy must have, and those that it may have. */
function policyMembers(value: unknown, required: readonly string[]): JsonObject {
  const present = typeof value === 'object' && value !== null ? value : {};
  const optional = [...hostRuleMembers, ...logRuleMembers].filter((name) => name in present);
  return objectOf(value, 'the policy', [...required, ...optional]);
}

function readSelection(value: unknown): readonly number[] {
  const { sha256 } = objectOf(value, 'pcrs', ['sha256']) as { sha256: unknown };
  const pcrs = arrayOf(sha256, 'pcrs.sha256', 1, PCR_MAX + 1).map((pcr) =>
    integerOf(pcr, 'a PCR', 0, PCR_MAX),
  );
  if (pcrs.some((pcr, i) => i > 0 && pcr <= (pcrs[i - 1] ?? PCR_MAX))) {
    throw new JsonShapeError('the PCRs are not in ascending order');
  }
  return pcrs;
}

/** Exactly the selected PCRs, each with a SHA-256 value. */
function readValues(value: unknown, pcrs: readonly number[]): ReadonlyMap<number, Uint8Array> {
  const { sha256 } = objectOf(value, 'pcrs of a state', ['sha256']) as { sha256: unknown };
  const values = objectOf(sha256, 'pcrs.sha256 of a state', pcrs.map(String));
  return new Map(
    pcrs.map((pcr) => {
      const hex = textOf(values[String(pcr)], `PCR ${pcr}`, SHA256_HEX);
      return [pcr, Uint8Array.from(Buffer.from(hex, 'hex'))];
    }),
  );
}

function hexOf(order: readonly number[], pcrs: ReadonlyMap<number, Uint8Array>): Record<string, string> {
  const text = (pcr: number): string => Buffer.from(pcrs.get(pcr) ?? []).toString('hex');
  return Object.fromEntries(order.map((pcr) => [String(pcr), text(pcr)]));
}
