import type { JobStatistics } from '../../lib/libvirt/job-statistics.ts';

/** A migration under way of which nothing is known but that it is. */
export const migrationUnderWay: JobStatistics = {
  type: 'unbounded',
  operation: 'migration-out',
  timeElapsedMs: 0,
  timeRemainingMs: null,
  downtimeMs: null,
  setupTimeMs: null,
  dataTotalBytes: null,
  dataProcessedBytes: null,
  dataRemainingBytes: null,
  memoryTotalBytes: null,
  memoryProcessedBytes: null,
  memoryRemainingBytes: null,
  memoryBytesPerSecond: null,
  memoryDirtyRatePages: null,
  memoryPageSizeBytes: null,
  memoryIteration: null,
  diskTotalBytes: null,
  diskProcessedBytes: null,
  diskRemainingBytes: null,
  autoConvergeThrottlePercent: null,
  success: null,
  errorMessage: null,
};
