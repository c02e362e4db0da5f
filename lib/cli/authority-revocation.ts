/** `tvmmp authority revoke` and `reinstate`. */
import type { Command } from 'commander';
import { withAuthority, withPassphrase } from './authority-directory.ts';
import type { PassphraseOptions } from './authority-directory.ts';
import { leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { usageError } from './exit.ts';
import { writeOutput } from './files.ts';
import { print, printJson } from './output.ts';

interface RevokeOptions extends PassphraseOptions {
  readonly reason: string;
  readonly since?: string;
  readonly output?: string;
}

/** `tvmmp authority revoke`. */
export function addRevoke(authority: Command): void {
  withPassphrase(
    leaf(authority, {
      usage: 'revoke <directory> <host>',
      summary: 'trust a host no more: sign a revocation list that names its keys',
      description:
        'Revokes every attestation key that was enrolled under this name, and signs the next version of the revocation list. ' +
        'Other hosts then let no VM go there, and none come from there. What the host signed earlier stays good.\n' +
        'The list works on a host as soon as it has it: install it on some (tvmmp revocation install), the others get it ' +
        'from these when they next move a VM between them. VMs that are on the host stay there.',
      examples: [
        [
          'tvmmp authority revoke /srv/authority beta --reason "stolen" -o revocations.json',
          'From now on; then tvmmp revocation install revocations.json on each host.',
        ],
        [
          'tvmmp authority revoke /srv/authority beta --since 2026-06-01T12:00:00Z -o revocations.json',
          'From when it was last known to be good: later entries of proofs are not believed.',
        ],
      ],
    })
      .option('--reason <text>', 'one line for operators and auditors', 'revoked by the authority')
      .option('--since <time>', 'from when on (ISO 8601 with its zone; default: now)')
      .option('-o, --output <file>', 'write the signed list there instead of to standard output'),
  ).action(async (directory: string, host: string, options: RevokeOptions) => {
    const { revokeHost } = await import('../authority/revocations.ts');
    const now = new Date();
    const terms = {
      since: options.since === undefined ? now : timeOf(options.since),
      reason: options.reason,
    };
    const envelope = await withAuthority(directory, options, (opened) =>
      Promise.resolve(revokeHost(opened, host, terms, now)),
    );
    await tellList(envelope, options, `${host} is revoked`);
  });
}

/** `tvmmp authority reinstate`. */
export function addReinstate(authority: Command): void {
  withPassphrase(
    leaf(authority, {
      usage: 'reinstate <directory> <host>',
      summary: 'take the revocation of a host back',
      description:
        'Signs the next version of the revocation list without this host. Its certificates are good again, and so is ' +
        'everything that its keys signed, also meanwhile: be sure.',
      examples: [
        [
          'tvmmp authority reinstate /srv/authority beta -o revocations.json',
          'Then tvmmp revocation install revocations.json on each host.',
        ],
      ],
    }).option('-o, --output <file>', 'write the signed list there instead of to standard output'),
  ).action(
    async (directory: string, host: string, options: PassphraseOptions & { readonly output?: string }) => {
      const { reinstateHost } = await import('../authority/revocations.ts');
      const envelope = await withAuthority(directory, options, (opened) =>
        Promise.resolve(reinstateHost(opened, host, new Date())),
      );
      await tellList(envelope, options, `${host} is trusted again`);
    },
  );
}

/** A list that was just signed: into a file or to standard output. */
async function tellList(
  envelope: string,
  options: CommonOptions & { readonly output?: string },
  done: string,
): Promise<void> {
  const { decodeRevocations } = await import('../appraisal/revocation.ts');
  const { version, hosts } = decodeRevocations(envelope);
  if (options.output !== undefined) writeOutput(options.output, envelope);
  const wrote = options.output === undefined ? { envelope } : { file: options.output };
  if (options.json === true) printJson({ version, keys: hosts.length, ...wrote });
  else if (options.output === undefined) print(envelope.trimEnd());
  else
    print(
      `${done}: revocation list version ${version}, in ${options.output}`,
      `Next: tvmmp revocation install ${options.output} on each host`,
    );
}

/** A time that says its zone. */
function timeOf(text: string): Date {
  const time = new Date(text);
  if (!/(?:Z|[+-]\d\d:\d\d)$/.test(text) || Number.isNaN(time.getTime()))
    throw usageError(`${text} is no time such as 2026-06-01T12:00:00Z`);
  return time;
}
