/** The certificate of a VM's vTPM beside its proof (SPEC 4.5): which host made this vTPM, for this VM, by the word of the authority. */
import { revocationOf } from '../appraisal/revocation.ts';
import type { RevocationDocument } from '../appraisal/revocation.ts';
import { bytesEqual } from '../bytes/compare.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { verifyVtpmChain } from '../certificates/vtpm-chain.ts';
import type { VtpmChain } from '../certificates/vtpm-chain.ts';
import type { VtpmCertificate } from '../certificates/vtpm-certificate.ts';
import { TvmmpError } from '../errors.ts';
import { nameOf } from '../tpm/public-area.ts';
import { endorsementKeyOf } from '../tpm/templates.ts';
import { demand } from './fault.ts';
import type { ProofFault } from './fault.ts';
import { revokedSigners } from './revocation.ts';
import { judge } from './verify.ts';
import type { VerifiedProof } from './verify.ts';

/** Whom to believe, and when. */
export interface VtpmBirthTrust {
  readonly root: RootCertificate;
  readonly now: Date;
  readonly revocations: RevocationDocument | null;
}

/** A certificate that holds for the vTPM of a proof. */
export interface VerifiedVtpmBirth {
  readonly outcome: 'verified';
  readonly certificate: VtpmCertificate;
  /** Whether the proof has its first entry, so that who signed that was compared with who certified the vTPM. */
  readonly fromBirth: boolean;
}

/** Verifies the certificate of a vTPM with a proof that holds; the first check that fails is the fault. Throws nothing for bad input. */
export function verifyVtpmBirth(
  proof: VerifiedProof,
  chain: VtpmChain,
  trust: VtpmBirthTrust,
): VerifiedVtpmBirth | ProofFault {
  return judge(
    () => {
      const certificate = chained(chain, trust);
      const { vm, vtpm } = proof.head;
      demand(certificate.uuid === vm, 'vtpm-vm', `the certificate is of the vTPM of VM ${certificate.uuid}`);
      const area = endorsementKeyOf(certificate.publicKey);
      const same = area !== null && vtpm !== null && bytesEqual(nameOf(area), vtpm);
      demand(
        same,
        'vtpm-key',
        'the certificate is of another key than the endorsement key that the proof names',
      );
      demandUnrevoked(proof, certificate, trust.revocations);
      return { outcome: 'verified', certificate, fromBirth: demandBirthplace(proof, certificate) };
    },
    () => null,
  );
}

function chained(chain: VtpmChain, { root, now }: VtpmBirthTrust): VtpmCertificate {
  try {
    return verifyVtpmChain(chain, root, now);
  } catch (error) {
    if (!(error instanceof TvmmpError) || error.code !== 'certificate-invalid') throw error;
    demand(false, 'vtpm-chain', error.message);
  }
}

/** A host that was revoked may have backdated what it certified: its entry in the proof, and an entry of another host after it, may show its age. */
function demandUnrevoked(
  proof: VerifiedProof,
  { issuer }: VtpmCertificate,
  revocations: RevocationDocument | null,
): void {
  const revocation = revocations === null ? undefined : revocationOf(revocations, issuer.akName);
  if (revocation === undefined) return;
  const signed = revokedSigners(proof, revocations).find((one) =>
    bytesEqual(one.revocation.akName, issuer.akName),
  );
  const vouched = signed?.before?.first === 0 && signed.witness !== null;
  demand(
    vouched,
    'revocation',
    `the vTPM was certified by ${issuer.host}, revoked since ${revocation.since.toISOString()}: ${revocation.reason}`,
  );
}

/** Who certified the vTPM signed the first entry of its VM. Without that entry, as from a checkpoint on, there is nothing to compare. */
function demandBirthplace({ entries }: VerifiedProof, { issuer }: VtpmCertificate): boolean {
  const birth = entries[0]?.entry;
  if (birth?.sequence !== 0) return false;
  const same = birth.host.name === issuer.host && bytesEqual(birth.host.akName, issuer.akName);
  demand(
    same,
    'vtpm-issuer',
    `the vTPM was certified by ${issuer.host}, and the VM was born at ${birth.host.name}`,
  );
  return true;
}
