import { createHash } from 'node:crypto';
import { access, constants, mkdir, open, rm, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { TvmmpError } from '../errors.ts';
import { readOutgoingMigration } from '../libvirt/migration-job.ts';
import type { OutgoingMigration } from '../libvirt/migration-job.ts';

/** Where a host has what the agent looks at on disk. */
export interface HostDirectories {
  /** libvirt's, with a directory per VM. */
  readonly vtpmState: string;
  /** Where libvirt keeps its records of running VMs. */
  readonly libvirtStatus: string;
  /** Where libvirt keeps its definitions of VMs. */
  readonly libvirtDefinitions: string;
  /** The agent's own. */
  readonly state: string;
  /** QEMU's certificates for migrations. */
  readonly migrationTls: string;
}

/** What the agent looks at, marks and removes on the host's disk, beside its journal. */
export interface HostFiles {
  /** Where swtpm's files of a VM's TPM 2.0 are. */
  vtpmStateDirectory(vm: string): string;
  hasVtpmState(vm: string): Promise<boolean>;
  /** Whether the VM's vTPM was manufactured on this host, or came to it: swtpm's permanent state is there. */
  vtpmIsMade(vm: string): Promise<boolean>;
  /**
   * SHA-256 of swtpm's permanent state, or null without one. `durable`: the file is on disk as it was read before this resolves, so
   * that no loss of power brings an earlier one back.
   */
  vtpmStateDigest(vm: string, options?: { readonly durable?: boolean }): Promise<Uint8Array | null>;
  /**
   * Resolves when the state of a vTPM that came here, and libvirt's definition of its VM, are on disk: no loss of power takes them away.
   * Throws `vtpm-read-failed` where there is no state.
   */
  keepArrived(vm: string): Promise<void>;
  /** Resolves when it is gone from the disk too: no loss of power brings it back. */
  removeVtpmState(vm: string): Promise<void>;
  /** Where vTPM state is (or will be), and on which type of file system (statfs f_type). */
  vtpmFileSystem(): Promise<{ readonly directory: string; readonly type: number }>;
  /**
   * An empty file per protected VM, by which the hook client knows one even when its definition has lost our metadata and the agent is
   * down (native/hook-client.c).
   */
  mark(vm: string): Promise<void>;
  /** The VM is protected no more. */
  unmark(vm: string): Promise<void>;
  /** libvirt's record of a VM's outgoing migration; null when none is under way. */
  outgoingMigration(name: string): Promise<OutgoingMigration | null>;
  /** The first file of QEMU's migration TLS that cannot be read; null when all can. */
  missingMigrationTls(): Promise<string | null>;
}

/** swtpm puts each new state beside it, and renames it over the old one. */
const stateFile = 'tpm2-00.permall';

/** The files of this machine. */
export function diskFiles(directories: HostDirectories): HostFiles {
  const vtpm = (vm: string): string => join(directories.vtpmState, vm);
  const marks = join(directories.state, 'protected');
  return {
    vtpmStateDirectory: (vm) => join(vtpm(vm), 'tpm2'),
    hasVtpmState: (vm) => exists(vtpm(vm)),
    vtpmIsMade: (vm) => exists(join(vtpm(vm), 'tpm2', stateFile)),
    vtpmStateDigest: (vm, options) => fileDigest(join(vtpm(vm), 'tpm2'), options?.durable === true),
    keepArrived: async (vm) => {
      if ((await fileDigest(join(vtpm(vm), 'tpm2'), true)) === null)
        throw new TvmmpError('vtpm-read-failed', `the vTPM state that came with VM ${vm} is not on disk`);
      await syncDirectory(vtpm(vm));
      await syncDirectory(directories.vtpmState);
      if (await exists(directories.libvirtDefinitions)) await syncDirectory(directories.libvirtDefinitions);
    },
    removeVtpmState: async (vm) => {
      await rm(vtpm(vm), { recursive: true, force: true });
      // Also where libvirt removed it: what is not on disk yet comes back when the power goes.
      if (await exists(directories.vtpmState)) await syncDirectory(directories.vtpmState);
    },
    vtpmFileSystem: async () => ({
      directory: directories.vtpmState,
      type: await fileSystemType(directories.vtpmState),
    }),
    mark: async (vm) => {
      await mkdir(marks, { recursive: true, mode: 0o700 });
      await writeFile(join(marks, vm), '', { mode: 0o600 });
    },
    unmark: (vm) => rm(join(marks, vm), { force: true }),
    outgoingMigration: (name) => readOutgoingMigration(name, directories.libvirtStatus),
    missingMigrationTls: async () => {
      for (const file of ['ca-cert.pem', 'client-cert.pem', 'client-key.pem']) {
        const path = join(directories.migrationTls, file);
        if (!(await exists(path, constants.R_OK))) return path;
      }
      return null;
    },
  };
}

async function fileDigest(directory: string, durable: boolean): Promise<Uint8Array | null> {
  try {
    const file = await open(join(directory, stateFile));
    try {
      if (durable) {
        await file.sync();
        await syncDirectory(directory);
      }
      const hash = createHash('sha256');
      for await (const chunk of file.createReadStream({ autoClose: false })) hash.update(chunk as Buffer);
      return new Uint8Array(hash.digest());
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** Makes what was renamed in a directory durable. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function exists(path: string, mode = constants.F_OK): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

/** Of the directory, or of the nearest one above it that is there: libvirt makes its own when it first needs it. */
async function fileSystemType(directory: string): Promise<number> {
  try {
    return (await statfs(directory)).type;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || directory === dirname(directory)) throw error;
    return fileSystemType(dirname(directory));
  }
}
