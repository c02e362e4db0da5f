/**
 * The certificates and policies that come with a proof: untrusted bytes at first, each verified against the root when an
 * entry needs it, and once only.
 */
import type { Domain } from '../appraisal/domains.ts';
import { parseEnvelope } from '../appraisal/dsse.ts';
import { verifySignedPolicy } from '../appraisal/policy.ts';
import type { Policy } from '../appraisal/policy.ts';
import { verifyRecovery } from '../appraisal/recovery.ts';
import type { RecoveryStatement } from '../appraisal/recovery.ts';
import { verifyTenantPolicy } from '../appraisal/tenant-policy.ts';
import type { TenantPolicy } from '../appraisal/tenant-policy.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { verifyHostCertificate } from '../certificates/host-certificate.ts';
import type { HostCertificate } from '../certificates/host-certificate.ts';
import { verifyPolicySignerCertificate } from '../certificates/policy-signer-certificate.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { sha256 } from '../encoding/hash.ts';
import { hex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { HostId, PolicyId } from './entry.ts';
import { CheckFailed, demand } from './fault.ts';

/** What came with a proof or with *arrived*. */
export interface CredentialBytes {
  readonly certificates: readonly Uint8Array[];
  readonly policies: readonly string[];
}

interface HeldPolicy {
  readonly text: string;
  verified?: Policy;
  /** Whose it is. */
  root?: RootCertificate;
  tenant?: TenantPolicy;
  recovery?: RecoveryStatement;
}

/** Credentials by their digests. Everything that finds them wanting throws CheckFailed. */
export class Credentials {
  /** Whom to believe: the own root first. */
  readonly #roots: readonly RootCertificate[];
  /** The root of each certificate of a host that was asked for, by the certificate's digest. */
  readonly #authorities = new Map<string, RootCertificate>();
  readonly #given: number;
  readonly #certificates = new Map<string, Uint8Array>();
  readonly #policies = new Map<string, HeldPolicy>();
  /** Digests of certificates that something needed. */
  readonly #needed = new Set<string>();
  /** Certificates of policy signers among them by the digest of their root, found when the first policy of that is asked for. */
  readonly #signers = new Map<string, readonly Uint8Array[]>();

  /** `others`: roots of other domains that are believed too (SPEC 17.3). */
  constructor(root: RootCertificate, bytes: CredentialBytes, others: readonly RootCertificate[] = []) {
    this.#roots = [root, ...others];
    this.#given = bytes.certificates.length + bytes.policies.length;
    for (const der of bytes.certificates) {
      this.#certificates.set(hex(sha256(der)), der);
    }
    for (const text of bytes.policies) {
      const digest = hex(sha256(checked('policy', () => parseEnvelope(text).payload)));
      this.#policies.set(digest, { text });
    }
  }

  /** `certificate`: the host's AK certificate is here, chains to the root, was valid then, and names this host and AK. */
  host(id: HostId, at: number): HostCertificate {
    const digest = hex(id.certificate);
    const der = this.#certificates.get(digest);
    demand(der !== undefined, 'certificate', `the AK certificate of ${id.name} is not in the proof`);
    const certificate = this.#certificateOf(der, id, at);
    const named = certificate.name === id.name && bytesEqual(certificate.akName, id.akName);
    demand(
      named,
      'certificate',
      `the certificate is that of ${certificate.name}, not of ${id.name} with this AK`,
    );
    this.#needed.add(digest);
    return certificate;
  }

  /** The root that a host's certificate chains to, which was asked for with `host`. */
  authorityOf(id: HostId): RootCertificate {
    const root = this.#authorities.get(hex(id.certificate));
    demand(root !== undefined, 'certificate', `the AK certificate of ${id.name} was not looked at`);
    return root;
  }

  /** `certificate`, by whichever root issued it; the first failure is told where none did. */
  #certificateOf(der: Uint8Array, id: HostId, at: number): HostCertificate {
    let first: TvmmpError | undefined;
    for (const root of this.#roots) {
      try {
        const certificate = verifyHostCertificate(der, root, new Date(at));
        this.#authorities.set(hex(id.certificate), root);
        return certificate;
      } catch (error) {
        if (!isOfInput(error)) throw error;
        if (!isOfAnother(error)) throw new CheckFailed('certificate', error.message);
        first ??= error;
      }
    }
    const named = this.#namedDomain(der, at);
    const why =
      named === null
        ? (first?.message ?? '')
        : `${id.name} is a host of the domain ${named.name}, whose root (SHA-256 ${hex(named.root.digest)}) was not given`;
    throw new CheckFailed('certificate', why);
  }

  /** What a policy that was verified calls the domain of a certificate whose root is not believed here. */
  #namedDomain(der: Uint8Array, at: number): Domain | null {
    const named = [...this.#policies.values()].flatMap(({ verified }) => verified?.domains?.others ?? []);
    const issued = ({ root }: Domain): boolean =>
      attempt(() => verifyHostCertificate(der, root, new Date(at))) !== undefined;
    return named.find(issued) ?? null;
  }

  /** `policy`: it is here, signed by a policy signer of the root, by default of the first one, and has this id and version. */
  policy(id: PolicyId, at: number, root: RootCertificate | undefined = this.#roots[0]): Policy {
    const held = this.#policies.get(hex(id.digest));
    demand(
      held !== undefined && root !== undefined,
      'policy',
      `policy ${id.id} v${id.version} is not in the proof`,
    );
    held.verified ??= this.#verify(held.text, new Date(at), root);
    held.root ??= root;
    demand(held.root === root, 'policy', `policy ${id.id} v${id.version} is that of another authority`);
    const { verified } = held;
    const named = verified.id === id.id && verified.version === id.version;
    demand(named, 'policy', `the policy is ${verified.id} v${verified.version}, not ${id.id} v${id.version}`);
    return verified;
  }

  /** `tenant`: the tenant policy with this digest is here, is signed by the key that it names, and speaks of this VM. */
  tenant(digest: Uint8Array, vm: string): TenantPolicy {
    const held = this.#policies.get(hex(digest));
    demand(held !== undefined, 'tenant', 'the tenant policy in force is not in the proof');
    held.tenant ??= checked('tenant', () => verifyTenantPolicy(held.text));
    demand(held.tenant.vm === vm, 'tenant', `the tenant policy is about VM ${held.tenant.vm}`);
    return held.tenant;
  }

  /** `recovery`: the recovery statement with this digest is here, signed by a policy signer of the root. */
  recovery(digest: Uint8Array, at: number, root: RootCertificate): RecoveryStatement {
    const held = this.#policies.get(hex(digest));
    demand(held !== undefined, 'recovery', 'the recovery statement is not in the proof');
    if (held.recovery === undefined) {
      const signers = this.#signersAt(new Date(at), root);
      held.recovery = checked('recovery', () => verifyRecovery(held.text, { root, signers }));
      this.#need(signers, held.recovery.signerSpki, held.recovery.issuedAt, root);
    }
    return held.recovery;
  }

  /** `unused`: nothing was given twice, nor anything that no entry needed: a proof cannot carry what nobody verified. */
  demandAllUsed(): void {
    const once = this.#certificates.size + this.#policies.size === this.#given;
    demand(once, 'unused', 'a certificate or policy is there twice');
    for (const { verified, tenant, recovery } of this.#policies.values()) {
      const used = verified !== undefined || tenant !== undefined || recovery !== undefined;
      demand(used, 'unused', 'a policy that no entry names');
    }
    for (const digest of this.#certificates.keys()) {
      demand(this.#needed.has(digest), 'unused', 'a certificate that no entry needs');
    }
  }

  /** At the time of the first entry under it, since a policy outlives its signer's certificate. */
  #verify(text: string, at: Date, root: RootCertificate): Policy {
    const signers = this.#signersAt(at, root);
    const policy = checked('policy', () => verifySignedPolicy(text, { root, signers, at }));
    this.#need(signers, policy.signerSpki, at, root);
    return policy;
  }

  #signersAt(at: Date, root: RootCertificate): readonly Uint8Array[] {
    const key = hex(root.digest);
    const signers =
      this.#signers.get(key) ??
      [...this.#certificates.values()].filter((der) => this.#mayBeSigner(der, at, root));
    this.#signers.set(key, signers);
    const { length } = signers;
    demand(length <= limits.proofSignersMax, 'policy', `${length} certificates of policy signers`);
    return signers;
  }

  /** The certificates of the key that signed something at that time are needed. */
  #need(signers: readonly Uint8Array[], signed: Uint8Array, at: Date, root: RootCertificate): void {
    for (const der of signers) {
      const spki = attempt(() => verifyPolicySignerCertificate(der, root, at).spki);
      if (spki !== undefined && bytesEqual(spki, signed)) this.#needed.add(hex(sha256(der)));
    }
  }

  /** Whether it is a policy signer's certificate of the root, at this time or another: looked at once a proof. */
  #mayBeSigner(der: Uint8Array, at: Date, root: RootCertificate): boolean {
    try {
      verifyPolicySignerCertificate(der, root, at);
      return true;
    } catch (error) {
      if (!isOfInput(error)) throw error;
      return error.details['reason'] === 'expired' || error.details['reason'] === 'not-yet-valid';
    }
  }
}

/** Turns the errors of untrusted input into a failed check; others are faults of ours and pass. */
function checked<T>(check: 'certificate' | 'policy' | 'tenant' | 'recovery', verify: () => T): T {
  try {
    return verify();
  } catch (error) {
    if (isOfInput(error)) throw new CheckFailed(check, error.message);
    throw error;
  }
}

function attempt<T>(verify: () => T): T | undefined {
  try {
    return verify();
  } catch (error) {
    if (isOfInput(error)) return undefined;
    throw error;
  }
}

/** Whether a certificate is one of another authority, rather than one of this that is wrong. */
function isOfAnother({ details }: TvmmpError): boolean {
  return details['reason'] === 'wrong-issuer' || details['reason'] === 'bad-signature';
}

function isOfInput(error: unknown): error is TvmmpError {
  const codes = ['certificate-invalid', 'policy-invalid', 'encoding-invalid', 'limit-exceeded'];
  return error instanceof TvmmpError && codes.includes(error.code);
}
