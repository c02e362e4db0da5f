import { hintsAtUs, writeHint } from './agent-hint.ts';
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
  return (await hintsAtUs(host, uuid, 'config')) ? 'no' : 'and-stopped';
}

/** Before a VM may come: a definition of it that is here already is told apart from the one that it brings. */
export async function claimDefinition(host: Host, uuid: string): Promise<void> {
  const domain = await lookAt(host.hypervisor, uuid);
  if (domain === null || !domain.persistent || (await hintsAtUs(host, uuid, 'config'))) return;
  await writeHint(host, uuid, 'config');
}
