/** `tvmmp vm rescue-request` and `tvmmp vm rescue`: at the host that takes up a VM whose host is lost. */
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { Journal } from '../ledger/journal.ts';
import { limits } from '../limits.ts';
import { acceptRisk } from './accept-risk.ts';
import { askAgent } from './agent-client.ts';
import type { VmSummary } from './agent-client.ts';
import { leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { refused, usageError } from './exit.ts';
import { readInput, reason, writeOutput } from './files.ts';
import { print, printJson } from './output.ts';

interface RescueOptions extends CommonOptions {
  readonly iAcceptTwoCopies?: boolean;
}

interface RequestOptions extends CommonOptions {
  readonly journal: string;
  readonly output: string;
}

/** Adds both. */
export function addRescue(vm: Command): void {
  leaf(vm, {
    usage: 'rescue-request <vm>',
    summary: 'ask the authority for a VM whose host is lost, from the disk of that host',
    description:
      "Reads the journal of the lost host (a copy of it: the disk is left as it is) and writes what the authority needs: the VM's proof, the copy of its key that " +
      "only the authority's escrow key opens, and this host's keys, for which that key shall be sealed. There is such a copy only where " +
      'the policy of the lost host had escrow and the tenant of the VM does not forbid it. Nothing in the file is secret.',
    examples: [
      [
        'tvmmp vm rescue-request web --journal /mnt/var/lib/tvmmp/journal.sqlite -o web.request',
        'On the host that takes it; then tvmmp authority escrow release.',
      ],
    ],
    configured: true,
  })
    .requiredOption('--journal <file>', 'journal.sqlite of the lost host')
    .requiredOption('-o, --output <file>', 'the request')
    .action(request);
  leaf(vm, {
    usage: 'rescue <file>',
    summary: 'take up a VM whose host is lost, by the statement of the authority',
    description:
      'Before: bring the disks of the VM, its vTPM state (/var/lib/libvirt/swtpm/UUID, with its owner) and its definition (virsh define) from the disk of the lost ' +
      'host, and install the revocation list that names that host (tvmmp revocation install). The proof goes on with recovered, which carries the statement of the ' +
      'authority; the VM is off then, and starts with virsh start. Refused where anything does not fit: the statement, the vTPM state, the tenant, the ledger.',
    examples: [
      ['tvmmp vm rescue web.rescue', 'What tvmmp authority escrow release has written; asks for the name.'],
      ['tvmmp vm rescue web.rescue --i-accept-two-copies', 'Asks nothing.'],
    ],
    configured: true,
  })
    .option(
      '--i-accept-two-copies',
      'do not ask: the lost host may not be lost, its disk not the last, and the vTPM may go back',
    )
    .action(rescue);
}

async function rescue(file: string, options: RescueOptions): Promise<void> {
  const { decodeRescue, decodeRescueRequest } = await import('../migration/rescue-file.ts');
  const bytes = readInput(file, limits.rescueBytesMax);
  const { name, state } = decodeRescueRequest(decodeRescue(Uint8Array.from(bytes)).request);
  const ran = ` The VM ran when its host was lost: its vTPM is as its disk has it, and may have gone back.`;
  await acceptRisk({
    risk: `Where the lost host is not lost, or ${name} had left it after that disk was copied, two hosts can run ${name}: disks may be destroyed.${state === null ? ran : ''}`,
    option: '--i-accept-two-copies',
    accepted: options.iAcceptTwoCopies === true,
    first:
      'Make sure that the lost host is off and stays off, that this is its last disk, and that no other host holds the VM.',
    name,
    json: options.json === true,
  });
  const asked = { rescue: bytes.toString('base64'), accepted: true };
  const summary = (await askAgent(options, 'vm.rescue', asked)) as VmSummary;
  if (options.json === true) printJson(summary);
  else
    print(
      `${summary.name} is held here now, in epoch ${summary.epoch}; start it with virsh start ${summary.name}`,
    );
}

async function request(vm: string, options: RequestOptions): Promise<void> {
  const { rescueRequest } = await import('../migration/rescue-request.ts');
  const { Refused } = await import('../migration/refused.ts');
  const told = (await askAgent(options, 'vm.rescuer')) as Readonly<
    Record<'akCertificate' | 'receivePublic', string>
  >;
  const rescuer = {
    akCertificate: Uint8Array.from(Buffer.from(told.akCertificate, 'base64')),
    receivePublic: Uint8Array.from(Buffer.from(told.receivePublic, 'base64')),
  };
  const bytes = await withCopy(options.journal, (journal) => {
    try {
      return rescueRequest(journal, vm, rescuer);
    } catch (error) {
      if (error instanceof Refused) throw refused(error.message);
      throw error;
    }
  });
  writeOutput(options.output, bytes, 0o600);
  if (options.json === true) printJson({ file: options.output, bytes: bytes.byteLength });
  else
    print(
      `${options.output}: what the authority needs to give ${vm} to this host`,
      `Next: tvmmp authority revoke, where that is not done; tvmmp authority escrow release /srv/authority ${options.output} -o ${vm}.rescue`,
    );
}

/** Works on a copy of a journal, with what was written last: opening one changes it. */
async function withCopy<T>(file: string, work: (journal: Journal) => T): Promise<T> {
  const { Journal: Opened } = await import('../ledger/journal.ts');
  const directory = mkdtempSync(join(tmpdir(), 'tvmmp-rescue-'));
  try {
    const copy = join(directory, 'journal.sqlite');
    try {
      copyFileSync(file, copy);
      if (existsSync(`${file}-wal`)) copyFileSync(`${file}-wal`, `${copy}-wal`);
    } catch (cause) {
      throw usageError(`cannot read ${file}: ${reason(cause)}`, cause);
    }
    const journal = new Opened(copy);
    try {
      return work(journal);
    } finally {
      journal.close();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
