import { METADATA_NAMESPACE, METADATA_PREFIX, metadataElement } from '../libvirt/metadata.ts';
import { isActive, lookAt } from './domain-view.ts';
import type { Host } from './host.ts';

/**
 * Whether libvirt has brought an incoming VM here (SPEC 6.8). One that came and has stopped since, unseen, is known by the definition that
 * libvirt's last phase left: the agent hint in it is not ours, as in one that was here before (`claimDefinition`). `is-here`: a QEMU stands behind it.
 */
export async function cameHere(host: Host, uuid: string): Promise<'is-here' | 'and-stopped' | 'no'> {
  const domain = await lookAt(host.hypervisor, uuid);
  if (isActive(domain)) return 'is-here';
  if (domain === null || !domain.persistent) return 'no';
  return (await hintsAtUs(host, uuid)) ? 'no' : 'and-stopped';
}

/** Before a VM may come: a definition of it that is here already is told apart from the one that it brings. */
export async function claimDefinition(host: Host, uuid: string): Promise<void> {
  const domain = await lookAt(host.hypervisor, uuid);
  if (domain === null || !domain.persistent || (await hintsAtUs(host, uuid))) return;
  const element = metadataElement(host.settings.advertise);
  await host.hypervisor.setMetadata(uuid, element, METADATA_PREFIX, METADATA_NAMESPACE, { config: true });
}

async function hintsAtUs({ hypervisor, settings }: Host, uuid: string): Promise<boolean> {
  const metadata = await hypervisor.metadata(uuid, METADATA_NAMESPACE, { inactive: true });
  return /agent=["']([^"']*)["']/.exec(metadata ?? '')?.[1] === settings.advertise;
}
