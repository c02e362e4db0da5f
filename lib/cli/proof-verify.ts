import type { Command } from 'commander';
import { limits } from '../limits.ts';
import type { ProofFault } from '../proof/fault.ts';
import type { VerifiedProof } from '../proof/verify.ts';
import type { RevocationDocument } from '../appraisal/revocation.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { collect, leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { refused } from './exit.ts';
import { readInput } from './files.ts';
import { print, printJson } from './output.ts';
import { judgement, refuseFault, verified } from './proof-file.ts';

interface VerifyOptions extends CommonOptions {
  readonly authority: readonly string[];
  readonly revocations?: readonly string[];
  readonly fromBirth?: boolean;
  readonly tenant?: string;
  readonly attestation?: string;
  readonly nonce?: string;
  readonly challenge?: string;
  readonly vtpmQuote?: string;
  readonly vtpmSignature?: string;
  readonly vtpmAk?: string;
  readonly vtpmCertificate?: string;
}

/** `tvmmp proof verify`. */
export function addVerify(proof: Command): void {
  leaf(proof, {
    usage: 'verify <file>',
    summary: 'verify a proof offline',
    description:
      'Verifies every signature, platform state and step of the chain, with nothing but the file and the root certificate ' +
      'of the authority: no TPM, no libvirt, no network. Says who had the VM, when, under which policy, and whether each ' +
      'former holder signed that its copy is destroyed. Exit code 1, and the first thing that is wrong, where it does ' +
      'not hold. A proof cannot show that its end was cut off: tvmmp proof compare does, given two.\n' +
      'With a revocation list: what a host signed before it was revoked stays good, and is told; what it signed later ' +
      'breaks the proof.\n' +
      'It says whether the proof was verified from birth, or from a checkpoint on: then the host that signed the checkpoint ' +
      'is believed for what came before.\n' +
      'Of a VM that was in several domains: give the root of each (--authority again); who held it where is told by the names ' +
      'that the policy of its home has for domains. A host whose root was not given is not believed.\n' +
      'With --tenant: the VM is bound to a policy of that tenant, and every host that took it satisfied the one in force.\n' +
      'With --attestation and the nonce that it was asked for with (tvmmp vm attest): that the last holder holds the VM now, in an ' +
      'approved state, and that the proof was not cut off. With --challenge and --vtpm-quote as well (deep attestation): that the ' +
      'vTPM of the proof answers in the guest, and with which PCRs.\n' +
      'With --vtpm-certificate (tvmmp vm certificate): that the vTPM was made at a host of the authority, in an approved state, for this VM.',
    examples: [
      ['tvmmp proof verify web.tvmmp-proof --authority root.pem --tenant tenant.pem', 'As its tenant.'],
      ['tvmmp proof verify web.tvmmp-proof --authority root.pem', 'As an auditor or a tenant.'],
      [
        'tvmmp proof verify web.tvmmp-proof --authority root.pem --json | jq -e \'.birth == "..."\'',
        'That it is the VM that you know: its first entry is pinned.',
      ],
      [
        'tvmmp proof verify web.tvmmp-proof --authority root.pem --revocations revocations.json',
        'And that no host in it was revoked by then; the list comes from the authority.',
      ],
      [
        'tvmmp proof verify web.tvmmp-proof --authority root.pem --authority partner-root.pem',
        'Of a VM that was in two domains.',
      ],
      [
        'tvmmp proof verify web.tvmmp-proof --authority root.pem --attestation web.tvmmp-attestation --nonce 6f1c...',
        'And that its last host holds the VM now: the nonce is one that you drew.',
      ],
      [
        'tvmmp proof verify web.tvmmp-proof --authority root.pem --attestation web.tvmmp-attestation --challenge web.challenge --vtpm-quote quote.attest --vtpm-signature quote.sig',
        'And that its guest answers from the vTPM of the proof.',
      ],
    ],
  })
    .requiredOption(
      '--authority <file>',
      "the authority's root certificate (PEM); once for each domain that the VM was in",
      collect,
    )
    .option('--from-birth', 'refuse a proof that begins with a checkpoint')
    .option('--revocations <file>', "the authority's current revocation list; once for each domain", collect)
    .option('--tenant <file>', "the tenant's certificate or public key (PEM)")
    .option('--attestation <file>', 'what the host that holds the VM says now (tvmmp vm attest)')
    .option('--nonce <hex>', 'what it was asked for with: 16 to 64 random bytes')
    .option('--challenge <file>', 'in place of --nonce: your challenge to the guest (tvmmp proof challenge)')
    .option('--vtpm-quote <file>', 'quote of the vTPM, made in the guest (TPMS_ATTEST, tpm2_quote -m)')
    .option('--vtpm-signature <file>', 'its signature (TPMT_SIGNATURE, tpm2_quote -s)')
    .option(
      '--vtpm-ak <file>',
      'without a challenge: the attestation key of the guest (PEM), which you know to be in this vTPM',
    )
    .option(
      '--vtpm-certificate <file>',
      'certificate of the vTPM with its chain, in PEM (tvmmp vm certificate)',
    )
    .action(verify);
}

