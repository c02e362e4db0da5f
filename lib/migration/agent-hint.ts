import { METADATA_NAMESPACE, METADATA_PREFIX, metadataElement } from '../libvirt/metadata.ts';
import type { Services } from './services.ts';

/** A VM that is held here names this agent in its metadata, so that its next destination knows whom to ask (SPEC 7.2). */
export async function pointToUs(services: Services, uuid: string): Promise<void> {
  const { hypervisor, journal, identity, settings } = services.host;
  const record = journal.vm(uuid);
  if (record?.holder !== identity.id.name || (record.state !== 'running' && record.state !== 'paused'))
    return;
  const element = metadataElement(settings.advertise);
  const domain = await hypervisor.domain(uuid);
  for (const inactive of domain.persistent ? [false, true] : [false]) {
    const now = await hypervisor.metadata(uuid, METADATA_NAMESPACE, { inactive });
    if (
      now?.includes(`"${settings.advertise}"`) === true ||
      now?.includes(`'${settings.advertise}'`) === true
    )
      continue;
    await hypervisor.setMetadata(
      uuid,
      element,
      METADATA_PREFIX,
      METADATA_NAMESPACE,
      inactive ? { config: true } : { live: true },
    );
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
