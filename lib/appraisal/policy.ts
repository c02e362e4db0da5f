/** Signed policies (SPEC 10): which platform states hosts accept, each approved so that a TPM accepts it as well. */
import { sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { bytesEqual } from '../bytes/compare.ts';
import type { PolicySigner } from '../certificates/policy-signer-certificate.ts';
import { keyOfSpki, spkiOf } from '../certificates/public-key.ts';
import { H, sha256 } from '../encoding/hash.ts';
import { Remembered } from '../encoding/remembered.ts';
import { limits } from '../limits.ts';
import { approvalMessage, policyAuthorize, policyKeyPublicArea, policyPcr } from '../tpm/policy.ts';
import type { PcrSelection } from '../tpm/port.ts';
import { nameOf } from '../tpm/public-area.ts';
import { parseEnvelope, payloadText, signEnvelope } from './dsse.ts';
import type { UntrustedEnvelope } from './dsse.ts';
import { envelopeSigner } from './envelope-signer.ts';
import type { SignerTrust } from './envelope-signer.ts';
import type { Domains } from './domains.ts';
import type { HostRules } from './host-rules.ts';
import type { LogRules } from './log-rules.ts';
import { policyError } from './policy-error.ts';
import type { QuarantineRule } from './quarantine-rule.ts';
import { formatPolicy, parsePolicyDocument } from './policy-text.ts';
import type { DraftState, PolicyDraft } from './policy-text.ts';

export { formatPolicyDraft, parsePolicyText } from './policy-text.ts';
export type { PolicyDraft } from './policy-text.ts';

/** payloadType of the envelope. */
export const POLICY_PAYLOAD_TYPE = 'application/vnd.tvmmp.policy+json';

/** An approved platform state. */
export interface PolicyState {
  readonly name: string;
  /** Values of the selected PCRs of the SHA-256 bank. */
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  /** What a quote over the selection shows: SHA-256 of the values in order. */
  readonly pcrDigest: Uint8Array;
  /** Digest of a policy session after TPM2_PolicyPCR in this state. */
  readonly approvedPolicy: Uint8Array;
  /** The policy key's ECDSA signature (r || s, 64 bytes) over SHA-256(approvedPolicy || policyRef). */
  readonly approval: Uint8Array;
}

/** A policy whose signature, signer and approvals were verified. */
export interface Policy {
  readonly id: string;
  readonly version: number;
  /** SHA-256 of the signed payload. */
  readonly digest: Uint8Array;
  readonly issuedAt: Date;
  /** One bank, sha256, PCRs ascending. */
  readonly selection: PcrSelection;
  readonly states: readonly PolicyState[];
  /** What a host must be to receive, and to have held (SPEC 10.1). */
  readonly rulesOfHosts: HostRules;
  /** What logs have to say; absent where the policy does not ask for logs. */
  readonly rules?: LogRules;
  /** How hosts appraise themselves over time (SPEC 16); absent where they do not. */
  readonly quarantine?: QuarantineRule;
  /** Other domains (SPEC 17); null where it names none. */
  readonly domains: Domains | null;
  /** SubjectPublicKeyInfo DER of the authority's escrow key (SPEC 15); null where there is no escrow. */
  readonly escrow: Uint8Array | null;
  /** SubjectPublicKeyInfo DER of the policy key that signed it. */
  readonly signerSpki: Uint8Array;
  /** policyRef of its approvals (SPEC 5.2). */
  readonly policyRef: Uint8Array;
}

/** Whom to believe, and when. */
export type PolicyTrust = SignerTrust;

/** The policy key and its public half. */
export interface PolicyKeys {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** policyRef of SPEC 5.2: binds approvals to this project and to one policy key. */
export function policyRefOf(signerSpki: Uint8Array): Uint8Array {
  return H('tvmmp/policy-ref/1', signerSpki);
}

/** authPolicy of every receive key of an authority (SPEC 5.2), from the SPKI DER of its policy key. */
export function receivePolicyOf(signerSpki: Uint8Array): Uint8Array {
  return receivePolicies.get(Buffer.from(signerSpki).toString('latin1'), () => {
    const key = keyOfSpki(signerSpki);
    return policyAuthorize(nameOf(policyKeyPublicArea(key)), policyRefOf(signerSpki));
  });
}

const receivePolicies = new Remembered<Uint8Array>(limits.policiesRememberedMax);

/** Policies whose signature and approvals were good, by their envelope. Whose key it was, and until when it may sign, is asked each time. */
const verified = new Remembered<Policy>(limits.policiesRememberedMax);

/**
 * Verifies a DSSE envelope, its signer's certificate, and each approval in the policy. Throws `policy-invalid`
 * (details: PolicyReason); nothing of an envelope that fails is returned.
 */
export function verifySignedPolicy(envelopeText: string, trust: PolicyTrust): Policy {
  const envelope = parseEnvelope(envelopeText);
  if (envelope.payloadType !== POLICY_PAYLOAD_TYPE) {
    throw policyError('wrong-payload-type', `the envelope holds ${envelope.payloadType}, not a policy`);
  }
  const known = verified.find(envelopeText);
  const signer = envelopeSigner(envelope, trust, known?.signerSpki);
  if (known !== undefined && bytesEqual(known.signerSpki, signer.spki)) return known;
  const policy = policyOf(envelope, signer);
  requireOwnEscrowKey(policy, trust);
  requireOtherDomains(policy, trust);
  verified.set(envelopeText, policy);
  return policy;
}

/** The policy in an envelope that its signer signed. */
function policyOf(envelope: UntrustedEnvelope, signer: PolicySigner): Policy {
  const document = parsePolicyDocument(payloadText(envelope));
  const policyRef = policyRefOf(signer.spki);
  const selection: PcrSelection = [{ bank: 'sha256', pcrs: document.pcrs }];
  const states = document.states.map((state) => {
    const digests = digestsOf(selection, document.pcrs, state);
    const signed = approvalMessage(digests.approvedPolicy, policyRef);
    if (!verify('sha256', signed, { key: signer.publicKey, dsaEncoding: 'ieee-p1363' }, state.approval)) {
      throw policyError('bad-approval', `the approval of the state "${state.name}" is not the policy key's`);
    }
    return { ...state, ...digests };
  });
  const { id, version, issuedAt, rulesOfHosts = {} } = document;
  const rules = document.rules === undefined ? {} : { rules: document.rules };
  const quarantine = document.quarantine === undefined ? {} : { quarantine: document.quarantine };
  const digest = sha256(envelope.payload);
  return {
    id,
    version,
    digest,
    issuedAt,
    selection,
    states,
    rulesOfHosts,
    ...rules,
    ...quarantine,
    domains: document.domains ?? null,
    escrow:
      document.escrow === undefined ? null : Uint8Array.from(Buffer.from(document.escrow.key, 'base64')),
    signerSpki: signer.spki,
    policyRef,
  };
}

/** A key that signs is no escrow key: each has its own keeper, and is used for one thing (SPEC 15.1). */
function requireOwnEscrowKey({ escrow, signerSpki }: Policy, { root }: PolicyTrust): void {
  if (escrow === null) return;
  if (bytesEqual(escrow, signerSpki) || bytesEqual(escrow, spkiOf(root.publicKey)))
    throw policyError('conflict', "the escrow key is the authority's root key or policy key");
}

/** A domain with the root or the policy key of this one would be two domains in one (SPEC 17.1). */
function requireOtherDomains({ domains, signerSpki }: Policy, { root }: PolicyTrust): void {
  const own = domains?.others.find(
    (other) => bytesEqual(other.root.digest, root.digest) || bytesEqual(other.policyKey, signerSpki),
  );
  if (own !== undefined)
    throw policyError(
      'conflict',
      `the domain "${own.name}" has the root or the policy key of this policy's own`,
    );
}

/** Approves each state of a draft and signs it all: the text of a DSSE envelope. */
export function signPolicy(draft: PolicyDraft, issuedAt: Date, keys: PolicyKeys): string {
  const policyRef = policyRefOf(spkiOf(keys.publicKey));
  const selection: PcrSelection = [{ bank: 'sha256', pcrs: draft.pcrs }];
  const states = draft.states.map((state) => {
    const { approvedPolicy } = digestsOf(selection, draft.pcrs, state);
    const approval = sign('sha256', approvalMessage(approvedPolicy, policyRef), {
      key: keys.privateKey,
      dsaEncoding: 'ieee-p1363',
    });
    return { ...state, approval: new Uint8Array(approval) };
  });
  const text = formatPolicy({ ...draft, states, issuedAt });
  parsePolicyDocument(text);
  return signEnvelope(POLICY_PAYLOAD_TYPE, Buffer.from(text), keys);
}

/**
 * Throws `policy-invalid` where a policy must not follow the one in force (SPEC 10): a lower version of the same id
 * (rollback), or the same version with other contents (version-conflict).
 */
export function assertSuccessor(current: Policy, next: Policy): void {
  if (current.id !== next.id) return;
  if (next.version < current.version) {
    throw policyError(
      'rollback',
      `version ${next.version} of ${next.id} is below ${current.version}, in force`,
    );
  }
  if (next.version === current.version && Buffer.compare(next.digest, current.digest) !== 0) {
    throw policyError(
      'version-conflict',
      `version ${next.version} of ${next.id} is in force with other contents`,
    );
  }
}

function digestsOf(
  selection: PcrSelection,
  pcrs: readonly number[],
  state: DraftState,
): { pcrDigest: Uint8Array; approvedPolicy: Uint8Array } {
  const pcrDigest = sha256(...pcrs.map((pcr) => state.pcrs.get(pcr) ?? new Uint8Array()));
  return { pcrDigest, approvedPolicy: policyPcr(selection, pcrDigest) };
}