async function verify(file: string, options: VerifyOptions): Promise<void> {
  const { proofText } = await import('./proof-report.ts');
  const { listOfAuthority, revocationJson, revocationText, revocationsOf } =
    await import('./proof-revocation.ts');
  const { revocationFault, revokedSigners } = await import('../proof/revocation.ts');
  const { vtpmBirthJson, vtpmBirthOf, vtpmBirthText } = await import('./proof-vtpm.ts');
  const attestations = await import('./proof-attestation.ts');
  attestations.checkAttestationOptions(options);
  const bytes = readInput(file, limits.proofBytesMax);
  const judged = await verified(bytes, options.authority, options.fromBirth !== true);
  if (judged.outcome === 'fault') {
    if (options.json === true) printJson(await judgement(judged));
    return refuseFault(judged, bytes);
  }
  const lists = options.revocations === undefined ? null : revocationsOf(bytes, judged, options.revocations);
  const signers = lists?.flatMap(({ root, list }) => revokedSigners(judged, list, root.digest)) ?? null;
  const listOf = (root: RootCertificate): RevocationDocument | null => listOfAuthority(lists ?? [], root);
  const attested = await attestations.attestedBy(judged, options, listOf(judged.last.root));
  const born = vtpmBirthOf(judged, options, listOf(judged.entries[0]?.authority ?? judged.last.root));
  const refusal = attestations.attestationFault(attested);
  const fault = firstFault([
    ['the proof', 'tenant', await tenantFaultOf(judged, options.tenant)],
    ['the proof', 'revocation', signers === null ? null : revocationFault(signers)],
    [refusal?.what ?? '', refusal?.fault.check ?? '', refusal === null ? null : faultText(refusal.fault)],
    [
      "the vTPM's certificate",
      ...(born?.outcome === 'fault' ? ([born.check, faultText(born)] as const) : (['', null] as const)),
    ],
  ]);
  if (options.json === true)
    printJson({
      ...(await judgement(judged)),
      ...(signers === null ? {} : { revoked: signers.map(revocationJson) }),
      ...(attested === null ? {} : { attestation: attestations.attestationJson(attested) }),
      ...(born === null ? {} : { vtpmCertificate: vtpmBirthJson(born) }),
      ...(fault === null ? {} : { outcome: 'fault', check: fault.check, message: fault.message }),
    });
  else if (fault === null)
    print(
      ...proofText(judged),
      ...(signers ?? []).flatMap(revocationText),
      ...(attested === null ? [] : attestations.attestationText(attested)),
      ...vtpmBirthText(born),
    );
  if (fault !== null) throw refused(`${fault.what} does not hold: ${fault.message}`);
}

/** Something that does not hold although the proof itself does; first of a list. */
interface Fault {
  readonly what: string;
  readonly check: string;
  readonly message: string;
}

function firstFault(candidates: readonly (readonly [string, string, string | null])[]): Fault | null {
  for (const [what, check, message] of candidates) {
    if (message !== null) return { what, check, message };
  }
  return null;
}

function faultText({ check, message }: ProofFault): string {
  return `${check}: ${message}`;
}

/** What the tenant has against a proof that holds. */
async function tenantFaultOf(judged: VerifiedProof, file: string | undefined): Promise<string | null> {
  if (file === undefined) return null;
  const { tenantKeyOf } = await import('./tenant.ts');
  const { tenantProofFault } = await import('./proof-tenant.ts');
  return tenantProofFault(judged, tenantKeyOf(file));
}
