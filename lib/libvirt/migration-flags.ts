/**
 * Names for libvirt's migration flags (`virDomainMigrateFlags`, libvirt-domain.h), so that the rest of the project never
 * handles a bare bit mask: the agent asks for flags by name, and reads by name what an outgoing migration was started with.
 */

const MIGRATION_FLAG_BITS = {
  live: 0,
  peer2peer: 1,
  tunnelled: 2,
  persistDest: 3,
  undefineSource: 4,
  paused: 5,
  nonSharedDisk: 6,
  nonSharedInc: 7,
  changeProtection: 8,
  unsafe: 9,
  offline: 10,
  compressed: 11,
  abortOnError: 12,
  autoConverge: 13,
  rdmaPinAll: 14,
  postcopy: 15,
  tls: 16,
  parallel: 17,
  nonSharedSynchronousWrites: 18,
  postcopyResume: 19,
  zerocopy: 20,
} as const;

/** One of libvirt's migration flags, `VIR_MIGRATE_TLS` being `tls`. */
export type MigrationFlag = keyof typeof MIGRATION_FLAG_BITS;

/** Every flag of libvirt 9.0 in the order of its bits. */
export const MIGRATION_FLAGS: readonly MigrationFlag[] = Object.keys(MIGRATION_FLAG_BITS) as MigrationFlag[];

/** The bit mask that libvirt's API takes for these flags. */
export function migrationFlagsNumber(flags: Iterable<MigrationFlag>): number {
  let mask = 0;
  for (const flag of flags) mask |= 1 << MIGRATION_FLAG_BITS[flag];
  return mask >>> 0;
}

/**
 * The names of the flags in a mask; bits that libvirt 9.0 did not have come back in `unknown` (zero when there are none), so
 * that a caller who must know everything about a migration can refuse what it does not understand.
 */
export function migrationFlagsOf(mask: number): { flags: ReadonlySet<MigrationFlag>; unknown: number } {
  const flags = new Set<MigrationFlag>();
  let unknown = mask >>> 0;
  for (const flag of MIGRATION_FLAGS) {
    const bit = (1 << MIGRATION_FLAG_BITS[flag]) >>> 0;
    if ((unknown & bit) === 0) continue;
    flags.add(flag);
    unknown = (unknown & ~bit) >>> 0;
  }
  return { flags, unknown };
}
