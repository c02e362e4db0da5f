import { Command } from 'commander';
import { version } from '../agent/version.ts';
import { addAuthority } from './authority.ts';
import { addCompletion } from './completion.ts';
import { addDoctor } from './doctor.ts';
import { addEventLog } from './event-log.ts';
import { addEvacuate } from './evacuate.ts';
import { addEvidence } from './evidence.ts';
import { addExplain } from './explain.ts';
import { addHooks } from './hooks.ts';
import { addHost } from './host.ts';
import { addIma } from './ima.ts';
import { addMigrate } from './migrate.ts';
import { addMigration } from './migration.ts';
import { addPolicy } from './policy.ts';
import { addProof } from './proof.ts';
import { addReference } from './reference.ts';
import { addResult } from './result.ts';
import { addRevocation } from './revocation.ts';
import { addStatus } from './status.ts';
import { addTenant } from './tenant.ts';
import { addVm } from './vm.ts';

const about = `Trusted migration of libvirt VMs: each host attests itself with its TPM before a VM, and the key of its vTPM, moves there, and a proof of the VM's whole life goes with it.

Commands that concern this host (status, vm, migrate, evacuate, migration, explain) ask its agent tvmmpd and need root.`;

const epilogue = `
A first time through:
  authority   tvmmp authority init DIR; tvmmp authority bundle DIR > bundle.json
  each host   tvmmp host init --bundle bundle.json; tvmmp host measure --json > HOST.json
  authority   tvmmp policy new --id ID --version 1 --state HOST.json... -o draft.json; tvmmp policy sign DIR draft.json
  each host   tvmmp host enroll --via "ssh AUTHORITY tvmmp authority enroll DIR --name HOST --ek-roots ROOTS"
  each host   tvmmp hooks install --reload; systemctl enable --now tvmmpd
  a host      tvmmp vm protect VM; virsh start VM; tvmmp migrate VM OTHER-HOST

Exit codes: 0 done, 1 refused, 2 unusable input or usage, 3 fault (TPM, libvirt, network, agent not reachable).
Colour is used on terminals only; NO_COLOR turns it off. Files: /etc/tvmmp, /var/lib/tvmmp, /run/tvmmp.`;

/** All commands of `tvmmp`. Parsing throws CommanderError instead of ending the process; nothing is loaded that a command does not need. */
export function makeProgram(): Command {
  const program = new Command('tvmmp');
  program
    .description(about)
    .version(version, '-V, --version', 'print the version')
    .usage('COMMAND [options]')
    .enablePositionalOptions()
    .addHelpText('after', epilogue)
    .exitOverride()
    .configureOutput({ outputError: () => undefined });
  addStatus(program);
  addVm(program);
  addMigrate(program);
  addEvacuate(program);
  addMigration(program);
  addExplain(program);
  addDoctor(program);
  addProof(program);
  addResult(program);
  addEvidence(program);
  addEventLog(program);
  addIma(program);
  addHooks(program);
  addHost(program);
  addPolicy(program);
  addReference(program);
  addRevocation(program);
  addTenant(program);
  addAuthority(program);
  addCompletion(program);
  return program;
}
