/** The libvirt daemon that runs QEMU here: to know whether it has seen our hook, and to have it look. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TvmmpError } from '../errors.ts';

/** A running daemon. */
export interface LibvirtDaemon {
  readonly name: string;
  readonly pid: number;
  /** Clock ticks since boot: with the process id, it names one process for good (proc(5), field 22). */
  readonly started: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
}

const DAEMONS = ['libvirtd', 'virtqemud'];
/** USER_HZ: the same on every architecture that Linux has. */
const TICKS_PER_SECOND = 100;
/** Both counts are cut to a hundredth of a second. */
const ROUNDING_MS = 20;

/** The daemon whose pid file is under `run`; null where none runs. */
export function findLibvirtDaemon(run = '/run'): LibvirtDaemon | null {
  for (const name of DAEMONS) {
    try {
      const pid = Number(readFileSync(join(run, `${name}.pid`), 'utf8').trim());
      if (!Number.isInteger(pid) || pid < 2) continue;
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const end = stat.lastIndexOf(')');
      if (stat.slice(stat.indexOf('(') + 1, end) !== name) continue;
      const started = stat.slice(end + 2).split(' ')[19] ?? '';
      return { name, pid, started, startedAt: timeOf(Number(started)) };
    } catch (error) {
      if (!['ENOENT', 'ESRCH', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
  return null;
}

/** Has it look for hooks again (SIGHUP, as systemctl reload does), and notes that in `mark`. */
export function reloadLibvirtDaemon(daemon: LibvirtDaemon, mark: string): void {
  try {
    process.kill(daemon.pid, 'SIGHUP');
    writeFileSync(mark, `${daemon.pid} ${daemon.started}\n`, { mode: 0o644 });
  } catch (cause) {
    throw new TvmmpError(
      'libvirt-call-failed',
      `${daemon.name} could not be told to look for hooks; run systemctl reload ${daemon.name}`,
      {
        cause,
      },
    );
  }
}

/**
 * Whether the daemon looked for hooks when `entry` was there. libvirt notes at its start and on SIGHUP whether there are hooks
 * of QEMU at all; from then on it runs what it finds at each call. A reload by others cannot be seen: `unknown`.
 */
export function hasSeen(daemon: LibvirtDaemon, entry: string, mark: string): 'yes' | 'unknown' {
  try {
    if (readFileSync(mark, 'utf8').trim() === `${daemon.pid} ${daemon.started}`) return 'yes';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return statSync(entry).ctimeMs < daemon.startedAt ? 'yes' : 'unknown';
}

/** When a number of ticks since boot was, by the clock of now; not later than it was. */
function timeOf(ticks: number): number {
  const now = Date.now();
  const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  if (!Number.isFinite(uptime)) throw new TvmmpError('internal', '/proc/uptime cannot be read');
  return now - (uptime - ticks / TICKS_PER_SECOND) * 1000 - ROUNDING_MS;
}
