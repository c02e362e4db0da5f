import { METADATA_NAMESPACE, METADATA_PREFIX, metadataElement } from '../libvirt/metadata.ts';
import type { VmRecord, VmState } from '../ledger/records.ts';
import { jobOf, lookAt } from './domain-view.ts';
import type { Host } from './host.ts';
import { runIsWritten, runToWrite } from './runs.ts';
import type { Services } from './services.ts';

/** Which description of a VM an agent hint stands in: that of the running one, or that which stays. */
type Description = 'live' | 'config';

/** Whether the agent hint in a VM's metadata (SPEC 7.2) names this host's agent. */
export async function hintsAtUs(host: Host, uuid: string, where: Description): Promise<boolean> {
  return (await readHint(host, uuid, where)).agent === host.settings.advertise;
}

async function readHint(
  { hypervisor }: Host,
  uuid: string,
  where: Description,
): Promise<{ readonly agent: string | null; readonly run: string | null }> {
  const metadata = await hypervisor.metadata(uuid, METADATA_NAMESPACE, { inactive: where === 'config' });
  const attribute = (name: string): string | null =>
    new RegExp(`${name}=["']([^"']*)["']`).exec(metadata ?? '')?.[1] ?? null;
  return { agent: attribute('agent'), run: attribute('run') };
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

/**
 * A VM that is held here names this agent in its metadata, so that its next destination knows whom to ask (SPEC 7.2). Where it runs, its
 * live definition has the number of this run too; one that it boots with has none (SPEC 8.7).
 */
export async function pointToUs(services: Services, uuid: string): Promise<void> {
  const { host } = services;
  const { hypervisor, journal, identity, settings } = host;
  const record = journal.vm(uuid);
  if (record?.holder !== identity.id.name || !held.has(record.state)) return;
  const runs = record.state === 'running' || record.state === 'paused';
  const domain = await lookAt(hypervisor, uuid);
  if (domain === null) return;
  if (domain.persistent) {
    const config = await readHint(host, uuid, 'config');
    if ((runs && config.agent !== settings.advertise) || config.run !== null)
      await writeHint(host, uuid, 'config');
  }
  if (runs) await pointLive(services, record);
}

/** States in which nothing else is under way with the definition. */
const held: ReadonlySet<VmState> = new Set(['running', 'paused', 'stopped', 'saved']);

async function pointLive({ host }: Services, record: VmRecord): Promise<void> {
  const { hypervisor, journal, settings } = host;
  const { uuid } = record;
  const live = await readHint(host, uuid, 'live');
  const number = runToWrite(journal, record);
  if (live.agent === settings.advertise && number === null) return;
  // While libvirt works on a domain, a change to it would wait for the end of that.
  if ((await jobOf(hypervisor, uuid)) !== null) return;
  const run = number ?? (live.run === null ? null : Number(live.run));
  const element = metadataElement(settings.advertise, run);
  await hypervisor.setMetadata(uuid, element, METADATA_PREFIX, METADATA_NAMESPACE, { live: true });
  if (number !== null) runIsWritten(journal, uuid, number);
}

/** All VMs that are held here; what cannot be written now is written at the next look. */
export async function pointAllToUs(services: Services): Promise<void> {
  for (const { uuid } of services.host.journal.vms()) {
    await pointToUs(services, uuid).catch((error: unknown) => {
      services.host.log.debug({ vm: uuid, error: String(error) }, 'the metadata could not be written yet');
    });
  }
}
