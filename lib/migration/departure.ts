import { TvmmpError } from '../errors.ts';
import type { VmRecord } from '../ledger/records.ts';
import type { JobStatistics } from '../libvirt/job-statistics.ts';
import { isRunningHere, lookAt } from './domain-view.ts';
import { Refused } from './refused.ts';
import type { Services } from './services.ts';
import type { Sessions } from './sessions.ts';
import type { SourceSession } from './source-session.ts';

/** What the operator asked for with `tvmmp migrate VM DESTINATION`. */
export interface DepartureRequest {
  readonly vm: VmRecord;
  /** HOST:PORT of the destination's agent. */
  readonly agent: string;
  /** The destination's libvirt. */
  readonly destinationUri: string;
  /** Where the memory stream goes; libvirt asks the destination for its name when null. */
  readonly migrateUri: string | null;
  readonly bandwidthMiBs: number | null;
}

/** What came of it. Times are milliseconds, by libvirt's count. */
export interface DepartureSummary {
  readonly vm: string;
  readonly from: string;
  readonly to: string;
  readonly totalMs: number;
  readonly downtimeMs: number;
  readonly dataBytes: number;
  /** Whether the source's copy is destroyed and *departed* is signed. */
  readonly departed: boolean;
}

/** Tells the operator where it stands. */
export type Report = (
  step: 'preflight' | 'attest' | 'move' | 'confirm',
  message: string,
  fraction?: number,
) => void;

const progressPollMs = 250;
/** How long the summary waits for the destination's *arrived*; the hand-over itself goes on afterwards. */
const confirmDeadlineMs = 30_000;

/** Moves one VM as its operator asked: session first, then libvirt with the right flags, then the outcome. */
export async function depart(
  services: Services,
  sessions: Sessions,
  request: DepartureRequest,
  report: Report,
): Promise<DepartureSummary> {
  report('preflight', `checking ${request.vm.name} on this host`);
  await preflight(services, request);
  report('attest', `both hosts attest themselves (${request.agent})`);
  const session = await sessions.leave(request.vm, request.agent);
  await session.released;
  const to = session.target ?? '';
  report('move', `${to} is trusted and has the key; libvirt moves the VM`, 0);
  const job = await move(services, request, session, to, report);
  report('confirm', `waiting for ${to} to sign arrived`);
  const outcome = await Promise.race([session.finished, services.host.timers.sleep(confirmDeadlineMs)]);
  return {
    vm: request.vm.name,
    from: services.host.identity.id.name,
    to,
    totalMs: job?.timeElapsedMs ?? 0,
    downtimeMs: job?.downtimeMs ?? 0,
    dataBytes: job?.dataTotalBytes ?? 0,
    departed: outcome === 'departed',
  };
}

/** What can be known here before the peer is asked; the peer checks itself by attesting. */
async function preflight(services: Services, { vm }: DepartureRequest): Promise<void> {
  const { host } = services;
  if (!isRunningHere(await lookAt(host.hypervisor, vm.uuid))) {
    throw new Refused(
      `${vm.name} does not run on this host; start it, or migrate it from where it runs (${vm.holder})`,
    );
  }
  const missing = await host.files.missingMigrationTls();
  if (missing !== null)
    throw new TvmmpError('not-enrolled', `QEMU's migration TLS needs ${missing}; enrol this host again`);
  if ((await host.hypervisor.jobInfo(vm.uuid)) !== null)
    throw new Refused(`libvirt has a job on ${vm.name} under way already`);
  await services.custody.requireHolder(vm);
}

async function move(
  services: Services,
  request: DepartureRequest,
  session: SourceSession,
  target: string,
  report: Report,
): Promise<JobStatistics | null> {
  const { hypervisor } = services.host;
  const { uuid } = request.vm;
  // While a VM's memory is copied the target has other things to do; before that, each holds one of its hooks.
  const started = await services.starts.take();
  session.move = 'under-way';
  services.completedJobs.delete(uuid);
  const moving = hypervisor.migrate(uuid, {
    destinationUri: request.destinationUri,
    flags: ['live', 'peer2peer', 'persistDest', 'undefineSource', 'tls', 'abortOnError'],
    params: {
      tlsDestination: target,
      ...(request.migrateUri === null ? {} : { migrateUri: request.migrateUri }),
      ...(request.bandwidthMiBs === null ? {} : { bandwidthMiBs: request.bandwidthMiBs }),
    },
  });
  const statistics = watch(services, uuid, moving, report, started);
  try {
    await moving;
  } finally {
    started();
    session.move = 'over';
    session.onCheckOutcome();
  }
  return statistics;
}

/** Progress while libvirt works, and its last word on time and downtime. */
async function watch(
  services: Services,
  uuid: string,
  moving: Promise<void>,
  report: Report,
  started: () => void,
): Promise<JobStatistics | null> {
  const { hypervisor, timers } = services.host;
  const { over, ended } = endOf(moving);
  let last: JobStatistics | null = null;
  while (!over()) {
    const job = await hypervisor.jobInfo(uuid).catch(() => null);
    if (job !== null) {
      last = job;
      const total = job.memoryTotalBytes ?? 0;
      const left = job.memoryRemainingBytes ?? 0;
      if (total > 0) started();
      if (total > 0) report('move', 'memory', Math.min(1, 1 - left / total));
    }
    await Promise.race([ended, timers.sleep(progressPollMs)]);
  }
  return services.completedJobs.get(uuid) ?? last;
}

/** Whether a promise has settled, and when; never rejects. */
function endOf(work: Promise<void>): { over: () => boolean; ended: Promise<void> } {
  let settled = false;
  const settle = (): void => {
    settled = true;
  };
  return { over: () => settled, ended: work.then(settle, settle) };
}
