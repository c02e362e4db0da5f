/** `tvmmp authority escrow`. */
import type { Command } from 'commander';
import { base64 } from '../encoding/base64.ts';
import { leaf, noun } from './command.ts';
import type { CommonOptions } from './command.ts';
import { addRelease, escrowPassphrase } from './escrow-release.ts';
import { print, printJson } from './output.ts';

interface EscrowOptions extends CommonOptions {
  readonly passphraseFile?: string;
}

/** Adds the commands about the authority's escrow key. */
export function addEscrow(authority: Command): void {
  const escrow = noun(
    authority,
    'escrow',
    'a key that opens the vTPMs of all hosts, for hosts that lose their TPM',
    'Off unless the policy names the key. Whoever has the private key, and can read the disk of a host, can open every vTPM there that ' +
      'its tenant has not kept out of escrow.',
  );
  leaf(escrow, {
    usage: 'init <directory>',
    summary: 'make the escrow key of an authority',
    description:
      "Makes a key of its own beside the authority's other keys, and prints the member that switches escrow on in a policy. Hosts whose " +
      'policy has it keep a copy of each vTPM key that this key opens. Keep escrow-key.pem apart from everything else, and from the ' +
      'disks of hosts: it opens every vTPM of the domain. Nothing changes before a policy with the member is signed and installed.',
    examples: [
      [
        'tvmmp authority escrow init /srv/authority --passphrase-file /media/safe/passphrase',
        'Encrypted with a passphrase of its own; then move escrow-key.pem to where it is safe.',
      ],
    ],
  })
    .option('--passphrase-file <file>', 'first line: passphrase of the escrow key (- for standard input)')
    .action(async (directory: string, options: EscrowOptions) => {
      const { initEscrow } = await import('../authority/escrow.ts');
      const { loadBridge } = await import('../native/bridge.ts');
      const spki = await initEscrow(loadBridge(), directory, escrowPassphrase(options.passphraseFile));
      const member = { escrow: { key: base64(spki) } };
      if (options.json === true) printJson(member);
      else
        print(
          `the escrow key of ${directory} is in escrow-key.pem: keep it where no host and no thief of a host's disk can come`,
          'To switch escrow on, add this member to the policy, as its last one, and sign it:',
          `  "escrow": ${JSON.stringify(member.escrow)}`,
        );
    });
  addRelease(escrow);
}
