import type { DomainSummary } from '../libvirt/port.ts';
import { isActive, lookAt } from './domain-view.ts';
import { forgetSecret, secretUsage } from './incoming.ts';
import type { Services } from './services.ts';

/**
 * Takes out of libvirt what an agent that was killed left there: keys of VMs that do not start at this moment (SPEC 8.3). Of one that
 * does, libvirt's hook says when swtpm has its key. To be called before hooks are answered: none of them has been given a key by
 * then. A fault is logged; the next start or end of the VM removes its key too.
 */
export async function forgetLeftKeys({ host }: Services): Promise<void> {
  const { hypervisor, journal, log } = host;
  try {
    const left = new Set((await hypervisor.secrets()).map(({ usageName }) => usageName));
    for (const record of journal.vms().filter(({ uuid }) => left.has(secretUsage(uuid)))) {
      const domain = await lookAt(hypervisor, record.uuid);
      if (!isStarting(domain)) await forgetSecret(hypervisor, record);
    }
  } catch (error) {
    log.warn({ error: String(error) }, 'keys that may be left in libvirt could not be removed');
  }
}

/**
 * Takes back what libvirt was given for a start or an arrival of which nothing came, and what could not be taken out when it had come: libvirt may have
 * ended while its hook waited for the TPM, and the key is then that of a libvirt which knows nothing of the start. A VM that is staged is still to come.
 */
export async function takeBackKeys({ host, givenKeys }: Services): Promise<void> {
  const { hypervisor, journal } = host;
  for (const key of givenKeys.all.filter(({ uuid }) => journal.vm(uuid)?.state !== 'staged')) {
    const domain = await lookAt(hypervisor, key.uuid);
    if (!isStarting(domain)) await givenKeys.takeBack(key, () => forgetSecret(hypervisor, key));
  }
}

/** Whether libvirt is about to run QEMU and swtpm for it. */
function isStarting(domain: DomainSummary | null): boolean {
  if (domain === null || !isActive(domain)) return false;
  return domain.state === 'paused' && (domain.reason === 'starting-up' || domain.reason === 'unknown');
}
