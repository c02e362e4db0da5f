import type { EventSubscription, HypervisorEvent } from '../libvirt/port.ts';
import { pointAllToUs, pointToUs } from '../migration/agent-hint.ts';
import { takeBackKeys } from '../migration/left-keys.ts';
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
    if (event.kind === 'lifecycle' && event.event === 'defined' && event.detail === 'from-snapshot')
      await services.vtpmStates.reverted(event.uuid, { now: true });
    sessions.look();
    if (event.kind === 'reconnected') await reconcile(services, lifeCycle);
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
  sessions.onArrived = (uuid) => {
    pointToUs(services, uuid).catch((error: unknown) => {
      host.log.warn({ vm: uuid, error: String(error) }, 'the metadata could not be written yet');
    });
  };
  sessions.onEnded = (uuid) => void lifeCycle.reconcile(uuid);
  // What the agent before us, or libvirt, was not there for.
  await pointAllToUs(services);
  const timer = host.timers.every(reconcileMs, () => void reconcile(services, lifeCycle));
  return {
    close: async () => {
      timer.stop();
      await subscription.close();
    },
  };
}

/** What fails is met again at the next time. */
async function reconcile(services: Services, lifeCycle: LifeCycle): Promise<void> {
  try {
    await lifeCycle.reconcileAll();
    await pointAllToUs(services);
    await takeBackKeys(services);
  } catch (error) {
    services.host.log.warn({ error: String(error) }, 'the VMs could not be looked at');
  }
}
