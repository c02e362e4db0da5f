import { join } from 'node:path';
import type { Command } from 'commander';
import type { Reference } from '../appraisal/reference.ts';
import { hex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import { AgentDown, askAgent } from './agent-client.ts';
import { withAuthority, withPassphrase } from './authority-directory.ts';
import { collect, configOf, leaf, noun } from './command.ts';
import type { CommonOptions } from './command.ts';
import { readText, writeOutput } from './files.ts';
import { print, printJson, timeText } from './output.ts';
import { addDomain } from './policy-domain.ts';
import { addDiff } from './policy-diff.ts';
import { addSchema } from './policy-schema.ts';
import { addTest } from './policy-test.ts';
import { addNew } from './policy-new.ts';
import { readReferences } from './reference.ts';

interface OutputOptions extends CommonOptions {
  readonly output?: string;
}

/** `tvmmp policy`. */
export function addPolicy(program: Command): void {
  const policy = noun(
    program,
    'policy',
    'which platform states hosts accept',
    'A policy names the approved states of PCRs. The operator writes a draft, the authority signs it, every host installs ' +
      'it. A policy of the same id is replaced by a higher version only.',
  );
  addNew(policy);
  addCheck(policy);
  addSchema(policy);
  addSign(policy);
  addInstall(policy);
  addShow(policy);
  addDomain(policy);
  addDiff(policy);
  addTest(policy);
}

function addCheck(policy: Command): void {
  leaf(policy, {
    usage: 'check <draft>',
    summary: 'check a draft before it is signed',
    description: 'Reads a draft as tvmmp policy sign would, and says what is in it.',
    examples: [['tvmmp policy check draft.json', 'Exit code 2 and the reason where it cannot be signed.']],
  }).action(async (file: string, options: CommonOptions) => {
    const { parsePolicyText } = await import('../appraisal/policy.ts');
    const { domainsJson, rulesText, statesText } = await import('./policy-view.ts');
    const draft = parsePolicyText(readText(file, limits.policyBytesMax));
    const { id, version, pcrs, states, rulesOfHosts = {}, quarantine, domains, escrow = null } = draft;
    const { forward = null, backward = null } = rulesOfHosts;
    if (options.json === true)
      printJson({
        ...{ id, version, pcrs, states: states.map(({ name }) => name), forward, backward },
        ...(quarantine === undefined ? {} : { quarantine }),
        ...(domains === undefined ? {} : { domains: domainsJson(domains) }),
        ...(escrow === null ? {} : { escrow }),
      });
    else
      print(
        `${id} version ${version}, PCRs ${pcrs.join(',')} of the SHA-256 bank`,
        ...rulesText(draft),
        ...statesText(draft),
      );
  });
}

interface SignOptions extends OutputOptions {
  readonly passphraseFile?: string;
  readonly reference?: readonly string[];
}

function addSign(policy: Command): void {
  withPassphrase(
    leaf(policy, {
      usage: 'sign <authority> <draft>',
      summary: 'approve and sign a draft with an authority',
      description:
        'Approves each state, so that TPMs accept it, signs the whole with the policy key, and records it in the register ' +
        'of the authority. The version has to be above all that were signed for this id. Hosts that enrol from now on get ' +
        'it; the others need tvmmp policy install.',
      examples: [
        ['tvmmp policy sign /srv/authority draft.json -o policy.json', 'Into a file, for the hosts.'],
        ['tvmmp policy sign /srv/authority draft.json --json', 'Id, version and digest.'],
        [
          'tvmmp policy sign /srv/authority draft.json --reference fleet.json -o policy.json',
          'With the states of the references, and with their values in the rules that the draft has.',
        ],
      ],
    })
      .option(
        '--reference <file>',
        "reference values that fill the draft in; signed ones have to be this authority's; may be given several times",
        collect,
      )
      .option('-o, --output <file>', 'write the signed policy there instead of to standard output'),
  ).action(async (directory: string, file: string, options: SignOptions) => {
    const { decodePolicy } = await import('./policy-view.ts');
    const draft = readText(file, limits.policyBytesMax);
    const envelope = await withAuthority(directory, options, async (authority) => {
      const { formatPolicyDraft, parsePolicyText } = await import('../appraisal/policy.ts');
      const { verifyReference } = await import('../appraisal/reference.ts');
      const { fillPolicy } = await import('../appraisal/reference-merge.ts');
      const { root, signerCertificate } = authority;
      const verify = (text: string): Reference =>
        verifyReference(text, { root, signers: [signerCertificate], at: new Date() });
      const { reference = [] } = options;
      if (reference.length === 0) return authority.signPolicyText(draft);
      return authority.signPolicyText(
        formatPolicyDraft(fillPolicy(parsePolicyText(draft), await readReferences(reference, verify))),
      );
    });
    if (options.output !== undefined) writeOutput(options.output, envelope);
    const { id, version, digest } = decodePolicy(envelope);
    const wrote = options.output === undefined ? { envelope } : { file: options.output };
    if (options.json === true) printJson({ id, version, digest, ...wrote });
    else if (options.output === undefined) print(envelope.trimEnd());
    else
      print(
        `${id} version ${version} is signed: ${options.output}`,
        `Next: tvmmp policy install ${options.output} on each host`,
      );
  });
}

function addInstall(policy: Command): void {
  leaf(policy, {
    usage: 'install <file>',
    summary: 'put a signed policy in force on this host',
    description:
      "Verifies the policy with this host's authority and puts it in force: at once through the agent where it runs,\n" +
      'otherwise on disk, for its next start. A lower version of the policy in force is refused.',
    examples: [['tvmmp policy install policy.json', 'Also: tvmmp policy sign ... | tvmmp policy install -']],
    configured: true,
  }).action(async (file: string, options: CommonOptions) => {
    const { decodePolicy } = await import('./policy-view.ts');
    const envelope = readText(file, limits.policyEnvelopeBytesMax);
    decodePolicy(envelope);
    const { id, version, by } = await install(options, envelope);
    if (options.json === true) printJson({ id, version, by });
    else
      print(
        `${id} version ${version} is in force${by === 'agent' ? '' : ' from the next start of tvmmpd on'}`,
      );
  });
}

async function install(
  options: CommonOptions,
  envelope: string,
): Promise<{ readonly id: string; readonly version: number; readonly by: 'agent' | 'file' }> {
  try {
    const result = (await askAgent(options, 'policy.install', { envelope })) as {
      id: string;
      version: number;
    };
    return { ...result, by: 'agent' };
  } catch (error) {
    if (!(error instanceof AgentDown)) throw error;
    const { installPolicy } = await import('../authority/host-directory.ts');
    const { id, version } = installPolicy(configOf(options).directories.identity, envelope, new Date());
    return { id, version, by: 'file' };
  }
}

function addShow(policy: Command): void {
  leaf(policy, {
    usage: 'show [file]',
    summary: 'what is in a signed policy',
    description:
      "Shows a signed policy: by default the one that is installed on this host. Whether it is signed by this host's\n" +
      'authority is said where the host is enrolled; a policy that is not is shown all the same.',
    examples: [
      ['tvmmp policy show', 'The installed one.'],
      ['tvmmp policy show policy.json --json', 'A file.'],
    ],
    configured: true,
  }).action(async (file: string | undefined, options: CommonOptions) => {
    const { decodePolicy, domainsJson, pcrObject, rulesText, statesText } = await import('./policy-view.ts');
    const { identity } = configOf(options).directories;
    const envelope = readText(file ?? join(identity, 'policy.json'), limits.policyEnvelopeBytesMax);
    const document = decodePolicy(envelope);
    const signature = await signatureOf(identity, envelope);
    const { id, version, issuedAt, pcrs, states, digest, quarantine, domains, escrow } = document;
    if (options.json === true) {
      const shown = states.map(({ name, pcrs: values }) => ({ name, pcrs: { sha256: pcrObject(values) } }));
      printJson({
        id,
        version,
        issuedAt,
        pcrs,
        digest,
        signature,
        states: shown,
        ...document.rulesOfHosts,
        ...(quarantine === undefined ? {} : { quarantine }),
        ...(domains === undefined ? {} : { domains: domainsJson(domains) }),
        escrow,
      });
    } else
      print(
        `${id} version ${version}, issued ${timeText(issuedAt)}, PCRs ${pcrs.join(',')} of the SHA-256 bank`,
        `digest ${hex(digest)}`,
        `signature: ${signature}`,
        ...rulesText(document),
        ...statesText(document),
      );
  });
}

/** What this host's authority says of it. */
async function signatureOf(identity: string, envelope: string): Promise<string> {
  const { readFileSync } = await import('node:fs');
  const { verifySignedPolicy } = await import('../appraisal/policy.ts');
  const { certificatesFromPem } = await import('../certificates/pem.ts');
  const { parseRootCertificate } = await import('../certificates/root-certificate.ts');
  const { AGENT_FILES } = await import('../authority/host-directory.ts');
  let pems: readonly string[];
  try {
    pems = [AGENT_FILES.root, AGENT_FILES.policySigner].map((name) =>
      readFileSync(join(identity, name), 'utf8'),
    );
  } catch {
    return 'not verified (this host is not enrolled)';
  }
  const [root = '', signers = ''] = pems;
  try {
    const trust = { root: parseRootCertificate(root), signers: certificatesFromPem(signers), at: new Date() };
    verifySignedPolicy(envelope, trust);
    return "good, of this host's authority";
  } catch (error) {
    return `NOT GOOD: ${(error as Error).message}`;
  }
}
