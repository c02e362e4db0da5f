import { isHeldBy } from '../ledger/records.ts';
import { Refused } from './refused.ts';
import { requireNotRolledBack } from './anchor.ts';
import { describeDomain } from './domain.ts';
import { requireUnrevoked } from './revoked-host.ts';
import { isConflict } from './situation.ts';
import { giveKeyToLibvirt } from './incoming.ts';
import { adoptedRun, beginRun, requireLatestRun } from './runs.ts';
import type { Services } from './services.ts';
import { requireOwnVtpm } from './vtpm-identity.ts';

/**
 * The third lock at start (SPEC 8.2): a protected VM starts or is restored only where the journal says that this host is its one
 * holder. The vTPM key goes into libvirt for the moments that swtpm needs it.
 */
export async function admitStart(
  services: Services,
  operation: 'prepare' | 'restore',
  xml: string,
): Promise<void> {
  const { host } = services;
  const domain = describeDomain(xml, host.journal);
  if (domain === null) return;
  const record = host.journal.vm(domain.uuid);
  if (record === null) {
    throw new Refused(
      `${domain.name} is protected, and this host has never held it: a copy of another host's VM; start it where it is held`,
    );
  }
  if (record.state === 'staged') {
    if (
      operation === 'prepare' &&
      domain.agent !== null &&
      services.admitted.get(domain.uuid) === domain.agent
    ) {
      services.admitted.delete(domain.uuid);
      host.journal.removeVtpmState(domain.uuid);
      beginRun(host.journal, domain.uuid, domain.run);
      return;
    }
    throw new Refused(`${domain.name} is on its way from ${record.holder}; it starts when it arrives`);
  }
  if (!isHeldBy(record, host.identity.id.name)) {
    throw new Refused(
      `${domain.name} is held by ${record.holder} since epoch ${record.epoch}: what is left here is an old copy; start it there, ` +
        'or remove this one with virsh undefine',
    );
  }
  requireNotRolledBack(host.journal, record);
  if (record.state !== 'stopped' && record.state !== 'saved') {
    throw new Refused(
      `${domain.name} is ${record.state} according to its proof; see tvmmp migration list, and tvmmp migration show`,
    );
  }
  if (host.journal.sessions(domain.uuid).some(isConflict)) {
    throw new Refused(
      `hand-over-conflict: another host says that ${domain.name} arrived there: it would run twice; see tvmmp migration list, ` +
        'and state on one of the two hosts that it gives the VM up (tvmmp migration resolve)',
    );
  }
  requireOwnVtpm(host.journal, record);
  const adopted = domain.run !== null && adoptedRun(host.journal, domain.uuid) === domain.run;
  if (operation === 'restore' && record.state !== 'saved' && !adopted) {
    throw new Refused(
      `the last entry of ${domain.name} is not saved: this is an old saved state; start the VM instead`,
    );
  }
  if (domain.secret !== record.secret) {
    throw new Refused(
      `the definition of ${domain.name} names another encryption secret than it was protected with`,
    );
  }
  requireLatestRun(host.journal, record, domain, operation);
  requireUnrevoked(host);
  await services.custody.requireHolder(record);
  if (operation === 'restore') {
    await services.vtpmStates.require(record);
    return;
  }
  await services.vtpmStates.begin(record);
  beginRun(host.journal, domain.uuid, domain.run);
  await giveKeyToLibvirt(services, record);
}
