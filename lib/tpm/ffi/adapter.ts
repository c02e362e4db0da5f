/** The port over tpm2-tss's ESAPI, called through FFI on one thread of its own. */
import '../../ffi/resident.ts';
import { WorkerHost, workerModule } from '../../worker/host.ts';
import type {
  ApprovedState,
  Attestation,
  EkCertificate,
  EkKind,
  PcrSelection,
  PcrSnapshot,
  PolicyApproval,
  ProvisionRequest,
  ProvisionedKeys,
  Tpm,
  TpmProperties,
  TpmPublic,
} from '../port.ts';
import type { TpmCalls } from './thread.ts';

/** Which TPM: a TCTI as tctildr takes it, such as `device:/dev/tpmrm0` or `swtpm:path=/run/swtpm.sock`. */
export interface FfiTpmOptions {
  readonly tcti: string;
}

/** A TPM over tpm2-tss. It connects with the first call, so construction cannot fail for want of a TPM. */
export class FfiTpm implements Tpm {
  readonly #host: WorkerHost<TpmCalls>;

  constructor(options: FfiTpmOptions) {
    // tpm2-tss would write each failure to stderr, which we report as typed errors; an operator's own setting stands.
    process.env['TSS2_LOG'] ??= 'all+NONE';
    this.#host = new WorkerHost<TpmCalls>(workerModule(import.meta.url, './thread'), {
      name: 'tpm',
      workerData: { tcti: options.tcti },
    });
  }

  ekCertificates(): Promise<readonly EkCertificate[]> {
    return this.#host.call('ekCertificates');
  }

  createEk(kind: EkKind): Promise<TpmPublic> {
    return this.#host.call('createEk', kind);
  }

  provision(request: ProvisionRequest): Promise<ProvisionedKeys> {
    return this.#host.call('provision', request);
  }

  readPublic(handle: number): Promise<TpmPublic> {
    return this.#host.call('readPublic', handle);
  }

  quote(akHandle: number, qualifyingData: Uint8Array, selection: PcrSelection): Promise<Attestation> {
    return this.#host.call('quote', akHandle, qualifyingData, selection);
  }

  certify(objectHandle: number, akHandle: number, qualifyingData: Uint8Array): Promise<Attestation> {
    return this.#host.call('certify', objectHandle, akHandle, qualifyingData);
  }

  readPcrs(selection: PcrSelection): Promise<PcrSnapshot> {
    return this.#host.call('readPcrs', selection);
  }

  nvRead(index: number): Promise<Uint8Array> {
    return this.#host.call('nvRead', index);
  }

  readCounter(index: number): Promise<bigint | null> {
    return this.#host.call('readCounter', index);
  }

  makeCounter(index: number): Promise<bigint> {
    return this.#host.call('makeCounter', index);
  }

  incrementCounter(index: number): Promise<void> {
    return this.#host.call('incrementCounter', index);
  }

  activateCredential(
    akHandle: number,
    ekKind: EkKind,
    credentialBlob: Uint8Array,
    encryptedSecret: Uint8Array,
  ): Promise<Uint8Array> {
    return this.#host.call('activateCredential', akHandle, ekKind, credentialBlob, encryptedSecret);
  }

  random(count: number): Promise<Uint8Array> {
    return this.#host.call('random', count);
  }

  verifyPolicyApproval(
    publicArea: Uint8Array,
    approvedPolicy: Uint8Array,
    policyRef: Uint8Array,
    signature: Uint8Array,
  ): Promise<PolicyApproval> {
    return this.#host.call('verifyPolicyApproval', publicArea, approvedPolicy, policyRef, signature);
  }

  signApproved(handle: number, digest: Uint8Array, approval: ApprovedState): Promise<Uint8Array> {
    return this.#host.call('signApproved', handle, digest, approval);
  }

  properties(): Promise<TpmProperties> {
    return this.#host.call('properties');
  }

  commandCounts(): Promise<Readonly<Record<string, number>>> {
    return this.#host.call('commandCounts');
  }

  close(): Promise<void> {
    return this.#host.close();
  }
}
