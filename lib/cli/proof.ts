import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { hex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import type { ProofFault } from '../proof/fault.ts';
import type { VerifiedProof } from '../proof/verify.ts';
import { askAgent } from './agent-client.ts';
import type { VmSummary } from './agent-client.ts';
import { configOf, leaf, noun } from './command.ts';
import type { CommonOptions } from './command.ts';
import { refused } from './exit.ts';
import { readInput, readText, writeOutput } from './files.ts';
import { bytesText, paint, print, printJson } from './output.ts';
import { addJoin } from './proof-join.ts';

const ROOT_BYTES_MAX = 64 * 1024;

/** `tvmmp proof`. `verify` and `compare` work anywhere, with the file and the authority's root certificate alone. */
export function addProof(program: Command): void {
  const proof = noun(
    program,
    'proof',
    'the trusted proof of a VM: show, export, verify, compare, join',
    'A proof is the chain of all that happened to a VM, each step signed by the TPM of the host where it happened.',
  );
  addShow(proof);
  addExport(proof);
  addVerify(proof);
  addCompare(proof);
  addJoin(proof);
}

interface AuthorityOptions extends CommonOptions {
  readonly authority?: string;
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
    .option('--authority <file>', "the authority's root certificate (PEM)")
    .action(show);
}

async function show(vmOrFile: string, options: AuthorityOptions): Promise<void> {
  const { timelineOf, timelineText, untrustedTimeline } = await import('./proof-report.ts');
  const bytes = isFile(vmOrFile)
    ? readInput(vmOrFile, limits.proofBytesMax)
    : (await exported(options, vmOrFile)).bytes;
  const root = options.authority ?? ownRoot(options);
  const judged = root === null ? null : await verified(bytes, root);
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

async function judgement(
  judged: VerifiedProof | ProofFault | null,
): Promise<Readonly<Record<string, unknown>>> {
  const { proofJson } = await import('./proof-report.ts');
  if (judged === null) return { outcome: 'not-verified' };
  return judged.outcome === 'verified' ? proofJson(judged) : { ...judged };
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

interface VerifyOptions extends CommonOptions {
  readonly authority: string;
  readonly revocations?: string;
  readonly fromBirth?: boolean;
  readonly tenant?: string;
}

function addVerify(proof: Command): void {
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
      'With --tenant: the VM is bound to a policy of that tenant, and every host that took it satisfied the one in force.',
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
    ],
  })
    .requiredOption('--authority <file>', "the authority's root certificate (PEM)")
    .option('--from-birth', 'refuse a proof that begins with a checkpoint')
    .option('--revocations <file>', "the authority's current revocation list")
    .option('--tenant <file>', "the tenant's certificate or public key (PEM)")
    .action(async (file: string, options: VerifyOptions) => {
      const { proofText } = await import('./proof-report.ts');
      const { revocationJson, revocationText, revokedIn } = await import('./proof-revocation.ts');
      const { revocationFault } = await import('../proof/revocation.ts');
      const bytes = readInput(file, limits.proofBytesMax);
      const judged = await verified(bytes, options.authority, options.fromBirth !== true);
      const signers =
        judged.outcome === 'fault' || options.revocations === undefined
          ? null
          : revokedIn(judged, bytes, options.authority, options.revocations);
      const tenant = await tenantFaultOf(judged, options.tenant);
      const fault = tenant ?? (signers === null ? null : revocationFault(signers));
      if (options.json === true)
        printJson({
          ...(await judgement(judged)),
          ...(signers === null ? {} : { revoked: signers.map(revocationJson) }),
          ...(fault === null
            ? {}
            : { outcome: 'fault', check: tenant === null ? 'revocation' : 'tenant', message: fault }),
        });
      else if (judged.outcome === 'verified' && fault === null)
        print(...proofText(judged), ...(signers ?? []).flatMap(revocationText));
      if (judged.outcome === 'fault') await refuseFault(judged, bytes);
      if (fault !== null) throw refused(`the proof does not hold: ${fault}`);
    });
}

/** What the tenant has against a proof that holds. */
async function tenantFaultOf(
  judged: VerifiedProof | ProofFault,
  file: string | undefined,
): Promise<string | null> {
  if (file === undefined || judged.outcome === 'fault') return null;
  const { tenantKeyOf } = await import('./tenant.ts');
  const { tenantProofFault } = await import('./proof-tenant.ts');
  return tenantProofFault(judged, tenantKeyOf(file));
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
    .requiredOption('--authority <file>', "the authority's root certificate (PEM)")
    .action(
      async (first: string, second: string, options: CommonOptions & { readonly authority: string }) => {
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

async function verified(
  bytes: Uint8Array,
  rootFile: string,
  checkpoints = true,
): Promise<VerifiedProof | ProofFault> {
  const { parseRootCertificate } = await import('../certificates/root-certificate.ts');
  const { verifyProof } = await import('../proof/verify.ts');
  const root = parseRootCertificate(readText(rootFile, ROOT_BYTES_MAX));
  return verifyProof(bytes, { root, ...(checkpoints ? { checkpoints: 'any' as const } : {}) });
}

async function demandVerified(file: string, rootFile: string): Promise<VerifiedProof> {
  const bytes = readInput(file, limits.proofBytesMax);
  const judged = await verified(bytes, rootFile);
  return judged.outcome === 'verified' ? judged : refuseFault(judged, bytes, file);
}

async function refuseFault(fault: ProofFault, bytes: Uint8Array, file?: string): Promise<never> {
  const { faultPlace } = await import('./proof-report.ts');
  const what = file === undefined ? 'the proof' : file;
  throw refused(`${what} does not verify: ${faultPlace(fault, bytes)}: ${fault.check}: ${fault.message}`);
}

/** The root certificate of this host's authority, where there is one. */
function ownRoot(options: CommonOptions): string | null {
  const file = join(configOf(options).directories.identity, 'authority.pem');
  return existsSync(file) ? file : null;
}

function isFile(name: string): boolean {
  return name === '-' || name.includes('/') || name.endsWith('.tvmmp-proof') || existsSync(name);
}
