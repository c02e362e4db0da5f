import type { Command } from 'commander';
import { hex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import type { OpenedStay } from '../proof/result-opening.ts';
import type { ResultDocument, Stay } from '../proof/result-text.ts';
import type { VerifiedResult } from '../proof/result.ts';
import { leaf, noun } from './command.ts';
import type { CommonOptions } from './command.ts';
import { refused } from './exit.ts';
import { readInput, readText } from './files.ts';
import { fields, print, printJson, table, timeText } from './output.ts';
import { rootFrom } from './root-file.ts';

/** Base64 twice over, and the certificate. */
const FILE_BYTES_MAX = 2 * limits.resultBytesMax;
/** A salt has 64 digits, quotes and a comma. */
const OPENING_BYTES_MAX = 68 * limits.proofEntriesMax;

/** `tvmmp result`: works anywhere, with the file and the authority's root certificate alone. */
export function addResult(program: Command): void {
  const result = noun(
    program,
    'result',
    'an attestation result: what the authority says of a proof, without naming hosts',
    'tvmmp authority result verifies a proof and makes one. It shows each stay of the VM with the attributes of its host, under a ' +
      'pseudonym that means nothing outside this result. Who reads it believes the authority; a proof needs to be believed by nobody.',
  );
  addVerify(result);
  addOpen(result);
}

interface VerifyOptions extends CommonOptions {
  readonly authority: string;
  readonly vm?: string;
  readonly tenant?: string;
  readonly condition?: string;
  readonly fromBirth?: boolean;
}

function addVerify(result: Command): void {
  leaf(result, {
    usage: 'verify <file>',
    summary: 'verify an attestation result offline, and show it',
    description:
      "Verifies the signature of the authority's policy key. Exit code 1 where it is not good, or the result is not what the " +
      'options ask for.',
    examples: [
      [
        'tvmmp result verify web.result.json --authority root.pem',
        'Each stay: since when, on what kind of host.',
      ],
      [
        `tvmmp result verify web.result.json --authority root.pem --from-birth --condition 'region == "eu"'`,
        'And that the VM has never been on another kind of host.',
      ],
    ],
  })
    .requiredOption('--authority <file>', "the authority's root certificate (PEM)")
    .option('--vm <uuid>', 'refuse the result of another VM')
    .option(
      '--tenant <file>',
      'refuse a VM that is not bound to this tenant (certificate or public key, PEM)',
    )
    .option('--condition <text>', 'a condition over attributes that every host has to satisfy')
    .option('--from-birth', 'refuse a result that begins with a checkpoint')
    .action(async (file: string, options: VerifyOptions) => {
      const found = await verified(file, options.authority);
      const fault = await faultOf(found, options);
      if (options.json === true)
        printJson({
          outcome: fault === null ? 'verified' : 'fault',
          ...(fault === null ? {} : { message: fault }),
          ...resultJson(found),
        });
      else if (fault === null) print(...(await resultText(found)));
      if (fault !== null) throw refused(`the attestation result does not hold: ${fault}`);
    });
}

interface OpenOptions extends CommonOptions {
  readonly authority: string;
  readonly opening: string;
  readonly proof: string;
}

function addOpen(result: Command): void {
  leaf(result, {
    usage: 'open <file>',
    summary: 'tell which pseudonym is which host',
    description:
      'Needs the opening that tvmmp authority result kept, and the proof. Verifies both, and that the result is about this proof.',
    examples: [
      [
        'tvmmp result open web.result.json --opening web.opening.json --proof web.tvmmp-proof --authority root.pem',
        'A table of pseudonyms and hosts.',
      ],
    ],
  })
    .requiredOption('--authority <file>', "the authority's root certificate (PEM)")
    .requiredOption('--opening <file>', 'what tvmmp authority result --opening wrote')
    .requiredOption('--proof <file>', 'the proof that the result is about')
    .action(async (file: string, options: OpenOptions) => {
      const { openResult, parseOpening } = await import('../proof/result-opening.ts');
      const { verifyProof } = await import('../proof/verify.ts');
      const found = await verified(file, options.authority);
      const opening = parseOpening(readText(options.opening, OPENING_BYTES_MAX));
      const bytes = readInput(options.proof, limits.proofBytesMax);
      const proof = verifyProof(bytes, { root: await rootFrom(options.authority), checkpoints: 'any' });
      if (proof.outcome === 'fault')
        throw refused(`${options.proof} does not verify: ${proof.check}: ${proof.message}`);
      const stays = openResult(found, opening, proof);
      if (options.json === true) printJson({ outcome: 'opened', vm: found.vm, stays: stays.map(openedJson) });
      else
        print(
          ...table(
            ['EPOCH', 'HOLDER', 'HOST', 'LAST ENTRY'],
            stays.map(({ stay, host, lastEntry }) => [
              String(stay.epoch),
              stay.holder.slice(0, 8),
              host,
              String(lastEntry),
            ]),
          ),
        );
    });
}

/** Why the result is not what was asked for; null where it is. */
async function faultOf(found: VerifiedResult, options: VerifyOptions): Promise<string | null> {
  const { vm, tenant, condition, fromBirth } = options;
  if (vm !== undefined && found.vm !== vm) return `it is about VM ${found.vm}`;
  if (fromBirth === true && found.from !== 'birth')
    return 'it begins with a checkpoint, and not with the birth of the VM';
  if (tenant !== undefined) {
    const { tenantKeyOf } = await import('./tenant.ts');
    const { spkiDigest } = await import('../certificates/public-key.ts');
    if (found.tenant === null) return 'the VM has no tenant policy';
    if (found.tenant.key !== hex(spkiDigest(tenantKeyOf(tenant))))
      return `its tenant policy is signed by another key, ${found.tenant.key}`;
  }
  const { attributesFault } = await import('../appraisal/host-rules.ts');
  for (const { epoch, attributes } of found.stays) {
    const fault = attributesFault(condition, attributes);
    if (fault !== null)
      return `the condition is ${condition ?? ''}, and the host of epoch ${epoch} has ${fault}`;
  }
  return null;
}

async function verified(file: string, rootFile: string): Promise<VerifiedResult> {
  const { verifyResult } = await import('../proof/result.ts');
  return verifyResult(readText(file, FILE_BYTES_MAX), await rootFrom(rootFile), new Date());
}

/** A result as people read it. */
async function resultText(found: ResultDocument): Promise<readonly string[]> {
  const { attributesText } = await import('../certificates/attributes.ts');
  const { vm, vtpm, issuedAt, from, state, policy, revocations, tenant, stays } = found;
  const hosts = new Set(stays.map(({ holder }) => holder)).size;
  const lists = revocations === 0 ? 'no revocation list' : `revocation list ${revocations}`;
  const destroyed = ({ departed, epoch }: Stay): string => {
    if (epoch === stays.at(-1)?.epoch) return 'holds it';
    return departed ? 'signed' : 'NOT SIGNED';
  };
  return [
    `verified by the authority on ${timeText(issuedAt)}, with ${lists}`,
    ...fields([
      ['VM', `${vm}, ${state}`],
      ['vTPM', vtpm ?? 'not manufactured yet'],
      ['from', from],
      ['tenant', tenant === null ? 'none' : `${tenant.key}, policy version ${tenant.version}`],
      ['hosts', `${hosts}, known here by pseudonyms`],
    ]),
    '',
    ...table(
      ['EPOCH', 'HOLDER', 'SINCE (UTC)', 'POLICY', 'ATTRIBUTES', 'DESTRUCTION'],
      stays.map((stay) => [
        String(stay.epoch),
        stay.holder.slice(0, 8),
        timeText(stay.since),
        `${policy} v${stay.policy}`,
        attributesText(stay.attributes),
        destroyed(stay),
      ]),
    ),
  ];
}

function resultJson(found: VerifiedResult): Readonly<Record<string, unknown>> {
  const { stays, ...rest } = found;
  return { ...rest, stays: stays.map(stayJson) };
}

function stayJson({ attributes, ...stay }: Stay): Readonly<Record<string, unknown>> {
  return { ...stay, attributes: Object.fromEntries(attributes) };
}

function openedJson({ stay, host, lastEntry }: OpenedStay): Readonly<Record<string, unknown>> {
  return { epoch: stay.epoch, holder: stay.holder, host, lastEntry };
}
