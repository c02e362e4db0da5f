import { FfiHypervisor, type HypervisorOptions } from './ffi/hypervisor.ts';
import type { Hypervisor } from './port.ts';

/** The libvirt of this host when nothing else is configured. */
export const SYSTEM_URI = 'qemu:///system';

/**
 * Reaches the libvirt at a URI: what everyone who needs a `Hypervisor` calls. Rejects with `libvirt-connection-lost` when it does not answer;
 * once it has, later losses are repaired by the calls themselves.
 */
export async function connectHypervisor(
  uri: string = SYSTEM_URI,
  options: HypervisorOptions = {},
): Promise<Hypervisor> {
  const hypervisor = new FfiHypervisor(uri, options);
  try {
    await hypervisor.hostname();
    return hypervisor;
  } catch (error) {
    await hypervisor.close();
    throw error;
  }
}
