/** Tells systemd, where it started the agent and waits for it (`Type=notify`, sd_notify(3)), that the agent answers now. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Logger } from 'pino';

/** Does nothing where nobody waits. A failure is logged: systemd then ends the agent when its patience does. */
export async function tellReady(log: Logger): Promise<void> {
  if (process.env['NOTIFY_SOCKET'] === undefined) return;
  try {
    await promisify(execFile)('systemd-notify', ['--ready']);
  } catch (error) {
    log.error({ error }, 'systemd does not hear that tvmmpd is ready');
  }
}
