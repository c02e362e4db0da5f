/**
 * What libvirt's own record says about an outgoing migration: its phase, and the flags it was started with. The API cannot tell (job
 * statistics have no flags, and the hook gets none), and a source must know whether memory will travel under TLS before it releases a key.
 *
 * libvirt keeps the live state of a VM in `/run/libvirt/qemu/NAME.xml`, readable by root alone, and writes it anew, atomically,
 * when a job begins or changes phase: `<job async='migration out' phase='begin3' flags='0x1001b' .../>`. `flags` are the `VIR_MIGRATE_*` flags of
 * the API call (libvirt: src/hypervisor/domain_job.c and src/qemu/qemu_domainjob.c, qemuDomainObjPrivateXMLFormatJob). Seen on 9.0.0: while
 * the destination's `migrate begin` hook runs the source's file already shows them, peer to peer and client-managed alike, with bit 16
 * if and only if TLS was asked for. A client-managed migration adds `changeProtection` by itself.
 */
import { readFile } from 'node:fs/promises';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import { type MigrationFlag, migrationFlagsOf } from './migration-flags.ts';
import { attribute, descend, parseXml, textOf } from './xml.ts';

/** Where libvirt keeps the records of running VMs when it runs as root. */
export const STATUS_DIRECTORY = '/run/libvirt/qemu';

/** An outgoing migration under way. */
export interface OutgoingMigration {
  readonly uuid: string;
  /** libvirt's word for the phase: `begin3` until the destination has answered, then `perform3`, `perform3_done`, `confirm3`, ... */
  readonly phase: string;
  readonly flags: ReadonlySet<MigrationFlag>;
  /** Bits that libvirt 9.0 does not define; treat anything but 0 as a migration that we do not understand. */
  readonly unknownFlags: number;
  /** When the job began, in milliseconds since 1970 by the host's clock; null when libvirt does not say. */
  readonly startedMs: number | null;
}

// The record holds the VM's description and libvirt's own notes about it.
const STATUS_BYTES_MAX = 4 * limits.domainXmlBytesMax;

/**
 * Reads a record. Null when no outgoing migration is under way, or it has yet to reach its first phase; throws `domain-xml-invalid` when the record cannot be understood, which a
 * caller must not take for "no migration" or "no TLS".
 */
export function outgoingMigration(statusXml: string): OutgoingMigration | null {
  const root = parseXml(statusXml, 'domstatus', {
    bytesMax: STATUS_BYTES_MAX,
    depthMax: limits.domainXmlDepthMax + 1,
  });
  const job = descend(root, 'job');
  if (attribute(job, 'async') !== 'migration out') return null;
  // libvirt first writes the job without a phase and with flags 0, then both: the destination has not heard of it before that.
  const phase = attribute(job, 'phase');
  if (phase === null) return null;
  const flags = attribute(job, 'flags');
  const uuid = textOf(descend(root, 'domain', 'uuid'));
  if (flags === null || !/^0x[0-9a-f]{1,8}$/.test(flags) || uuid === null) {
    throw new TvmmpError('domain-xml-invalid', 'libvirt’s record of a migration has no flags or no UUID');
  }
  const { flags: names, unknown } = migrationFlagsOf(Number.parseInt(flags, 16));
  const started = attribute(job, 'asyncStarted');
  return {
    uuid: uuid.toLowerCase(),
    phase,
    flags: names,
    unknownFlags: unknown,
    startedMs: started !== null && /^[0-9]{1,15}$/.test(started) ? Number(started) : null,
  };
}

/**
 * Reads the record of one running VM by its name. Null when it does not run here or does not migrate. The caller compares the UUID: the file is
 * named after the VM's name. Throws `domain-xml-invalid` for a name that cannot be a file's.
 */
export async function readOutgoingMigration(
  name: string,
  directory: string = STATUS_DIRECTORY,
): Promise<OutgoingMigration | null> {
  if (name === '' || name.includes('/') || name.includes('\0') || name.startsWith('.')) {
    throw new TvmmpError('domain-xml-invalid', 'a VM name that cannot be the name of its status file');
  }
  let text: string;
  try {
    text = await readFile(`${directory}/${name}.xml`, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new TvmmpError('libvirt-call-failed', `cannot read libvirt’s record of ${name}`, {
      cause,
      details: { call: 'read status file' },
    });
  }
  return outgoingMigration(text);
}
