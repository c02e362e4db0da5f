/** What a host has otherwise than others, for `Stage.open`: one thing of it is slow, fails, or is watched. */
import type { Host } from '../../lib/migration/host.ts';

type Alter = (host: Host) => Host;

/** Some of its files' doings are others; `change` gets those that it has. */
export function withFiles(change: (files: Host['files']) => Partial<Host['files']>): Alter {
  return (host) => ({ ...host, files: { ...host.files, ...change(host.files) } });
}

/** Some calls of its hypervisor are others; `change` gets those that it has. */
export function withHypervisor(
  change: (hypervisor: Host['hypervisor']) => Partial<Host['hypervisor']>,
): Alter {
  return (host) => ({ ...host, hypervisor: { ...host.hypervisor, ...change(host.hypervisor) } });
}
