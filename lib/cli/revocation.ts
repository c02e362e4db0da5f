import { join } from 'node:path';
import type { Command } from 'commander';
import type { RevocationList } from '../appraisal/revocation.ts';
import { limits } from '../limits.ts';
import { AgentDown, askAgent } from './agent-client.ts';
import { configOf, leaf, noun } from './command.ts';
import type { CommonOptions } from './command.ts';
import { readText } from './files.ts';
import { print, printJson, short, table, timeText } from './output.ts';

/** `tvmmp revocation`. */
export function addRevocation(program: Command): void {
  const revocation = noun(
    program,
    'revocation',
    'which hosts are trusted no more',
    'The authority signs a list of revoked attestation keys (tvmmp authority revoke). Every host keeps the newest list ' +
      'that it has met, and tells it to the hosts that it moves VMs with.',
  );
  addInstall(revocation);
  addShow(revocation);
}

interface InstallOptions extends CommonOptions {
  readonly domain?: string;
}

function addInstall(revocation: Command): void {
  leaf(revocation, {
    usage: 'install <file>',
    summary: 'put a revocation list in force on this host',
    description:
      "Verifies the list with this host's authority and puts it in force: at once through the agent where it runs,\n" +
      'otherwise on disk, for its next start. An older list than the one in force is refused.',
    examples: [
      [
        'tvmmp revocation install revocations.json',
        'Also: tvmmp authority revoke ... | tvmmp revocation install -',
      ],
      [
        'tvmmp revocation install --domain partner partner-revocations.json',
        'The list of another domain that the policy names; its agent has to run.',
      ],
    ],
    configured: true,
  })
    .option('--domain <name>', 'it is the list of this other domain (tvmmp policy domain)')
    .action(async (file: string, options: InstallOptions) => {
      const { decodeRevocations } = await import('../appraisal/revocation.ts');
      const envelope = readText(file, limits.policyEnvelopeBytesMax);
      const list = decodeRevocations(envelope);
      const { version, by } = await install(options, envelope);
      if (options.json === true) printJson({ version, keys: list.hosts.length, by });
      else
        print(
          `revocation list version ${version} is in force${by === 'agent' ? '' : ' from the next start of tvmmpd on'}`,
          ...listText(list),
        );
    });
}

async function install(
  options: InstallOptions,
  envelope: string,
): Promise<{ readonly version: number; readonly by: 'agent' | 'file' }> {
  try {
    const { domain } = options;
    const told = domain === undefined ? { envelope } : { envelope, domain };
    const { version } = (await askAgent(options, 'revocation.install', told)) as { version: number };
    return { version, by: 'agent' };
  } catch (error) {
    if (!(error instanceof AgentDown) || options.domain !== undefined) throw error;
    const { installRevocations } = await import('../authority/host-directory.ts');
    const list = installRevocations(configOf(options).directories.identity, envelope, new Date());
    return { version: list.version, by: 'file' };
  }
}

function addShow(revocation: Command): void {
  leaf(revocation, {
    usage: 'show [file]',
    summary: 'who is revoked',
    description:
      'Shows the list in force on this host, or a file. Whether it is signed by the authority of this host is said; one ' +
      'that is not is shown all the same.',
    examples: [
      ['tvmmp revocation show', 'The list in force.'],
      ['tvmmp revocation show revocations.json --json', 'A file.'],
    ],
    configured: true,
  }).action(async (file: string | undefined, options: CommonOptions) => {
    const { decodeRevocations } = await import('../appraisal/revocation.ts');
    const { AGENT_FILES, trustOf } = await import('../authority/host-directory.ts');
    const { existsSync } = await import('node:fs');
    const { identity } = configOf(options).directories;
    const path = file ?? join(identity, AGENT_FILES.revocations);
    if (file === undefined && !existsSync(path)) {
      if (options.json === true) printJson({ version: 0, hosts: [] });
      else print('this host has no revocation list: nobody is revoked, as far as it knows');
      return;
    }
    const envelope = readText(path, limits.policyEnvelopeBytesMax);
    const list = decodeRevocations(envelope);
    const { verifySignedRevocations } = await import('../appraisal/revocation.ts');
    const signature = !existsSync(join(identity, AGENT_FILES.root))
      ? 'not verified (this host is not enrolled)'
      : said(() => verifySignedRevocations(envelope, trustOf(identity, new Date())));
    const { version, issuedAt, digest, hosts } = list;
    if (options.json === true) printJson({ version, issuedAt, digest, signature, hosts });
    else
      print(
        `revocation list version ${version}, issued ${timeText(issuedAt)}`,
        `signature: ${signature}`,
        ...listText(list),
      );
  });
}

function said(verify: () => unknown): string {
  try {
    verify();
    return "good, of this host's authority";
  } catch (error) {
    return `NOT GOOD: ${(error as Error).message}`;
  }
}

function listText({ hosts }: RevocationList): readonly string[] {
  if (hosts.length === 0) return ['nobody is revoked'];
  return table(
    ['HOST', 'AK', 'SINCE (UTC)', 'REASON'],
    hosts.map(({ host, akName, since, reason }) => [
      host,
      short(akName.subarray(2)),
      timeText(since),
      reason,
    ]),
  );
}
