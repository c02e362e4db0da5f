import type { Command } from 'commander';
import { ByteWriter } from '../bytes/writer.ts';
import { hex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import type { Credential } from '../tpm/credential.ts';
import { collect, leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { usageError } from './exit.ts';
import { readInput, writeOutput } from './files.ts';
import { print, printJson } from './output.ts';
import { refuseFault, verified } from './proof-file.ts';

/** TPM2B_PUBLIC and TPMT_PUBLIC are far below. */
const PUBLIC_FILE_BYTES_MAX = 4 * 1024;
const CERTIFICATE_FILE_BYTES_MAX = 64 * 1024;
/** What tpm2-tools put before a credential: its magic and version. */
const CREDENTIAL_MAGIC = 0xbadcc0de;
const CREDENTIAL_VERSION = 1;

interface ChallengeOptions extends CommonOptions {
  readonly authority: readonly string[];
  readonly vtpmEk: string;
  readonly vtpmAk: string;
  readonly output: string;
}

/** `tvmmp proof challenge`. */
export function addChallenge(proof: Command): void {
  leaf(proof, {
    usage: 'challenge <file>',
    summary: 'begin a deep attestation: a nonce for the host, and a credential for the guest',
    description:
      'Verifies the proof, and makes a secret that only the vTPM which the proof names can recover, and only while the attestation key ' +
      'that the guest told is in it. NAME.credential goes into the guest, for tpm2_activatecredential; the nonce goes to host and ' +
      'guest; NAME.challenge is yours alone, to verify with. The guest quotes over SHA-256(nonce || secret). Nothing of what the guest ' +
      'told is believed but what fits the proof.',
    examples: [
      [
        'tvmmp proof challenge web.tvmmp-proof --authority root.pem --vtpm-ek ek.pub --vtpm-ak ak.pub -o web',
        'After tpm2_readpublic -c 0x81010001 -o ek.pub and tpm2_createak -C 0x81010001 -c ak.ctx -u ak.pub in the guest.',
      ],
    ],
  })
    .requiredOption(
      '--authority <file>',
      "the authority's root certificate (PEM); once for each domain",
      collect,
    )
    .requiredOption(
      '--vtpm-ek <file>',
      'endorsement key of the vTPM: its public area as the guest tells it, or its certificate (tvmmp vm certificate)',
    )
    .requiredOption(
      '--vtpm-ak <file>',
      'public area of an attestation key in the vTPM, as the guest tells it',
    )
    .requiredOption('-o, --output <name>', 'writes NAME.challenge and NAME.credential')
    .action(challenge);
}

async function challenge(file: string, options: ChallengeOptions): Promise<void> {
  const { encodeChallenge, makeChallenge } = await import('../proof/vtpm-challenge.ts');
  const bytes = readInput(file, limits.proofBytesMax);
  const judged = await verified(bytes, options.authority);
  if (judged.outcome === 'fault') return refuseFault(judged, bytes);
  const told = { ek: await endorsementKeyFrom(options.vtpmEk), ak: publicAreaFrom(options.vtpmAk) };
  const made = makeChallenge(judged.head, told);
  const kept = `${options.output}.challenge`;
  const sent = `${options.output}.credential`;
  writeOutput(kept, encodeChallenge(made.challenge), 0o600);
  writeOutput(sent, credentialFile(made.credential));
  const nonce = hex(made.challenge.nonce);
  if (options.json === true) printJson({ vm: made.challenge.vm, nonce, challenge: kept, credential: sent });
  else
    print(
      `nonce: ${nonce}`,
      `${sent}: for the guest (tpm2_activatecredential -i)`,
      `${kept}: yours alone; the guest quotes over SHA-256 of the nonce and what the credential holds`,
    );
}

/** From the certificate of the key (PEM), or from its public area. */
async function endorsementKeyFrom(file: string): Promise<Uint8Array> {
  const bytes = readInput(file, CERTIFICATE_FILE_BYTES_MAX);
  if (!bytes.includes('-----BEGIN CERTIFICATE-----')) return publicAreaFrom(file);
  const { X509Certificate } = await import('node:crypto');
  const { endorsementKeyOf } = await import('../tpm/templates.ts');
  try {
    const area = endorsementKeyOf(new X509Certificate(bytes).publicKey);
    if (area !== null) return area;
  } catch (cause) {
    throw usageError(`${file} is no certificate`, cause);
  }
  throw usageError(`${file} is no certificate of an RSA-2048 endorsement key; give its public area`);
}

/** TPMT_PUBLIC from a file that holds it, with or without its size before it, as tpm2-tools write both. */
function publicAreaFrom(file: string): Uint8Array {
  const bytes = Uint8Array.from(readInput(file, PUBLIC_FILE_BYTES_MAX));
  if (bytes.byteLength < 4) throw usageError(`${file} is no public area of a TPM key`);
  const sized = ((bytes[0] ?? 0) << 8) + (bytes[1] ?? 0) === bytes.byteLength - 2;
  return sized ? bytes.subarray(2) : bytes;
}

/** A credential as tpm2_makecredential writes it. */
function credentialFile({ credentialBlob, encryptedSecret }: Credential): Uint8Array {
  return new ByteWriter()
    .u32be(CREDENTIAL_MAGIC)
    .u32be(CREDENTIAL_VERSION)
    .bytes(credentialBlob)
    .bytes(encryptedSecret)
    .finish();
}
