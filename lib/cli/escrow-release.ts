/** `tvmmp authority escrow release`. */
import type { Command } from 'commander';
import { limits } from '../limits.ts';
import { withAuthority, withPassphrase } from './authority-directory.ts';
import type { PassphraseOptions } from './authority-directory.ts';
import { leaf } from './command.ts';
import { usageError } from './exit.ts';
import { readInput, writeOutput } from './files.ts';
import { print, printJson } from './output.ts';

interface ReleaseOptions extends PassphraseOptions {
  readonly escrowKey?: string;
  readonly escrowPassphraseFile?: string;
  readonly output: string;
}

/** Adds the command. */
export function addRelease(escrow: Command): void {
  withPassphrase(
    leaf(escrow, {
      usage: 'release <directory> <request>',
      summary: 'give a VM whose host is lost to another host',
      description:
        'Verifies what tvmmp vm rescue-request has written, states for the proof that the holder is lost and who takes the VM up, and seals the key of the VM, which the ' +
        'escrow key opens, for that host. The lost host has to be revoked first (tvmmp authority revoke), so that nobody takes its word any more; the policy ' +
        'signed last has to have escrow, and the tenant must not forbid it. For each epoch of a VM there is one such statement: no second host gets one.',
      examples: [
        [
          'tvmmp authority escrow release /srv/authority web.request --escrow-key /media/safe/escrow-key.pem --escrow-passphrase-file /media/safe/passphrase -o web.rescue',
          'Then tvmmp vm rescue web.rescue at the new host.',
        ],
      ],
    })
      .option(
        '--escrow-key <file>',
        "the escrow key, where it is not escrow-key.pem in the authority's directory",
      )
      .option(
        '--escrow-passphrase-file <file>',
        'first line: passphrase of the escrow key (- for standard input)',
      )
      .requiredOption('-o, --output <file>', 'for the new host'),
  ).action(release);
}

async function release(directory: string, file: string, options: ReleaseOptions): Promise<void> {
  if (options.passphraseFile === '-' && options.escrowPassphraseFile === '-')
    throw usageError('one passphrase alone can come from standard input');
  const { escrowKeyPath } = await import('../authority/escrow.ts');
  const { releaseEscrow } = await import('../authority/rescue.ts');
  const { loadBridge } = await import('../native/bridge.ts');
  const request = Uint8Array.from(readInput(file, limits.rescueBytesMax));
  const keyFile = options.escrowKey ?? escrowKeyPath(directory);
  const key = { keyFile, ...escrowPassphrase(options.escrowPassphraseFile) };
  const made = await withAuthority(directory, options, (opened) =>
    releaseEscrow(opened, request, { bridge: loadBridge(), key }, new Date()),
  );
  writeOutput(options.output, made.rescue, 0o600);
  const { vm, name, lost, to, again, stateKnown } = made;
  if (options.json === true) printJson({ file: options.output, vm, name, lost, to, again, stateKnown });
  else
    print(
      `${options.output}: ${to} may take up ${name}, which ${lost} held${again ? ' (as was stated before)' : ''}`,
      ...(stateKnown
        ? []
        : ['The VM ran when its host was lost: the proof will say that its vTPM may have gone back.']),
      `Next, on ${to}: tvmmp vm rescue ${options.output}`,
    );
}

/** The file that native code reads the passphrase from: it never enters JavaScript. */
export function escrowPassphrase(file: string | undefined): { readonly passphraseFile?: string } {
  if (file === undefined) return {};
  return { passphraseFile: file === '-' ? '/dev/stdin' : file };
}
