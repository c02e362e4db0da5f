import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { hex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import type { ProofFault } from '../proof/fault.ts';
import type { VerifiedProof } from '../proof/verify.ts';
import { askAgent } from './agent-client.ts';
import type { VmSummary } from './agent-client.ts';
import { collect, configOf, leaf, noun } from './command.ts';
import type { CommonOptions } from './command.ts';
import { refused } from './exit.ts';
import { readInput, readText, writeOutput } from './files.ts';
import { bytesText, paint, print, printJson } from './output.ts';
import { addChallenge } from './proof-challenge.ts';
import { judgement, refuseFault, verified, verifiedBy } from './proof-file.ts';
import { addJoin } from './proof-join.ts';
import { addVerify } from './proof-verify.ts';

/** `tvmmp proof`. `verify` and `compare` work anywhere, with the file and the authority's root certificate alone. */
export function addProof(program: Command): void {
  const proof = noun(
    program,
    'proof',
    'the trusted proof of a VM: show, export, verify, compare, join, challenge',
    'A proof is the chain of all that happened to a VM, each step signed by the TPM of the host where it happened.',
  );
  addShow(proof);
  addExport(proof);
  addVerify(proof);
  addCompare(proof);
  addJoin(proof);
  addChallenge(proof);
}

interface AuthorityOptions extends CommonOptions {
  readonly authority?: readonly string[];
}

function addShow(proof: Command): void {
  leaf(proof, {
    usage: 'show <vm>',
    summary: "the timeline of a VM's life",
    description:
      'Shows every entry: number, epoch, kind, host, time by the clock of that host, policy, platform state, the other ' +
      'host and the session of a migration. <vm> is a VM of this host or a proof file. The proof is verified with the ' +
      'authority of this host, or the one given; without either it is shown, and marked as not verified.',
    examples: [
      ['tvmmp proof show web', 'A VM of this host.'],
      ['tvmmp proof show web.tvmmp-proof --authority root.pem', 'A file.'],
    ],
    configured: true,
  })
    .option('--authority <file>', "the authority's root certificate (PEM); once for each domain", collect)
    .action(show);
}

async function show(vmOrFile: string, options: AuthorityOptions): Promise<void> {
  const { timelineOf, timelineText, untrustedTimeline } = await import('./proof-report.ts');
  const bytes = isFile(vmOrFile)
    ? readInput(vmOrFile, limits.proofBytesMax)
    : (await exported(options, vmOrFile)).bytes;
  const judged =
    options.authority === undefined
      ? await verifiedHere(bytes, options)
      : await verified(bytes, options.authority);
  const timeline = judged?.outcome === 'verified' ? timelineOf(judged) : untrustedTimeline(bytes);
  if (options.json === true) {
    printJson({ ...(await judgement(judged)), entries: timeline });
  } else {
    const { proofText } = await import('./proof-report.ts');
    const head =
      judged?.outcome === 'verified'
        ? proofText(judged)
        : [paint('yellow', 'NOT VERIFIED (say --authority ROOT.pem)')];
    print(...(judged?.outcome === 'fault' ? [] : [...head, '']), ...timelineText(timeline));
  }
  if (judged?.outcome === 'fault') await refuseFault(judged, bytes);
}

interface ExportOptions extends CommonOptions {
  readonly output?: string;
  readonly full?: boolean;
}

function addExport(proof: Command): void {
  leaf(proof, {
    usage: 'export <vm>',
    summary: 'write the proof of a VM of this host to a file',
    description:
      'The file holds all that is needed to verify it, but the root certificate of the authority: that has to come from ' +
      'somewhere else (root.pem of the authority). It reaches back as far as this host has the history: to the birth of the ' +
      'VM, or to the checkpoint that it came with. The hosts that held it before have the rest (tvmmp proof join).',
    examples: [
      ['tvmmp proof export web', 'To web.tvmmp-proof.'],
      ['tvmmp proof export web -o - | sha256sum', 'To standard output.'],
      ['tvmmp proof export web --full', 'From birth, or not at all.'],
    ],
    configured: true,
  })
    .option('-o, --output <file>', 'where to (default: <vm>.tvmmp-proof; - for standard output)')
    .option('--full', 'only from birth; exit code 1 where this host has not the whole history')
    .action(async (name: string, options: ExportOptions) => {
      const { vm, bytes } = await exported(options, name);
      const { decodeProof } = await import('../proof/proof.ts');
      const shown = decodeProof(bytes);
      if (options.full === true && shown.summary !== null)
        throw refused(
          `this host has ${shown.entries.length} of ${vm.entries} entries; export from the hosts that held ${vm.name} before, too, and join them (tvmmp proof join)`,
        );
      if (options.output === '-') {
        process.stdout.write(bytes);
        return;
      }
      const file = options.output ?? `${vm.name.replaceAll('/', '_')}.tvmmp-proof`;
      writeOutput(file, bytes);
      const from = shown.summary === null ? 'birth' : 'checkpoint';
      if (options.json === true)
        printJson({ file, vm, bytes: bytes.byteLength, entries: shown.entries.length, from });
      else print(`${file}: ${shown.entries.length} entries from ${from} on, ${bytesText(bytes.byteLength)}`);
    });
}

function addCompare(proof: Command): void {
  leaf(proof, {
    usage: 'compare <first> <second>',
    summary: 'compare two proofs of one VM',
    description:
      'Verifies both and says whether they are equal, one continues the other, or they fork. Where they fork, two ' +
      'entries of one number were signed: they convict the hosts that signed them. Exit code 1 where they fork, speak of ' +
      'different VMs or have no entry in common, or one does not verify.',
    examples: [
      ['tvmmp proof compare monday.tvmmp-proof friday.tvmmp-proof --authority root.pem', 'Two exports.'],
    ],
  })
    .requiredOption(
      '--authority <file>',
      "the authority's root certificate (PEM); once for each domain",
      collect,
    )
    .action(
      async (
        first: string,
        second: string,
        options: CommonOptions & { readonly authority: readonly string[] },
      ) => {
        const { compareProofs } = await import('../proof/compare.ts');
        const [a, b] = [
          await demandVerified(first, options.authority),
          await demandVerified(second, options.authority),
        ];
        const found = compareProofs(a, b);
        const signers =
          found.relation === 'forked'
            ? [found.first, found.second].map(({ entry, hash }) => ({
                host: entry.host.name,
                kind: entry.kind,
                hash: hex(hash),
              }))
            : [];
        const sequence = found.relation === 'forked' ? found.sequence : null;
        if (options.json === true) printJson({ relation: found.relation, sequence, signers });
        const texts: Readonly<Record<typeof found.relation, string>> = {
          equal: 'the proofs are equal',
          'first-is-longer': `${first} continues ${second}`,
          'second-is-longer': `${second} continues ${first}`,
          apart: `${first} and ${second} have no entry in common: neither shows whether the other was forked; join each with what lies between`,
          unrelated: 'the proofs are of different VMs, or of different births of one UUID',
          forked: `the proofs fork at entry ${sequence ?? 0}: ${signers.map(({ host, kind }) => `${host} signed ${kind}`).join(', ')}`,
        };
        const text = texts[found.relation];
        if (['forked', 'unrelated', 'apart'].includes(found.relation)) throw refused(text);
        if (options.json !== true) print(text);
      },
    );
}

/** A proof that the agent of this host exported. */
async function exported(options: CommonOptions, vm: string): Promise<{ vm: VmSummary; bytes: Buffer }> {
  const found = (await askAgent(options, 'proof.export', { vm })) as { vm: VmSummary; proof: string };
  return { vm: found.vm, bytes: Buffer.from(found.proof, 'base64') };
}

async function demandVerified(file: string, rootFiles: readonly string[]): Promise<VerifiedProof> {
  const bytes = readInput(file, limits.proofBytesMax);
  const judged = await verified(bytes, rootFiles);
  return judged.outcome === 'verified' ? judged : refuseFault(judged, bytes, file);
}

/** By the root of this host's authority and those of the domains that its policy names; null where this host has none. */
async function verifiedHere(
  bytes: Uint8Array,
  options: CommonOptions,
): Promise<VerifiedProof | ProofFault | null> {
  const { identity } = configOf(options).directories;
  const [file, policy] = [join(identity, 'authority.pem'), join(identity, 'policy.json')];
  if (!existsSync(file)) return null;
  const { decodePolicy } = await import('./policy-view.ts');
  const { rootFrom } = await import('./root-file.ts');
  const named = existsSync(policy)
    ? (decodePolicy(readText(policy, limits.policyEnvelopeBytesMax)).domains?.others ?? [])
    : [];
  return verifiedBy(bytes, [await rootFrom(file), ...named.map(({ root }) => root)]);
}

function isFile(name: string): boolean {
  return name === '-' || name.includes('/') || name.endsWith('.tvmmp-proof') || existsSync(name);
}
