import { METADATA_NAMESPACE, METADATA_PREFIX, metadataElement } from '../libvirt/metadata.ts';
import type { Host } from './host.ts';
import type { Services } from './services.ts';

/** Which description of a VM an agent hint stands in: that of the running one, or that which stays. */
type Description = 'live' | 'config';

/** Whether the agent hint in a VM's metadata (SPEC 7.2) names this host's agent. */
export async function hintsAtUs(
  { hypervisor, settings }: Host,
  uuid: string,
  where: Description,
): Promise<boolean> {
  const metadata = await hypervisor.metadata(uuid, METADATA_NAMESPACE, { inactive: where === 'config' });
  return /agent=["']([^"']*)["']/.exec(metadata ?? '')?.[1] === settings.advertise;
}

/** Makes it name this host's agent. */
export async function writeHint(
  { hypervisor, settings }: Host,
  uuid: string,
  where: Description,
): Promise<void> {
  const element = metadataElement(settings.advertise);
  await hypervisor.setMetadata(uuid, element, METADATA_PREFIX, METADATA_NAMESPACE, { [where]: true });
}

/** A VM that is held here names this agent in its metadata, so that its next destination knows whom to ask (SPEC 7.2). */
export async function pointToUs(services: Services, uuid: string): Promise<void> {
  const { host } = services;
  const { hypervisor, journal, identity } = host;
  const record = journal.vm(uuid);
  if (record?.holder !== identity.id.name || (record.state !== 'running' && record.state !== 'paused'))
    return;
  const domain = await hypervisor.domain(uuid);
  for (const where of domain.persistent ? (['live', 'config'] as const) : (['live'] as const)) {
    if (!(await hintsAtUs(host, uuid, where))) await writeHint(host, uuid, where);
  }
}

/** All VMs that are held here; what cannot be written now is written at the next look. */
export async function pointAllToUs(services: Services): Promise<void> {
  for (const { uuid } of services.host.journal.vms()) {
    await pointToUs(services, uuid).catch((error: unknown) => {
      services.host.log.debug({ vm: uuid, error: String(error) }, 'the metadata could not be written yet');
    });
  }
}
