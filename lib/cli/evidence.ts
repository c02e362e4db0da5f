import type { Command } from 'commander';
import type { EvidenceVerdict } from '../appraisal/evidence-verdict.ts';
import type { PolicyDraft } from '../appraisal/policy-text.ts';
import { unhex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import { leaf, noun } from './command.ts';
import type { CommonOptions } from './command.ts';
import { refused, usageError } from './exit.ts';
import { readInput, readText } from './files.ts';
import { paint, print, printJson, table } from './output.ts';

/** TPM2B_ATTEST and TPMT_SIGNATURE are far below. */
const STRUCTURE_BYTES_MAX = 16 * 1024;
/** TPM2B_DATA: as large as the largest digest. */
const NONCE_BYTES_MAX = 64;

/** `tvmmp evidence`. */
export function addEvidence(program: Command): void {
  const evidence = noun(
    program,
    'evidence',
    'appraise what a TPM and a kernel wrote, offline',
    'Evidence is a quote of a TPM with the logs that explain it. It is appraised by a policy, on any machine.',
  );
  addAppraise(evidence);
}

interface AppraiseOptions extends CommonOptions {
  readonly policy: string;
  readonly ak: string;
  readonly quote: string;
  readonly signature: string;
  readonly eventLog?: string;
  readonly ima?: string;
  readonly nonce: string;
}

function addAppraise(evidence: Command): void {
  leaf(evidence, {
    usage: 'appraise',
    summary: 'judge a quote, an event log and an IMA list by a policy',
    description:
      'Checks that the attestation key signed the quote, that the quote is fresh and covers the PCRs that matter, that the ' +
      'logs lead to the quoted values, that these are in a state of the policy, and only then what the logs say: Secure Boot ' +
      'and its keys, firmware, boot loader, kernel and command line, files that ran. The policy is a draft or a signed ' +
      "policy; who signed it is not checked here: it is the verifier's own. Its members eventLog and ima hold the rules " +
      'about logs (SPEC 10.2). A log that the policy has rules about has to be given; one that is given has to lead to the ' +
      'quote, whatever the policy asks.\n\n' +
      'Exit code 0 where every check passed, 1 where one failed (the evidence is refused, also where it cannot be read), 2 ' +
      'where policy, key or nonce cannot be used or a file cannot be opened. JSON: "accepted", "reason", "policy", "state", ' +
      '"ima" (entries that the quote covers, and later ones, which are not judged) and "checks", every check in order with ' +
      '"name", "outcome" (pass, fail, not-asked), "expected" and "found".',
    examples: [
      [
        'tvmmp evidence appraise --policy policy.json --ak ak.pem --quote quote.attest --signature quote.sig --event-log boot.log --ima ima.list --nonce 0123abcd',
        'After tpm2_quote -q 0123abcd -m quote.attest -s quote.sig.',
      ],
    ],
  })
    .requiredOption('--policy <file>', 'the policy: a draft, or signed')
    .requiredOption(
      '--ak <file>',
      'public part of the attestation key (PEM), as tpm2_readpublic -f pem writes it',
    )
    .requiredOption('--quote <file>', 'TPMS_ATTEST, as tpm2_quote -m writes it')
    .requiredOption('--signature <file>', 'TPMT_SIGNATURE, as tpm2_quote -s writes it')
    .requiredOption('--nonce <hex>', 'what the quote has to be made for (qualifying data)')
    .option('--event-log <file>', 'binary_bios_measurements of the kernel')
    .option('--ima <file>', 'binary_runtime_measurements of the kernel')
    .action(appraise);
}

async function appraise(options: AppraiseOptions): Promise<void> {
  const { appraiseEvidence } = await import('../appraisal/evidence-appraisal.ts');
  const { evidenceReason } = await import('../appraisal/evidence-verdict.ts');
  const { publicKeyFrom } = await import('./public-key.ts');
  const nonce = nonceOf(options.nonce);
  const policy = await policyOf(readText(options.policy, limits.policyEnvelopeBytesMax));
  const verdict = appraiseEvidence({
    policy,
    ak: publicKeyFrom(options.ak),
    nonce,
    attest: readInput(options.quote, STRUCTURE_BYTES_MAX),
    signature: readInput(options.signature, STRUCTURE_BYTES_MAX),
    ...(options.eventLog === undefined
      ? {}
      : { eventLog: readInput(options.eventLog, limits.eventLogBytesMax) }),
    ...(options.ima === undefined ? {} : { ima: readInput(options.ima, limits.imaListBytesMax) }),
  });
  const reason = evidenceReason(verdict);
  if (options.json === true) printJson({ ...verdict, reason });
  else print(...verdictText(verdict));
  if (!verdict.accepted) throw refused(`the evidence is refused: ${reason}`);
}

function verdictText(verdict: EvidenceVerdict): readonly string[] {
  const { accepted, policy, state, ima, checks } = verdict;
  return [
    accepted ? paint('green', 'accepted') : paint('red', 'refused'),
    `policy ${policy.id} version ${policy.version}, state ${state ?? 'not known'}`,
    ...(ima === null ? [] : [`IMA list: ${ima.covered} entries covered by the quote, ${ima.later} later`]),
    '',
    ...table(
      ['CHECK', 'OUTCOME', 'FOUND'],
      checks.map(({ name, outcome, found }) => [name, outcome, found]),
    ),
  ];
}

/** A draft, or the payload of a signed policy. Throws `policy-invalid`. */
async function policyOf(text: string): Promise<PolicyDraft> {
  const { parsePolicyText } = await import('../appraisal/policy.ts');
  const { decodePolicy } = await import('./policy-view.ts');
  const signed = /^\s*\{\s*"payloadType"/.test(text) || text.includes('"signatures"');
  return signed ? decodePolicy(text) : parsePolicyText(text);
}

function nonceOf(digits: string): Uint8Array {
  if (!/^(?:[0-9a-fA-F]{2})+$/.test(digits) || digits.length > 2 * NONCE_BYTES_MAX)
    throw usageError(`the nonce is not 1 to ${NONCE_BYTES_MAX} bytes in hexadecimal`);
  return unhex(digits);
}
