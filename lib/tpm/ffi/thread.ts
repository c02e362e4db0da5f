/** The worker module of the FFI adapter: owns the connection, re-makes it once where the transport broke. */
import { workerData } from 'node:worker_threads';
import { TvmmpError } from '../../errors.ts';
import { serve } from '../../worker/thread.ts';
import type { ApprovedState, EkKind, PcrSelection, ProvisionRequest } from '../port.ts';
import { Arena } from './arena.ts';
import { certify, properties, quote, random, verifyPolicyApproval } from './attestation.ts';
import { Connection } from './connection.ts';
import { incrementCounter, makeCounter, readCounter } from './counter.ts';
import { activateCredential, createEk } from './endorsement.ts';
import { openTssLibrary } from './library.ts';
import type { TssLibrary } from './library.ts';
import { ekCertificates, nvRead } from './nv.ts';
import { readPublic } from './objects.ts';
import { readPcrs } from './pcrs.ts';
import { provision } from './provision.ts';
import { signApproved } from './signing.ts';

const { tcti } = workerData as { tcti: string };
const arena = new Arena();
const counts = new Map<string, number>();
let library: TssLibrary | undefined;
let connection: Connection | undefined;

function connect(): Connection {
  library ??= openTssLibrary();
  connection ??= new Connection(library, arena, tcti, counts);
  return connection;
}

function disconnect(): void {
  connection?.close();
  connection = undefined;
}

/**
 * Runs an operation; where the way to the TPM turns out to be broken (swtpm was restarted, the device was reset), once
 * more over a new connection. Every such operation may be run twice: none of them counts or extends anything.
 */
function run<T>(operation: (connection: Connection) => T): T {
  try {
    return operation(connect());
  } catch (error) {
    if (!(error instanceof TvmmpError) || error.code !== 'tpm-unreachable') throw error;
    disconnect();
  }
  try {
    return operation(connect());
  } catch (error) {
    if (error instanceof TvmmpError && error.code === 'tpm-unreachable') disconnect();
    throw error;
  }
}

/** An operation that must not be run twice: where the transport breaks, nobody knows whether it was done. */
function once<T>(operation: (connection: Connection) => T): T {
  try {
    return operation(connect());
  } catch (error) {
    if (error instanceof TvmmpError && error.code === 'tpm-unreachable') disconnect();
    throw error;
  }
}

const calls = {
  ekCertificates: () => run(ekCertificates),
  createEk: (kind: EkKind) => run((tpm) => createEk(tpm, kind)),
  provision: (request: ProvisionRequest) => run((tpm) => provision(tpm, request)),
  readPublic: (handle: number) => run((tpm) => readPublic(tpm, handle)),
  quote: (akHandle: number, qualifyingData: Uint8Array, selection: PcrSelection) =>
    run((tpm) => quote(tpm, akHandle, qualifyingData, selection)),
  certify: (objectHandle: number, akHandle: number, qualifyingData: Uint8Array) =>
    run((tpm) => certify(tpm, objectHandle, akHandle, qualifyingData)),
  readPcrs: (selection: PcrSelection) => run((tpm) => readPcrs(tpm, selection)),
  nvRead: (index: number) => run((tpm) => nvRead(tpm, index)),
  readCounter: (index: number) => run((tpm) => readCounter(tpm, index)),
  makeCounter: (index: number) => run((tpm) => makeCounter(tpm, index)),
  incrementCounter: (index: number) => {
    once((tpm) => {
      incrementCounter(tpm, index);
    });
  },
  activateCredential: (akHandle: number, kind: EkKind, blob: Uint8Array, secret: Uint8Array) =>
    run((tpm) => activateCredential(tpm, akHandle, kind, blob, secret)),
  random: (count: number) => run((tpm) => random(tpm, count)),
  verifyPolicyApproval: (area: Uint8Array, policy: Uint8Array, ref: Uint8Array, signature: Uint8Array) =>
    run((tpm) => verifyPolicyApproval(tpm, area, policy, ref, signature)),
  signApproved: (handle: number, digest: Uint8Array, approval: ApprovedState) =>
    run((tpm) => signApproved(tpm, handle, digest, approval)),
  properties: () => run(properties),
  commandCounts: () => Object.fromEntries(counts),
};

/** The adapter's calls, as its host side sees them. */
export type TpmCalls = typeof calls;

serve(calls, disconnect);
