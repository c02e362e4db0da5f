/** What `tvmmp proof verify --vtpm-certificate` tells: which host made the vTPM of a proof (SPEC 4.5). */
import type { RevocationDocument } from '../appraisal/revocation.ts';
import { parseVtpmChain } from '../certificates/vtpm-chain.ts';
import { hex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import type { ProofFault } from '../proof/fault.ts';
import type { VerifiedProof } from '../proof/verify.ts';
import { verifyVtpmBirth } from '../proof/vtpm-birth.ts';
import type { VerifiedVtpmBirth } from '../proof/vtpm-birth.ts';
import { readText } from './files.ts';
import { fields, paint, timeText } from './output.ts';

/** Judges the certificate of a file; null where none is named. */
export function vtpmBirthOf(
  proof: VerifiedProof,
  options: { readonly vtpmCertificate?: string },
  revocations: RevocationDocument | null,
): VerifiedVtpmBirth | ProofFault | null {
  if (options.vtpmCertificate === undefined) return null;
  const chain = parseVtpmChain(readText(options.vtpmCertificate, 4 * limits.certificateBytesMax));
  return verifyVtpmBirth(proof, chain, {
    root: proof.entries[0]?.authority ?? proof.last.root,
    now: new Date(),
    revocations,
  });
}

/** For `--json`; times in milliseconds since 1970. */
export function vtpmBirthJson(judged: VerifiedVtpmBirth | ProofFault): unknown {
  if (judged.outcome === 'fault') return judged;
  const { certificate, fromBirth } = judged;
  const { uuid, issuer, notBefore, notAfter } = certificate;
  return {
    outcome: 'verified',
    vm: uuid,
    madeAt: issuer.host,
    akName: hex(issuer.akName),
    fromBirth,
    notBefore: notBefore.getTime(),
    notAfter: notAfter.getTime(),
  };
}

/** For people. Nothing where it does not hold. */
export function vtpmBirthText(judged: VerifiedVtpmBirth | ProofFault | null): readonly string[] {
  if (judged === null || judged.outcome === 'fault') return [];
  const { certificate, fromBirth } = judged;
  const { issuer, notBefore } = certificate;
  return [
    '',
    paint(
      'green',
      `the vTPM was made at ${issuer.host}, for this VM, and has a certificate of the authority`,
    ),
    ...fields([
      ['certified', `on ${timeText(notBefore.getTime())} by the vTPM CA of ${issuer.host}`],
      [
        'birth',
        fromBirth
          ? 'that host signed the first entry of the proof'
          : paint('yellow', 'which host signed the first entry is not in a proof from a checkpoint on'),
      ],
    ]),
  ];
}
