/**
 * The JSON Schema (draft 2020-12) of policies, for editors and other tools: it accepts what the parser accepts, but for what no
 * schema can say (`inconsistent`). Written from the forms and bounds that the parser uses; lib/appraisal/policy.schema.json is
 * its text.
 */
import { limits } from '../limits.ts';
import { domainForms } from './domains.ts';
import { hostRuleForms, ruledComponents } from './host-rules.ts';
import { logRuleForms } from './log-rules.ts';
import { p256KeyForm } from './p256-key.ts';
import { PCR_MAX, POLICY_FORMAT, policyForms } from './policy-text.ts';
import { quarantineLeaveForm } from './quarantine-rule.ts';
import { keyVariables } from './secure-boot.ts';

type Schema = Readonly<Record<string, unknown>>;

const SCHEMA_ID = 'https://tvmmp.org/schema/policy/1';
/** Of a signed policy's payload: the draft with what the signature adds. */
export const SIGNED_POLICY_SCHEMA = `${SCHEMA_ID}#/$defs/signed`;

/** The schema of a draft; under `$defs/signed` that of the payload of a signed policy. */
export function policySchema(): Schema {
  const draft = ['format', 'id', 'version', 'pcrs', 'states'];
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: SCHEMA_ID,
    title: 'TVMMP policy, a draft',
    description:
      'What a host has to be. tvmmp policy check looks besides at what a schema cannot say: PCRs ascend, a state has exactly the ' +
      'PCRs of the policy, names of states are unique and rules name none but these, conditions can be read, keys are RSA, P-256 or P-384 keys.',
    ...object(draft, { ...members({ $ref: '#/$defs/state' }) }),
    $defs: {
      signed: {
        title: 'TVMMP policy, the payload of a signed one',
        ...object([...draft, 'issuedAt'], {
          ...members({ $ref: '#/$defs/approvedState' }),
          issuedAt: text(policyForms.time),
        }),
      },
      state: object(['name', 'pcrs'], stateMembers),
      approvedState: object(['name', 'pcrs', 'approval'], {
        ...stateMembers,
        approval: text(policyForms.approval),
      }),
      hostRule: {
        description: 'At least one of the three.',
        ...someOf(hostRuleParts),
      },
      eventLog: someOf({
        secureBoot: { type: 'boolean' },
        keys: someOf(Object.fromEntries(keyVariables.map((name) => [name, digests]))),
        firmware: digests,
        drivers: digests,
        images: digests,
        commandLines: rule(text(logRuleForms.line)),
        bootFiles: digests,
      }),
      ima: object(['files'], {
        files: {
          type: 'object',
          description: 'Digests by path.',
          additionalProperties: rule(text(logRuleForms.digest)),
        },
        excluded: rule(text(logRuleForms.line)),
        keys: rule(text(logRuleForms.pem)),
        allowViolations: { type: 'boolean' },
      }),
      quarantine: {
        description:
          'Hosts appraise themselves at least so often; one that fails receives nothing, and its VMs leave it only where this says so.',
        ...object(['everySeconds', 'leave'], {
          everySeconds: {
            type: 'integer',
            minimum: limits.selfAppraisalSecondsMin,
            maximum: limits.selfAppraisalSecondsMax,
          },
          leave: text(quarantineLeaveForm),
        }),
      },
      domains: {
        description: 'Other authorities whose hosts may receive VMs (forward) or give them (backward).',
        ...object(['self', 'others'], {
          self: text(domainForms.name),
          others: list(domain, 1, limits.policyDomainsMax),
        }),
      },
      escrow: {
        description:
          'Hosts keep a copy of each vTPM key that the holder of this key can open. Off where it is not there.',
        ...object(['key'], { key: text(p256KeyForm) }),
      },
    },
  };
}

const digests = rule(text(logRuleForms.sha256));
/** Members of a rule about hosts. */
const hostRuleParts = {
  attributes: {
    ...text(hostRuleForms.condition),
    description: 'Condition over the attributes of a host, such as region == "eu" and level >= 2.',
  },
  versions: someOf(Object.fromEntries(ruledComponents.map((name) => [name, text(hostRuleForms.version)]))),
  states: { ...list(text(hostRuleForms.stateName), 1, limits.policyStatesMax), uniqueItems: true },
};
const domain = {
  type: 'object',
  required: ['name', 'root', 'policyKey', 'policy'],
  properties: {
    name: text(domainForms.name),
    root: text(domainForms.root),
    policyKey: text(p256KeyForm),
    policy: object(['id', 'version'], {
      id: text(policyForms.id),
      version: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
    }),
    forward: object([], hostRuleParts),
    backward: object([], hostRuleParts),
  },
  additionalProperties: false,
};
const stateMembers = {
  name: text(policyForms.stateName),
  pcrs: object(['sha256'], {
    sha256: {
      type: 'object',
      patternProperties: { [policyForms.pcr.source]: text(policyForms.sha256) },
      additionalProperties: false,
    },
  }),
};

/** The members that a draft and a signed policy share. */
function members(state: Schema): Schema {
  const selection = list({ type: 'integer', minimum: 0, maximum: PCR_MAX }, 1, PCR_MAX + 1);
  return {
    format: { const: POLICY_FORMAT },
    id: text(policyForms.id),
    version: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
    pcrs: object(['sha256'], { sha256: { ...selection, uniqueItems: true } }),
    states: list(state, 1, limits.policyStatesMax),
    forward: { $ref: '#/$defs/hostRule' },
    backward: { $ref: '#/$defs/hostRule' },
    eventLog: { $ref: '#/$defs/eventLog' },
    ima: { $ref: '#/$defs/ima' },
    quarantine: { $ref: '#/$defs/quarantine' },
    domains: { $ref: '#/$defs/domains' },
    escrow: { $ref: '#/$defs/escrow' },
  };
}

/** An object with these members and no others. */
function object(required: readonly string[], properties: Schema): Schema {
  return { type: 'object', required, properties, additionalProperties: false };
}

/** An object with at least one of these members and no others. */
function someOf(properties: Schema): Schema {
  return { type: 'object', minProperties: 1, properties, additionalProperties: false };
}

function list(items: Schema, minItems: number, maxItems: number): Schema {
  return { type: 'array', minItems, maxItems, items };
}

/** A list in a rule. */
function rule(items: Schema): Schema {
  return list(items, 0, limits.policyRuleItemsMax);
}

function text(form: RegExp): Schema {
  return { type: 'string', pattern: form.source };
}
