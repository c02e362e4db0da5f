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
      return { name, pid, started, startedAt: bootTime() + (Number(started) * 1000) / TICKS_PER_SECOND };
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
  // The start is computed from a boot time in whole seconds, rounded down: what is in doubt is unknown.
  return statSync(entry).ctimeMs < daemon.startedAt ? 'yes' : 'unknown';
}

function bootTime(): number {
  const seconds = /^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1];
  if (seconds === undefined)
    throw new TvmmpError('internal', '/proc/stat does not say when the machine started');
  return Number(seconds) * 1000;
}
