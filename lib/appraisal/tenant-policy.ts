/**
 * Tenant policies (SPEC 10.5): what the owner of one VM asks of every host that holds it, signed with the owner's own key. A host
 * believes neither the key nor the policy for what it says of itself: the chain of the VM names its digest, and who verifies a
 * proof knows the tenant's key.
 */
import type { KeyObject } from 'node:crypto';
import { bytesEqual } from '../bytes/compare.ts';
import type { HostAttributes } from '../certificates/attributes.ts';
import { spkiDigest, spkiOf } from '../certificates/public-key.ts';
import { base64 } from '../encoding/base64.ts';
import { sha256 } from '../encoding/hash.ts';
import type { JsonPlace } from '../encoding/json-place.ts';
import { uuidForm } from '../encoding/uuid.ts';
import { limits } from '../limits.ts';
import { keyIdOf, parseEnvelope, payloadText, signEnvelope, verifyEnvelope } from './dsse.ts';
import { attributesFault, readCondition } from './host-rules.ts';
import { readP256Key } from './p256-key.ts';
import type { PolicyKeys } from './policy.ts';
import { policyError } from './policy-error.ts';
import { readJson } from './policy-json.ts';

/** payloadType of the envelope. */
export const TENANT_PAYLOAD_TYPE = 'application/vnd.tvmmp.tenant-policy+json';

const FORMAT = 'tvmmp-tenant-policy/1';

/** What a tenant says. */
export interface TenantDocument {
  /** The one VM that it is about. */
  readonly vm: string;
  /** Above that of the policy it replaces. */
  readonly version: number;
  readonly issuedAt: Date;
  /** Condition over attributes of hosts (SPEC 10.1). */
  readonly condition: string;
  /** Forbids that hosts keep a copy of the VM's key for the authority's escrow key, whatever their policy says (SPEC 15). */
  readonly escrow?: 'no';
}

/** A tenant policy whose signature is that of the key in it. */
export interface TenantPolicy extends TenantDocument {
  /** SHA-256 of the signed payload: what the chain names. */
  readonly digest: Uint8Array;
  /** SHA-256 of the tenant's public key (SPKI DER). */
  readonly keyDigest: Uint8Array;
}

/** Reads an envelope and verifies it by the key that it names. Throws `policy-invalid`. */
export function verifyTenantPolicy(envelopeText: string): TenantPolicy {
  const envelope = parseEnvelope(envelopeText);
  if (envelope.payloadType !== TENANT_PAYLOAD_TYPE)
    throw policyError(
      'wrong-payload-type',
      `the envelope holds ${envelope.payloadType}, not a tenant policy`,
    );
  if (envelope.payload.byteLength > limits.tenantPolicyBytesMax)
    throw policyError('too-large', 'the tenant policy is too large');
  const text = payloadText(envelope);
  const { key, ...document } = parse(text);
  if (format(document, key) !== text)
    throw policyError('not-canonical', 'the tenant policy is not written as SPEC 10.5 says');
  const named = envelope.keyId === keyIdOf(key);
  if (!named || !verifyEnvelope(envelope, key))
    throw policyError('bad-signature', 'the tenant policy is not signed by the key that it names');
  return { ...document, digest: sha256(envelope.payload), keyDigest: spkiDigest(key) };
}

/** Signs a tenant policy with the tenant's key (ECDSA P-256): the text of a DSSE envelope. Throws `policy-invalid`. */
export function signTenantPolicy(document: TenantDocument, keys: PolicyKeys): string {
  const text = format(document, keys.publicKey);
  parse(text);
  return signEnvelope(TENANT_PAYLOAD_TYPE, Buffer.from(text), keys);
}

/** Throws `policy-invalid` unless a policy may follow the one in force: same tenant, higher version. */
export function assertTenantSuccessor(current: TenantPolicy, next: TenantPolicy): void {
  if (!bytesEqual(current.keyDigest, next.keyDigest))
    throw policyError('untrusted-signer', 'the tenant policy is signed by another key than the one in force');
  if (next.version <= current.version)
    throw policyError(
      'rollback',
      `version ${next.version} of the tenant policy is not above ${current.version}, in force`,
    );
}

/** Why the tenant does not let a host with these attributes hold the VM; null where it does. */
export function tenantFault(policy: TenantPolicy, attributes: HostAttributes): string | null {
  const fault = attributesFault(policy.condition, attributes);
  return fault === null ? null : `the tenant asks for ${policy.condition}, and the host has ${fault}`;
}

function parse(text: string): TenantDocument & { readonly key: KeyObject } {
  return readJson('the tenant policy', text, read);
}

function read(place: JsonPlace): TenantDocument & { readonly key: KeyObject } {
  const members = place.object(['format', 'vm', 'version', 'issuedAt', 'key', 'condition'], ['escrow']);
  const escrow = members.escrow?.constant('no');
  members.format.constant(FORMAT);
  return {
    vm: members.vm.text(uuidForm),
    version: members.version.integer(1, Number.MAX_SAFE_INTEGER),
    issuedAt: members.issuedAt.time(),
    key: readP256Key(members.key),
    condition: readCondition(members.condition),
    ...(escrow === undefined ? {} : { escrow: 'no' }),
  };
}

/** Compact JSON, members in the order of SPEC 10.5. */
function format({ vm, version, issuedAt, condition, escrow }: TenantDocument, key: KeyObject): string {
  const spki = base64(spkiOf(key));
  return JSON.stringify({
    format: FORMAT,
    vm,
    version,
    issuedAt: issuedAt.toISOString(),
    key: spki,
    condition,
    escrow,
  });
}
