/**
 * Statistics of a domain's job (`virDomainGetJobStats`): how far a migration is, and afterwards how long it took. libvirt's own
 * outcome is the truth about a migration; these numbers are what `tvmmp migrate` shows and the metrics count.
 */

const JOB_TYPES = ['none', 'bounded', 'unbounded', 'completed', 'failed', 'cancelled'] as const;

const JOB_OPERATIONS = [
  'unknown',
  'start',
  'save',
  'restore',
  'migration-in',
  'migration-out',
  'snapshot',
  'snapshot-revert',
  'dump',
  'backup',
  'snapshot-delete',
] as const;

/** `virDomainJobType`: whether the job runs (bounded: its end can be told) or how it ended. */
export type JobType = (typeof JOB_TYPES)[number] | 'unknown';
/** `virDomainJobOperation`: what the job is for. */
export type JobOperation = (typeof JOB_OPERATIONS)[number];

/** A job's statistics; a field that libvirt did not give is null. Times in milliseconds, sizes in bytes. */
export interface JobStatistics {
  readonly type: JobType;
  readonly operation: JobOperation;
  readonly timeElapsedMs: number | null;
  readonly timeRemainingMs: number | null;
  readonly downtimeMs: number | null;
  readonly setupTimeMs: number | null;
  readonly dataTotalBytes: number | null;
  readonly dataProcessedBytes: number | null;
  readonly dataRemainingBytes: number | null;
  readonly memoryTotalBytes: number | null;
  readonly memoryProcessedBytes: number | null;
  readonly memoryRemainingBytes: number | null;
  readonly memoryBytesPerSecond: number | null;
  readonly memoryDirtyRatePages: number | null;
  readonly memoryPageSizeBytes: number | null;
  readonly memoryIteration: number | null;
  readonly diskTotalBytes: number | null;
  readonly diskProcessedBytes: number | null;
  readonly diskRemainingBytes: number | null;
  readonly autoConvergeThrottlePercent: number | null;
  readonly success: boolean | null;
  readonly errorMessage: string | null;
}

/** The value of one of libvirt's typed parameters, by name. */
export type TypedParameterValues = ReadonlyMap<string, number | bigint | string | boolean>;

/** Reads libvirt's typed parameters; names that we do not know are left out. */
export function jobStatisticsOf(jobType: number, values: TypedParameterValues): JobStatistics {
  const count = (name: string): number | null => {
    const value = values.get(name);
    return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : null;
  };
  const success = values.get('success');
  const errorMessage = values.get('errmsg');
  return {
    type: JOB_TYPES[jobType] ?? 'unknown',
    operation: JOB_OPERATIONS[count('operation') ?? 0] ?? 'unknown',
    timeElapsedMs: count('time_elapsed'),
    timeRemainingMs: count('time_remaining'),
    downtimeMs: count('downtime'),
    setupTimeMs: count('setup_time'),
    dataTotalBytes: count('data_total'),
    dataProcessedBytes: count('data_processed'),
    dataRemainingBytes: count('data_remaining'),
    memoryTotalBytes: count('memory_total'),
    memoryProcessedBytes: count('memory_processed'),
    memoryRemainingBytes: count('memory_remaining'),
    memoryBytesPerSecond: count('memory_bps'),
    memoryDirtyRatePages: count('memory_dirty_rate'),
    memoryPageSizeBytes: count('memory_page_size'),
    memoryIteration: count('memory_iteration'),
    diskTotalBytes: count('disk_total'),
    diskProcessedBytes: count('disk_processed'),
    diskRemainingBytes: count('disk_remaining'),
    autoConvergeThrottlePercent: count('auto_converge_throttle'),
    success: typeof success === 'boolean' ? success : null,
    errorMessage: typeof errorMessage === 'string' ? errorMessage : null,
  };
}
