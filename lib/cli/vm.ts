import type { Command } from 'commander';
import { hex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import { acceptRisk } from './accept-risk.ts';
import { askAgent } from './agent-client.ts';
import type { VmSummary } from './agent-client.ts';
import { leaf, noun } from './command.ts';
import type { CommonOptions } from './command.ts';
import { usageError } from './exit.ts';
import { readText } from './files.ts';
import { print, printJson } from './output.ts';
import { vmTable } from './status.ts';
import { addAttest } from './vm-attest.ts';
import { addCertificate } from './vm-certificate.ts';
import { addRescue } from './vm-rescue.ts';

/** `tvmmp vm`. */
export function addVm(program: Command): void {
  const vm = noun(
    program,
    'vm',
    'protect VMs, see which are, and attest them to their tenants',
    'A protected VM has a vTPM that only a host with its key can start, and a proof of its whole life.',
  );
  addList(vm);
  addProtect(vm);
  addUnprotect(vm);
  addAdopt(vm);
  addTenantPolicy(vm);
  addAttest(vm);
  addCertificate(vm);
  addRescue(vm);
}

function addList(vm: Command): void {
  leaf(vm, {
    usage: 'list',
    summary: 'the protected VMs that this host knows',
    description:
      'Lists the VMs that this host holds, or held once (state gone), with the number of entries in their proofs.',
    examples: [['tvmmp vm list', 'Name, state, holder, epoch, entries, UUID.']],
    configured: true,
  }).action(async (options: CommonOptions) => {
    const vms = (await askAgent(options, 'vm.list')) as readonly VmSummary[];
    if (options.json === true) printJson(vms);
    else print(...(vms.length === 0 ? ['no VM is protected on this host (tvmmp vm protect)'] : vmTable(vms)));
  });
}

interface ProtectOptions extends CommonOptions {
  readonly tenantPolicy?: string;
  readonly tenantCert?: string;
}

function addProtect(vm: Command): void {
  leaf(vm, {
    usage: 'protect <vm>',
    summary: 'begin to protect a VM that is defined on this host and shut off',
    description:
      'Gives the VM a random vTPM key, sealed to this host; encrypts the vTPM state with it; marks the definition; and ' +
      'signs the first entry of its proof. The definition needs an emulated TPM 2.0 and the VM must be shut off. Asking ' +
      'again after an interruption finishes the work. With --tenant-policy the VM is bound to a policy of its owner (tvmmp tenant ' +
      'sign): no host takes it that does not satisfy it.',
    examples: [
      ['tvmmp vm protect web', 'By the name that libvirt has.'],
      [
        'tvmmp vm protect web --tenant-policy web.tenant.json --tenant-cert tenant.pem',
        'Of a tenant, who has a say in where it runs.',
      ],
      ['tvmmp vm protect 6b1a6f4e-0f1d-4c64-9d0a-3f5b8c1e2a77', 'By UUID.'],
    ],
    configured: true,
  })
    .option('--tenant-policy <file>', "the tenant's signed policy about this VM")
    .option(
      '--tenant-cert <file>',
      "the tenant's certificate or public key (PEM), from a source that you trust",
    )
    .action(async (name: string, options: ProtectOptions) => {
      const summary = (await askAgent(options, 'vm.protect', {
        vm: name,
        ...(await tenantParams(options)),
      })) as VmSummary;
      if (options.json === true) printJson(summary);
      else print(`${summary.name} is protected; start it with virsh start ${summary.name}`);
    });
}

/** What the agent is told of the tenant. */
async function tenantParams({
  tenantPolicy,
  tenantCert,
}: ProtectOptions): Promise<Readonly<Record<string, string>>> {
  if (tenantPolicy === undefined && tenantCert === undefined) return {};
  if (tenantPolicy === undefined || tenantCert === undefined)
    throw usageError('--tenant-policy and --tenant-cert go together');
  const { tenantKeyOf } = await import('./tenant.ts');
  const { spkiDigest } = await import('../certificates/public-key.ts');
  const tenantKey = hex(spkiDigest(tenantKeyOf(tenantCert)));
  return { tenantPolicy: readText(tenantPolicy, limits.policyEnvelopeBytesMax), tenantKey };
}

function addTenantPolicy(vm: Command): void {
  leaf(vm, {
    usage: 'tenant-policy <vm> <file>',
    summary: 'put another policy of its tenant in force for a VM',
    description:
      'The VM has a tenant since it was protected (tvmmp vm protect --tenant-policy). The new policy has to be signed by the same ' +
      'key, with a higher version, and this host, which has to hold the VM, has to satisfy it. The proof gets an entry bound.',
    examples: [['tvmmp vm tenant-policy web web.tenant-2.json', 'What the tenant has signed.']],
    configured: true,
  }).action(async (name: string, file: string, options: CommonOptions) => {
    const envelope = readText(file, limits.policyEnvelopeBytesMax);
    const summary = (await askAgent(options, 'vm.tenant-policy', { vm: name, envelope })) as VmSummary;
    if (options.json === true) printJson(summary);
    else print(`${summary.name} is under the new policy of its tenant; its proof says so`);
  });
}

function addUnprotect(vm: Command): void {
  leaf(vm, {
    usage: 'unprotect <vm>',
    summary: 'end the protection of a VM that is shut off on this host',
    description:
      'Decrypts the vTPM state, takes our marks out of the definition, and signs the last entry of the proof. Nothing ' +
      'vouches for the VM afterwards. Only the host that holds the VM can do this.',
    examples: [['tvmmp vm unprotect web', 'The VM is an ordinary one again.']],
    configured: true,
  }).action(async (name: string, options: CommonOptions) => {
    const summary = (await askAgent(options, 'vm.unprotect', { vm: name })) as VmSummary;
    if (options.json === true) printJson(summary);
    else print(`${summary.name} is not protected any more`);
  });
}

interface AdoptOptions extends CommonOptions {
  readonly iAcceptRollback?: boolean;
  readonly run?: number;
}

function addAdopt(vm: Command): void {
  leaf(vm, {
    usage: 'adopt <vm>',
    summary: 'take up a vTPM state that is not the one that the VM stopped with',
    description:
      'A VM starts only with the vTPM state that it stopped with; an older or changed one is refused (vtpm-state-changed). Where ' +
      'the last one is lost and a backup was put in its place, this takes up what is there. Only on the host that holds the ' +
      'VM, while it is shut off or saved, and only a state of its own vTPM that its key opens. The proof gets an entry adopted: ' +
      'whoever reads it sees that the vTPM may have gone back. With --run: lets the memory of an earlier run come back once, from a ' +
      'saved state or a snapshot, with the vTPM that it had; the refusal names the run. Where the disk of the host was put back ' +
      '(journal-rolled-back), this takes up what lies there: only if no other host holds the VM. Asks for the name of the VM, or for the option that accepts the risk.',
    examples: [
      ['tvmmp vm adopt web', 'After a backup of its vTPM was put back; asks for the name.'],
      ['tvmmp vm adopt web --i-accept-rollback', 'Asks nothing.'],
      ['tvmmp vm adopt web --run 13', 'Before virsh snapshot-revert to a snapshot of that run.'],
    ],
    configured: true,
  })
    .option('--run <number>', 'memory of the run that this entry of the proof began', readEntryNumber)
    .option('--i-accept-rollback', 'do not ask: the vTPM may go back to an earlier state')
    .action(async (name: string, options: AdoptOptions) => {
      await acceptRisk({
        risk:
          `What the vTPM of ${name} holds may go back to an earlier time: secrets that were changed or destroyed since, ` +
          'counters, limits of failed attempts.',
        option: '--i-accept-rollback',
        accepted: options.iAcceptRollback === true,
        first: 'Put the last state back instead, if it is anywhere.',
        name,
        json: options.json === true,
      });
      const summary = (await askAgent(options, 'vm.adopt', {
        vm: name,
        accepted: true,
        ...(options.run === undefined ? {} : { run: options.run }),
      })) as VmSummary;
      if (options.json === true) printJson(summary);
      else if (options.run === undefined)
        print(`${summary.name} takes up the vTPM state that is there; its proof says so`);
      else print(`memory of run ${options.run} of ${summary.name} may come back once; its proof says so`);
    });
}

function readEntryNumber(text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw usageError(`not the number of an entry: ${text}`);
  return Number(text);
}
