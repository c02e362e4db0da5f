/** The typed parameters of `virDomainMigrateToURI3` (libvirt-domain.h, VIR_MIGRATE_PARAM_*) for a request of ours. */
import type { NativeTypedParameter } from './native.ts';
import type { MigrationParameters } from './port.ts';

const PARAMETERS = {
  destinationXml: ['destination_xml', 'string'],
  persistentXml: ['persistent_xml', 'string'],
  destinationName: ['destination_name', 'string'],
  migrateUri: ['migrate_uri', 'string'],
  listenAddress: ['listen_address', 'string'],
  bandwidthMiBs: ['bandwidth', 'ullong'],
  tlsDestination: ['tls.destination', 'string'],
  parallelConnections: ['parallel.connections', 'int'],
} as const satisfies Record<
  keyof MigrationParameters,
  readonly [name: string, type: NativeTypedParameter['type']]
>;

/** Those parameters that are given, in libvirt's names and types. */
export function migrationParameters(params: MigrationParameters): NativeTypedParameter[] {
  const list: NativeTypedParameter[] = [];
  for (const [key, [name, type]] of Object.entries(PARAMETERS)) {
    const value = params[key as keyof MigrationParameters];
    if (value !== undefined) list.push({ name, type, value });
  }
  return list;
}
