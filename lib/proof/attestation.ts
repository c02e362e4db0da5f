/**
 * What the holder of a VM says to a tenant who asks now (SPEC 4.3): this VM, with this proof and no later entry, is held here, by a host
 * in an approved state. Bound to the tenant's nonce, so that it is as fresh as that.
 */
import { attributesSeen } from '../appraisal/domains.ts';
import { revocationOf } from '../appraisal/revocation.ts';
import type { RevocationDocument } from '../appraisal/revocation.ts';
import { approvedState, boundTo, quoteOf, selectionText, selects, signedBy } from '../appraisal/quote.ts';
import { tenantFault } from '../appraisal/tenant-policy.ts';
import { bytesEqual } from '../bytes/compare.ts';
import type { HostAttributes } from '../certificates/attributes.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { H } from '../encoding/hash.ts';
import {
  bytesUpTo,
  decodeAs,
  encodeAs,
  formatted,
  hash,
  listOf,
  textUpTo,
  time,
  uuid,
} from '../encoding/shape.ts';
import type { Of } from '../encoding/shape.ts';
import { uuidBytes } from '../encoding/uuid.ts';
import { attestBytes, signatureBytes } from '../evidence/claim.ts';
import { hostId, policyId } from '../evidence/identity.ts';
import type { HostId, PolicyId } from '../evidence/identity.ts';
import { leafHash, merklePath } from '../evidence/merkle.ts';
import { limits } from '../limits.ts';
import { demandPolicy, sameHost } from './chain.ts';
import { Credentials } from './credentials.ts';
import { demand } from './fault.ts';
import type { ProofFault } from './fault.ts';
import { judge } from './verify.ts';
import type { VerifiedProof } from './verify.ts';

/** Certificates of the host and of policy signers. */
const CERTIFICATES_MAX = 1 + limits.proofSignersMax;

const shape = formatted('tvmmp/attestation/1', {
  vm: uuid,
  head: hash,
  nonce: bytesUpTo(limits.attestationNonceBytesMax),
  host: hostId,
  policy: policyId,
  time,
  path: merklePath,
  attest: attestBytes,
  signature: signatureBytes,
  certificates: listOf(bytesUpTo(limits.certificateBytesMax), { max: CERTIFICATES_MAX }),
  policies: listOf(textUpTo(limits.policyEnvelopeBytesMax), { max: 1 }),
});

/** `attestation` of SPEC 4.3. UNVERIFIED. */
export type Attestation = Of<typeof shape>;

/** Bytes of an attestation file. */
export function encodeAttestation(attestation: Attestation): Uint8Array {
  return encodeAs(shape, attestation);
}

/** Reads an attestation file; throws `encoding-invalid` or `limit-exceeded`. */
export function decodeAttestation(bytes: Uint8Array): Attestation {
  return decodeAs(shape, 'attestation', bytes, { bytesMax: limits.attestationBytesMax });
}

/** What the quote states, 32 bytes. Its `leafHash` is a leaf of the quote's tree. */
export function attestationStatement(
  said: Pick<Attestation, 'vm' | 'head' | 'nonce' | 'host' | 'policy' | 'time'>,
): Uint8Array {
  const { vm, head, nonce, host, policy, time: at } = said;
  return H('tvmmp/attestation/1', uuidBytes(vm), head, nonce, hostId.write(host), policyId.write(policy), at);
}

/** Whether a nonce is of a size that an attestation takes. */
export function isAttestationNonce({ byteLength }: Uint8Array): boolean {
  return byteLength >= limits.attestationNonceBytesMin && byteLength <= limits.attestationNonceBytesMax;
}

/** What an attestation is judged by. */
export interface AttestationTrust {
  /** The authority of the VM's holder. */
  readonly root: RootCertificate;
  /** The proof that it came with, verified. */
  readonly proof: VerifiedProof;
  /** What the verifier drew. */
  readonly nonce: Uint8Array;
  /** The verifier's clock: the certificate has to be valid now. */
  readonly now: Date;
  readonly revocations: RevocationDocument | null;
}

/** An attestation that holds. */
export interface VerifiedAttestation {
  readonly outcome: 'verified';
  readonly host: HostId;
  readonly attributes: HostAttributes;
  readonly policy: PolicyId;
  /** Name of the approved state. */
  readonly pcrState: string;
  /** The host's clock, milliseconds since 1970. */
  readonly time: number;
}

/** Verifies an attestation file (SPEC 4.3); the first check that fails is the fault. Throws nothing for bad input. */
export function verifyAttestation(
  bytes: Uint8Array,
  trust: AttestationTrust,
): VerifiedAttestation | ProofFault {
  return judge(
    () => {
      const { head: chain, tenant } = trust.proof;
      const attestation = decodeAttestation(bytes);
      const { host, policy, nonce, path, attest, signature, time: at } = attestation;
      const fresh = isAttestationNonce(nonce) && bytesEqual(nonce, trust.nonce);
      demand(fresh, 'nonce', 'it was made for another nonce: it may be an old one');
      demand(attestation.vm === chain.vm, 'head', `it is about VM ${attestation.vm}`);
      demand(
        bytesEqual(attestation.head, chain.head),
        'head',
        `the proof does not end with the entry that it is about: take the proof that came with it`,
      );
      demandHeld(trust.proof);
      const credentials = new Credentials(trust.root, attestation);
      const { publicKey, attributes } = credentials.host(host, trust.now.getTime());
      const revoked = revocationOf(trust.revocations, host.akName);
      demand(revoked === undefined, 'revocation', `${host.name} is revoked: ${revoked?.reason ?? ''}`);
      demand(
        sameHost(host, chain.holder),
        'holder',
        `${host.name} attests a VM that ${chain.holder.name} holds`,
      );
      demand(signedBy(publicKey, attest, signature), 'quote-signature', `not signed by ${host.name}'s AK`);
      const quote = quoteOf(attest);
      demand(quote.type === 'quote', 'quote-type', quote.type === 'none' ? quote.why : '');
      const bound = boundTo(quote, leafHash(attestationStatement(attestation)), path);
      demand(bound, 'quote-binding', 'the quote was not made for this attestation');
      const inForce = bytesEqual(policy.digest, chain.policy.digest);
      const approved = credentials.policy(policy, inForce ? chain.policySince : at);
      demandPolicy(chain.policy, policy);
      const selected = `the quote covers ${selectionText(quote.pcrSelection)}, not what the policy selects`;
      demand(selects(quote, approved.selection), 'pcr-selection', selected);
      const state = approvedState(quote, approved);
      const why = `${host.name} is in no approved state of policy ${policy.id} v${policy.version}`;
      demand(state !== undefined, 'pcr-state', why);
      const seen = attributesSeen(trust.proof.home, trust.root.digest, attributes);
      const fault = tenant === null ? null : tenantFault(tenant, seen);
      demand(fault === null, 'tenant', `${host.name} holds the VM: ${fault ?? ''}`);
      credentials.demandAllUsed();
      return { outcome: 'verified', host, attributes, policy, pcrState: state.name, time: at } as const;
    },
    () => null,
  );
}

/** `life-cycle`: whoever holds a VM that departs does not know whether he still does. */
function demandHeld({ head }: VerifiedProof): void {
  const held = head.state !== 'departing' && head.state !== 'destroyed';
  demand(held, 'life-cycle', `the proof says that the VM is ${head.state}`);
}
