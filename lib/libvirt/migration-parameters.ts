/** The typed parameters of `virDomainMigrateToURI3` (libvirt-domain.h, VIR_MIGRATE_PARAM_*) for a request of ours. */
import type { NativeMigrationParam } from '../native/libvirt.ts';
import type { MigrationParameters } from './port.ts';

const STRINGS = {
  destinationXml: 'destination_xml',
  persistentXml: 'persistent_xml',
  destinationName: 'destination_name',
  migrateUri: 'migrate_uri',
  listenAddress: 'listen_address',
  tlsDestination: 'tls.destination',
} as const satisfies Partial<Record<keyof MigrationParameters, string>>;

/** Those parameters that are given, in libvirt's names and types. */
export function migrationParameters(params: MigrationParameters): NativeMigrationParam[] {
  const list: NativeMigrationParam[] = [];
  for (const key of Object.keys(STRINGS) as (keyof typeof STRINGS)[]) {
    const value = params[key];
    if (value !== undefined) list.push({ name: STRINGS[key], type: 'string', value });
  }
  if (params.bandwidthMiBs !== undefined) {
    list.push({ name: 'bandwidth', type: 'ullong', value: params.bandwidthMiBs });
  }
  if (params.parallelConnections !== undefined) {
    list.push({ name: 'parallel.connections', type: 'int', value: params.parallelConnections });
  }
  return list;
}
