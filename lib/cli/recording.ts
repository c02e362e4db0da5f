/** What a host has measured, as `tvmmp host measure --record` keeps it and `tvmmp policy test` tries a policy against: a directory. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentConfig } from '../agent/config.ts';
import type { RecordedPlatform } from '../appraisal/recorded-logs.ts';
import type { DraftState } from '../appraisal/policy-text.ts';
import { limits } from '../limits.ts';
import { readInput, reason, writeOutput } from './files.ts';
import { usageError } from './exit.ts';
import { readState, stateJson } from './measured-state.ts';

const files = { state: 'state.json', eventLog: 'event-log', ima: 'ima' } as const;
const bytesMax = { eventLog: limits.eventLogBytesMax, ima: limits.imaListBytesMax } as const;

/** As the kernel does: they name what runs on the host. */
const LOG_MODE = 0o600;

/** Logs as the kernel shows them. */
export type Logs = Pick<RecordedPlatform, 'eventLog' | 'ima'>;

/** This host's own logs: those that there are. Read after the PCRs, since logs only grow. Throws `usage-invalid`. */
export function ownLogs({ logs }: Pick<AgentConfig, 'logs'>): Logs {
  return logsAt(logs);
}

/** Writes a state and logs into a directory, made where it is not there. Throws `usage-invalid`. */
export function writeRecording(directory: string, state: DraftState, logs: Logs): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o755 });
  } catch (cause) {
    throw usageError(`cannot make ${directory}: ${reason(cause)}`, cause);
  }
  writeOutput(join(directory, files.state), `${JSON.stringify(stateJson(state))}\n`);
  for (const name of ['eventLog', 'ima'] as const) {
    const log = logs[name];
    if (log !== undefined) writeOutput(join(directory, files[name]), log, LOG_MODE);
  }
}

/** Reads a directory that `writeRecording` wrote, or somebody who copied the files. Throws `usage-invalid`. */
export function readRecording(directory: string): Logs & { readonly state: DraftState } {
  const at = (name: string): string => join(directory, name);
  return {
    state: readState(at(files.state)),
    ...logsAt({ eventLog: at(files.eventLog), ima: at(files.ima) }),
  };
}

function logsAt(places: Readonly<Record<keyof typeof bytesMax, string>>): Logs {
  const read = (name: keyof typeof bytesMax): Buffer | undefined =>
    existsSync(places[name]) ? readInput(places[name], bytesMax[name]) : undefined;
  const [eventLog, ima] = [read('eventLog'), read('ima')];
  return { ...(eventLog === undefined ? {} : { eventLog }), ...(ima === undefined ? {} : { ima }) };
}
