import { TvmmpError } from '../errors.ts';

/**
 * The answer of one call to libvirt, or `libvirt-connection-lost` when there is none within `deadlineMs`: the daemon is hung then. The call may yet
 * take effect.
 */
export async function withinDeadline<T>(answer: Promise<T>, call: string, deadlineMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const message = `libvirt has not answered ${call} within ${deadlineMs} ms`;
      reject(new TvmmpError('libvirt-connection-lost', message, { details: { call } }));
    }, deadlineMs);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
