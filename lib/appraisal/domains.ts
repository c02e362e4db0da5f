/**
 * The member `domains` of a policy (SPEC 17.1): other authorities whose hosts may receive VMs of ours, or give them to us. Which domain a
 * host belongs to is told by the root that its certificate chains to, and by nothing that it or its authority says.
 */
import { bytesEqual } from '../bytes/compare.ts';
import type { HostAttributes } from '../certificates/attributes.ts';
import { spkiOf } from '../certificates/public-key.ts';
import { parseRootCertificate } from '../certificates/root-certificate.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { base64 } from '../encoding/base64.ts';
import { hex } from '../encoding/hex.ts';
import type { JsonMembers, JsonPlace } from '../encoding/json-place.ts';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import { hostRuleMembers, hostRuleParts, readRuleParts } from './host-rules.ts';
import type { HostRules } from './host-rules.ts';
import { readP256Key } from './p256-key.ts';

export const domainsMember = 'domains';

/** The attribute that says to which domain a host belongs. */
export const DOMAIN_ATTRIBUTE = 'domain';

/** Form of the id of a policy. */
export const policyIdForm = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/** Forms of the texts in the member. */
export const domainForms = {
  name: /^[a-z][a-z0-9-]{0,31}$/,
  /** A certificate in base64, up to 4,098 bytes. */
  root: /^(?:[A-Za-z0-9+/]{4}){1,1366}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/,
} as const;

/** Another domain, and what its hosts may do (SPEC 17.1). */
export interface Domain {
  readonly name: string;
  readonly root: RootCertificate;
  /** SubjectPublicKeyInfo DER of its policy key. */
  readonly policyKey: Uint8Array;
  /** The policy that its hosts have to have, and its lowest version. */
  readonly policy: { readonly id: string; readonly version: number };
  /** What its hosts must be to receive VMs from here, and to give VMs to here, beside the policy's own rules; absent: they may not. */
  readonly rules: HostRules;
}

/** All of the member. */
export interface Domains {
  /** What this policy calls its own domain. */
  readonly self: string;
  readonly others: readonly Domain[];
}

/** Reads the member of the policy with this id. Throws JsonFaultError. */
export function readDomains(place: JsonPlace, ownId: string, states: readonly string[]): Domains {
  const members = place.object(['self', 'others']);
  const self = members.self.text(domainForms.name);
  const places = members.others.items(1, limits.policyDomainsMax);
  const others = places.map((one) => readDomain(one, states));
  const seen = {
    name: new Set([self]),
    root: new Set<string>(),
    key: new Set<string>(),
    id: new Set([ownId]),
  };
  for (const [index, { name, root, policyKey, policy }] of others.entries()) {
    const told = { name, root: hex(root.digest), key: hex(policyKey), id: policy.id };
    for (const kind of ['name', 'root', 'key', 'id'] as const) {
      if (seen[kind].has(told[kind]))
        throw place.at('others').at(index).fault('inconsistent', `has the ${kind} of another domain`);
      seen[kind].add(told[kind]);
    }
  }
  return { self, others };
}

function readDomain(place: JsonPlace, states: readonly string[]): Domain {
  const members = place.object(['name', 'root', 'policyKey', 'policy'], hostRuleMembers);
  const policy = members.policy.object(['id', 'version']);
  return {
    name: members.name.text(domainForms.name),
    root: readRoot(members.root),
    policyKey: Uint8Array.from(spkiOf(readP256Key(members.policyKey))),
    policy: {
      id: policy.id.text(policyIdForm),
      version: policy.version.integer(1, Number.MAX_SAFE_INTEGER),
    },
    rules: readRules(members, states),
  };
}

function readRules(
  members: JsonMembers<never, (typeof hostRuleMembers)[number]>,
  states: readonly string[],
): HostRules {
  return Object.fromEntries(
    hostRuleMembers.flatMap((member) => {
      const rule = members[member];
      return rule === undefined
        ? []
        : [[member, readRuleParts(rule.object([], hostRuleParts), states)] as const];
    }),
  );
}

function readRoot(place: JsonPlace): RootCertificate {
  const der = Uint8Array.from(Buffer.from(place.text(domainForms.root), 'base64'));
  try {
    return parseRootCertificate(der);
  } catch (error) {
    if (!(error instanceof TvmmpError)) throw error;
    throw place.fault('inconsistent', `is no root certificate: ${error.message}`);
  }
}

/** The member as a policy's JSON has it, members in the order of SPEC 17.1. */
export function domainsJson({ self, others }: Domains): unknown {
  return {
    self,
    others: others.map(({ name, root, policyKey, policy, rules }) => ({
      name,
      root: base64(root.der),
      policyKey: base64(policyKey),
      policy: { id: policy.id, version: policy.version },
      forward: rules.forward,
      backward: rules.backward,
    })),
  };
}

/** The domain of a root that a policy names, by the digest of the root certificate; null where it names none. */
export function domainOf(domains: Domains | null, rootDigest: Uint8Array): Domain | null {
  return domains?.others.find(({ root }) => bytesEqual(root.digest, rootDigest)) ?? null;
}

/** A policy's own domain, to whom it matters which attributes a host has: whose policy it is, and whom it names. */
export interface DomainView {
  /** Digest of the root whose policy it is. */
  readonly root: Uint8Array;
  readonly domains: Domains | null;
}

/**
 * Attributes of a host as a policy sees them (SPEC 17.1): with the name that it has for the domain of the root that certified the host. What
 * a certificate says of `domain` counts for nothing once a policy has names for domains.
 */
export function attributesSeen(
  { root, domains }: DomainView,
  hostRoot: Uint8Array,
  attributes: HostAttributes,
): HostAttributes {
  if (domains === null) return attributes;
  const name = bytesEqual(root, hostRoot) ? domains.self : domainOf(domains, hostRoot)?.name;
  const rest = [...attributes].filter(([attribute]) => attribute !== DOMAIN_ATTRIBUTE);
  return new Map(name === undefined ? rest : [...rest, [DOMAIN_ATTRIBUTE, name]]);
}

/** How a host is called by whoever knows hosts of several domains: its name alone within the own one. */
export function peerLabel(name: string, domain: string | null): string {
  return domain === null ? name : `${name}@${domain}`;
}

/** The name alone. */
export function hostOfLabel(label: string): string {
  return label.split('@', 1)[0] ?? label;
}
