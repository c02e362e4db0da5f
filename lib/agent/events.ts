import { METADATA_NAMESPACE, METADATA_PREFIX, metadataElement } from '../libvirt/metadata.ts';
import type { EventSubscription, HypervisorEvent } from '../libvirt/port.ts';
import type { LifeCycle } from '../migration/life-cycle.ts';
import type { Services } from '../migration/services.ts';
import type { Sessions } from '../migration/sessions.ts';

/** How often everything is compared even without an event. */
const reconcileMs = 10_000;

/** Turns what libvirt reports into looks at sessions and chains; events only say when to look, never what is true. */
export async function followEvents(
  services: Services,
  sessions: Sessions,
  lifeCycle: LifeCycle,
): Promise<{ close: () => Promise<void> }> {
  const { host } = services;
  const onEvent = async (event: HypervisorEvent): Promise<void> => {
    if (event.kind === 'disconnected') {
      host.log.warn({ reason: event.reason }, 'libvirt is away');
      return;
    }
    if (event.kind === 'job-completed') services.completedJobs.set(event.uuid, event.job);
    await sessions.look();
    if (event.kind === 'reconnected') await lifeCycle.reconcileAll();
    else if (host.journal.vm(event.uuid) !== null) {
      await lifeCycle.reconcile(event.uuid);
      await pointToUs(services, event.uuid);
    }
  };
  const guarded = (event: HypervisorEvent): void => {
    onEvent(event).catch((error: unknown) => {
      host.log.warn({ error: String(error) }, 'an event could not be followed up');
    });
  };
  const subscription: EventSubscription = await host.hypervisor.events(guarded);
  const timer = setInterval(() => void lifeCycle.reconcileAll(), reconcileMs);
  return {
    close: async () => {
      clearInterval(timer);
      await subscription.close();
    },
  };
}

/** A VM that is held here names this agent in its metadata, so that its next destination knows whom to ask (SPEC 7.2). */
async function pointToUs(services: Services, uuid: string): Promise<void> {
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
