import { admitStart } from '../migration/start-gate.ts';
import type { Admission } from '../migration/admission.ts';
import type { LifeCycle } from '../migration/life-cycle.ts';
import type { Services } from '../migration/services.ts';
import type { Sessions } from '../migration/sessions.ts';
import { forgetSecret as removeSecret } from '../migration/incoming.ts';
import { facts } from '../libvirt/facts.ts';
import type { HookCall, HookHandler } from './hook-server.ts';

/** What stands behind the hook. */
export interface HookParts {
  readonly services: Services;
  readonly sessions: Sessions;
  readonly admission: Admission;
  readonly lifeCycle: LifeCycle;
}

/**
 * Which hook operation means what (hooks/README.md has the table). Gates are awaited; what has happened already is noted and
 * never refused: libvirt ignores the answer, and must not wait for our TPM.
 */
export function hookHandler(parts: HookParts): HookHandler {
  const { services, admission } = parts;
  return async (call: HookCall) => {
    switch (`${call.operation} ${call.subOperation}`) {
      case 'migrate begin':
        await admission.admit(call.xml);
        return;
      case 'prepare begin':
        await catchUp(parts, call.xml, 'stopped');
        await admitStart(services, 'prepare', call.xml);
        return;
      case 'restore begin':
        await catchUp(parts, call.xml, 'saved');
        await admitStart(services, 'restore', call.xml);
        return;
      case 'started begin':
        later(services, () => forgetSecret(services, call.xml));
        return;
      case 'release end':
        // Before libvirt can start it again. A file's digest and a write to the journal: no TPM, no libvirt.
        cleanUp(parts, call.xml);
        await services.vtpmStates.ended(facts(call.xml).uuid);
        return;
      case 'stopped end':
        cleanUp(parts, call.xml);
        return;
      default:
        return;
    }
  };
}

/** QEMU is gone: takes the key away, and has sessions and the proof follow. */
function cleanUp({ services, sessions, lifeCycle }: HookParts, xml: string): void {
  later(services, async () => {
    const { uuid } = facts(xml);
    await forgetSecret(services, xml);
    await sessions.released(uuid);
    sessions.look();
    await lifeCycle.reconcile(uuid);
  });
}

/**
 * A VM that starts right after it stopped: its last run may still be on the way into the proof. libvirt is not asked: it holds the
 * domain's lock while this hook runs, and that it starts the VM says enough.
 */
async function catchUp({ lifeCycle }: HookParts, xml: string, ended: 'stopped' | 'saved'): Promise<void> {
  await lifeCycle.hasEnded(facts(xml).uuid, ended);
}

/** swtpm has started or is gone: the key in libvirt has served its purpose (SPEC 8.3). */
async function forgetSecret(services: Services, xml: string): Promise<void> {
  const record = services.host.journal.vm(facts(xml).uuid);
  if (record !== null) await removeSecret(services.host.hypervisor, record);
}

function later(services: Services, work: () => Promise<void>): void {
  services.host.timers.soon(() => {
    work().catch((error: unknown) => {
      services.host.log.warn({ error: String(error) }, 'work after a hook failed; it will be met again');
    });
  });
}
