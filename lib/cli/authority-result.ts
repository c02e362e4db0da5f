/** `tvmmp authority result`. */
import type { Command } from 'commander';
import type { Authority } from '../authority/authority.ts';
import { limits } from '../limits.ts';
import type { DraftResult } from '../proof/result.ts';
import { withAuthority, withPassphrase } from './authority-directory.ts';
import type { PassphraseOptions } from './authority-directory.ts';
import { leaf } from './command.ts';
import { refused } from './exit.ts';
import { readInput, writeOutput } from './files.ts';
import { print, printJson } from './output.ts';

interface ResultOptions extends PassphraseOptions {
  readonly output: string;
  readonly opening?: string;
  readonly fromBirth?: boolean;
}

/** `tvmmp authority result`. */
export function addAuthorityResult(authority: Command): void {
  withPassphrase(
    leaf(authority, {
      usage: 'result <directory> <proof>',
      summary: 'say what a proof shows, without naming hosts',
      description:
        'Verifies a proof as tvmmp proof verify does, with the revocation list signed last, and signs an attestation result: ' +
        'each stay of the VM with the attributes of its host, under a pseudonym. Two results about one proof cannot be told to be ' +
        'about the same hosts. An attribute that only one host has names it.\n' +
        'The opening tells which pseudonym is which host to whoever has the proof too. It cannot be made again.',
      examples: [
        [
          'tvmmp authority result /srv/authority web.tvmmp-proof -o web.result.json --opening web.opening.json',
          'Give away web.result.json, keep the opening; then tvmmp result verify web.result.json --authority root.pem.',
        ],
      ],
    })
      .requiredOption('-o, --output <file>', 'the result')
      .option('--opening <file>', 'write what opens the pseudonyms; keep it')
      .option('--from-birth', 'refuse a proof that begins with a checkpoint'),
  ).action(async (directory: string, file: string, options: ResultOptions) => {
    const { formatOpening } = await import('../proof/result-opening.ts');
    const { signResult, verifyResult } = await import('../proof/result.ts');
    const proof = readInput(file, limits.proofBytesMax);
    const made = await withAuthority(directory, options, async (opened) => {
      const issuedAt = new Date();
      const { document, salts } = await draftOf(opened, proof, { file, issuedAt, options });
      const text = signResult(document, opened.policyKeys(), opened.signerCertificate);
      return { salts, text, result: verifyResult(text, opened.root, issuedAt) };
    });
    const { result, salts, text } = made;
    if (options.opening !== undefined)
      writeOutput(options.opening, `${formatOpening({ result: result.digest, salts })}\n`, 0o600);
    writeOutput(options.output, `${text}\n`);
    const hosts = new Set(result.stays.map(({ holder }) => holder)).size;
    if (options.json === true)
      printJson({
        file: options.output,
        vm: result.vm,
        digest: result.digest,
        stays: result.stays.length,
        hosts,
      });
    else
      print(
        `${options.output}: VM ${result.vm}, ${result.stays.length} stays on ${hosts} hosts, which it does not name`,
      );
  });
}

async function draftOf(
  authority: Authority,
  bytes: Uint8Array,
  { file, issuedAt, options }: { file: string; issuedAt: Date; options: ResultOptions },
): Promise<DraftResult> {
  const { decodeRevocations } = await import('../appraisal/revocation.ts');
  const { currentRevocations } = await import('../authority/revocations.ts');
  const { resultOf } = await import('../proof/result.ts');
  const { revocationFault, revokedSigners } = await import('../proof/revocation.ts');
  const { verifyProof } = await import('../proof/verify.ts');
  const { root } = authority;
  const checkpoints = options.fromBirth === true ? {} : { checkpoints: 'any' as const };
  const proof = verifyProof(bytes, { root, ...checkpoints });
  if (proof.outcome === 'fault') throw refused(`${file} does not verify: ${proof.check}: ${proof.message}`);
  const envelope = currentRevocations(authority);
  const list = envelope === null ? null : decodeRevocations(envelope);
  const revoked = revokedSigners(proof, list);
  const fault = revocationFault(revoked);
  if (fault !== null) throw refused(`${file} does not hold: ${fault}`);
  const unbelieved = new Set(revoked.flatMap(({ destroyedAfter }) => destroyedAfter));
  return resultOf(proof, { issuedAt, revocations: list?.version ?? 0, unbelieved });
}
