/** Opens the host's TPM by its TCTI, with the adapter that this release uses. */
import { FfiTpm } from './ffi/adapter.ts';
import type { Tpm } from './port.ts';

/**
 * Connects to a TPM and asks it for its properties, so that a missing TPM is known at once: `tpm-unreachable`, or
 * `tpm-call-failed` where it answers but was not started up. `tcti` as tctildr takes it, such as `device:/dev/tpmrm0`.
 */
export async function openTpm(tcti: string): Promise<Tpm> {
  const tpm = new FfiTpm({ tcti });
  try {
    await tpm.properties();
    return tpm;
  } catch (error) {
    await tpm.close();
    throw error;
  }
}
