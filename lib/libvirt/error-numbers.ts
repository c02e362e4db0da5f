/** libvirt's errors by number, and which of them tell of a lost connection: for FFI calls and for the addon's alike. */

/** `virErrorNumber` values that decide anything here (virterror.h). */
export const ERR = {
  INTERNAL_ERROR: 1,
  NO_CONNECT: 5,
  INVALID_CONN: 6,
  SYSTEM_ERROR: 38,
  RPC: 39,
  NO_DOMAIN: 42,
  OPERATION_INVALID: 55,
  NO_DOMAIN_METADATA: 80,
} as const;

/** The `virErrorDomain` of libvirt's own client. */
const FROM_RPC = 7;

/** Whether an error tells of a broken connection rather than of a refused call. */
export function isConnectionError(error: {
  readonly libvirtCode: number;
  readonly libvirtDomain: number;
}): boolean {
  const { libvirtCode, libvirtDomain } = error;
  if (libvirtCode === ERR.NO_CONNECT || libvirtCode === ERR.INVALID_CONN || libvirtCode === ERR.RPC)
    return true;
  return (
    libvirtDomain === FROM_RPC && (libvirtCode === ERR.SYSTEM_ERROR || libvirtCode === ERR.INTERNAL_ERROR)
  );
}
