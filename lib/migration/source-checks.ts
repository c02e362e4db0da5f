import { isHeldBy } from '../ledger/records.ts';
import type { VmRecord } from '../ledger/records.ts';
import type { MigrationFlag } from '../libvirt/migration-flags.ts';
import { requireNotRolledBack } from './anchor.ts';
import { lookAt, isRunningHere } from './domain-view.ts';
import { requireMayLeave } from './quarantine.ts';
import { requireProofSays } from './quarantine-entries.ts';
import { hintTexts, Refused } from './refused.ts';
import type { Services } from './services.ts';
import { requireOwnVtpm } from './vtpm-identity.ts';

/** Ways to migrate that would leave memory unprotected or a state that cannot be undone (SPEC 6.6). */
const forbidden = ['postcopy', 'offline', 'unsafe'] as const satisfies readonly MigrationFlag[];

/**
 * What must hold at the source before it commits itself (SPEC 6.6); throws `Refused` with the first thing that does not. The
 * target-opened case believes libvirt's own record of the job, not the peer.
 */
export async function checkSourceMayLeave(
  services: Services,
  vm: VmRecord,
  session: Uint8Array,
  opening: 'hook' | 'cli',
): Promise<void> {
  const { host } = services;
  const record = host.journal.vm(vm.uuid);
  if (record === null || !isHeldBy(record, host.identity.id.name)) {
    throw new Refused(
      `this host is not the holder of ${vm.name}${record === null ? '' : `; ${record.holder} is`}`,
    );
  }
  requireNotRolledBack(host.journal, record);
  requireOwnVtpm(host.journal, record);
  requireMayLeave(host, record.name);
  requireProofSays(services, record);
  if (record.state !== 'running' && record.state !== 'paused') {
    throw new Refused(`VM ${vm.name} is ${record.state}, only a running or paused VM can leave`, {
      hint: 'not-running',
    });
  }
  const busy = host.journal
    .unfinishedSessions('source')
    .some(
      (other) => other.vm === vm.uuid && Buffer.compare(other.id, session) !== 0 && other.state !== 'open',
    );
  if (busy) throw new Refused(`another migration of ${vm.name} is under way`, { hint: 'busy' });
  if (!isRunningHere(await lookAt(host.hypervisor, vm.uuid))) {
    throw new Refused(`libvirt does not run VM ${vm.name} on this host`, { hint: 'not-running' });
  }
  if (opening === 'hook') await checkLibvirtJob(services, vm);
}

async function checkLibvirtJob(services: Services, vm: VmRecord): Promise<void> {
  const { hypervisor, files } = services.host;
  const { name } = await hypervisor.domain(vm.uuid);
  const job = await files.outgoingMigration(name);
  if (job?.uuid !== vm.uuid)
    throw new Refused(`libvirt has no outgoing migration of ${vm.name} under way`, { hint: 'no-job' });
  for (const hint of forbidden) if (job.flags.has(hint)) throw new Refused(hintTexts[hint], { hint });
  if (!job.flags.has('tls')) throw new Refused(hintTexts['no-tls'], { hint: 'no-tls' });
  if (job.unknownFlags !== 0)
    throw new Refused('libvirt was asked for a kind of migration that tvmmp does not know');
}
