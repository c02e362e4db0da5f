import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Host } from './host.ts';

/**
 * An empty file per protected VM, by which the hook client knows one even when its definition has lost our metadata and the agent is down
 * (native/hook-client.c).
 */
export async function mark(host: Host, uuid: string): Promise<void> {
  const directory = join(host.settings.stateDirectory, 'protected');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFile(join(directory, uuid), '', { mode: 0o600 });
}

/** The VM is protected no more. */
export async function unmark(host: Host, uuid: string): Promise<void> {
  await rm(join(host.settings.stateDirectory, 'protected', uuid), { force: true });
}
