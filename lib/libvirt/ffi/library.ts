/** libvirt.so as the dedicated thread calls it: the functions of libvirt's public API that we use, and its last error. */
import { TvmmpError } from '../../errors.ts';
import type { ErrorCode } from '../../errors.ts';
import { ERR, isConnectionError } from '../error-numbers.ts';
import { type Address, bind, functionAddress, readBytes, readString } from './memory.ts';

/** A connection or domain handle is an address; strings that libvirt returns are addresses too, to be freed by us. */
export const libvirt = bind('libvirt.so.0', {
  virInitialize: ['int', []],
  virGetVersion: ['int', ['pointer', 'string', 'pointer']],
  virGetLastError: ['uint64', []],
  virSetErrorFunc: ['void', ['uint64', 'uint64']],
  virConnectOpen: ['uint64', ['string']],
  virConnectClose: ['int', ['uint64']],
  virConnectIsAlive: ['int', ['uint64']],
  virConnectGetLibVersion: ['int', ['uint64', 'pointer']],
  virConnectGetVersion: ['int', ['uint64', 'pointer']],
  virConnectGetHostname: ['uint64', ['uint64']],
  virConnectGetCapabilities: ['uint64', ['uint64']],
  virConnectListAllDomains: ['int', ['uint64', 'pointer', 'uint']],
  virDomainLookupByUUIDString: ['uint64', ['uint64', 'string']],
  virDomainLookupByName: ['uint64', ['uint64', 'string']],
  virDomainFree: ['int', ['uint64']],
  virDomainGetUUIDString: ['int', ['uint64', 'pointer']],
  virDomainGetName: ['uint64', ['uint64']],
  virDomainGetID: ['uint', ['uint64']],
  virDomainGetState: ['int', ['uint64', 'pointer', 'pointer', 'uint']],
  virDomainIsPersistent: ['int', ['uint64']],
  virDomainGetXMLDesc: ['uint64', ['uint64', 'uint']],
  virDomainDefineXMLFlags: ['uint64', ['uint64', 'string', 'uint']],
  virDomainUndefineFlags: ['int', ['uint64', 'uint']],
  virDomainCreate: ['int', ['uint64']],
  virDomainDestroy: ['int', ['uint64']],
  virDomainSetMetadata: ['int', ['uint64', 'int', 'string', 'string', 'string', 'uint']],
  virDomainGetMetadata: ['uint64', ['uint64', 'int', 'string', 'uint']],
  virDomainGetJobStats: ['int', ['uint64', 'pointer', 'pointer', 'pointer', 'uint']],
  virDomainAbortJob: ['int', ['uint64']],
  virTypedParamsFree: ['void', ['uint64', 'int']],
});

/**
 * Stops libvirt from printing every error on stderr. It takes a function `(void *userData, virError *)`; a callback made by FFI is
 * out of the question, so we hand it libc's `free` with NULL as its data: `free(NULL)` does nothing, and the second argument is
 * ignored by the calling conventions of x86-64 and arm64.
 */
export function silenceErrors(): void {
  const harmless = functionAddress('free');
  if (harmless !== 0) libvirt.virSetErrorFunc(0, harmless);
}

const ERROR_MESSAGE_BYTES_MAX = 64 * 1024;

/** What libvirt last said on this thread. */
export interface LibvirtError {
  readonly libvirtCode: number;
  readonly libvirtDomain: number;
  readonly message: string;
}

/** Copies libvirt's thread-local error; must run on the thread, and right after the call, that failed. */
export function lastError(): LibvirtError {
  const address = libvirt.virGetLastError();
  if (address === 0) return { libvirtCode: 0, libvirtDomain: 0, message: 'libvirt gave no reason' };
  const head = readBytes(address, 16);
  const message = Number(head.readBigUInt64LE(8));
  return {
    libvirtCode: head.readInt32LE(0),
    libvirtDomain: head.readInt32LE(4),
    message: message === 0 ? 'libvirt gave no reason' : readString(message, ERROR_MESSAGE_BYTES_MAX),
  };
}

/** libvirt's last error as ours; `domain-not-found` and `libvirt-connection-lost` have codes of their own. */
export function callFailed(call: string): TvmmpError {
  const error = lastError();
  const code: ErrorCode = isConnectionError(error)
    ? 'libvirt-connection-lost'
    : error.libvirtCode === ERR.NO_DOMAIN
      ? 'domain-not-found'
      : 'libvirt-call-failed';
  const { libvirtCode, libvirtDomain } = error;
  return new TvmmpError(code, error.message, { details: { libvirtCode, libvirtDomain, call } });
}

/** The handle or string that a call returned; throws when it is NULL. */
export function nonNull(call: string, address: Address): Address {
  if (address === 0) throw callFailed(call);
  return address;
}

/** The number that a call returned; throws when it is negative. */
export function nonNegative(call: string, result: number): number {
  if (result < 0) throw callFailed(call);
  return result;
}
