/**
 * What the project needs of a host's TPM 2.0. The port carries wire bytes (big-endian, as TPM 2.0 Part 2 defines
 * them) in both directions; structures.ts parses and formats them. Nothing that crosses this port is secret, except
 * the answer of `activateCredential`, which is good for one enrolment only.
 *
 * Every call rejects with a TvmmpError: `tpm-call-failed` (details: command, rc; the message says the response code
 * in words), `tpm-unreachable` (no TPM behind the given interface, or it went away and did not come back),
 * `tpm-not-provisioned`, `tpm-structure-invalid` (the TPM answered something we cannot read), `limit-exceeded`.
 */

/** Hash algorithms of PCR banks. */
export type PcrBank = 'sha1' | 'sha256' | 'sha384' | 'sha512';

/** PCRs of one bank: indices 0-23. */
export interface PcrBankSelection {
  readonly bank: PcrBank;
  readonly pcrs: readonly number[];
}

/** PCRs of some banks, in the order in which the TPM hashes them. */
export type PcrSelection = readonly PcrBankSelection[];

/** One PCR's value. */
export interface PcrValue {
  readonly bank: PcrBank;
  readonly pcr: number;
  readonly digest: Uint8Array;
}

/**
 * PCR values that held together: the TPM's PCR update counter was the same before and after. Extensions of PCRs 16 and
 * 21-23, which anybody may reset, do not move that counter.
 */
export interface PcrSnapshot {
  readonly updateCounter: number;
  readonly values: readonly PcrValue[];
}

/** Endorsement keys of the TCG EK Credential Profile: templates L-1, L-2 and H-3. */
export type EkKind = 'rsa-2048' | 'ecc-p256' | 'ecc-p384';

/** An EK certificate found in the TPM's NV memory; not verified. */
export interface EkCertificate {
  readonly kind: EkKind;
  readonly nvIndex: number;
  readonly der: Uint8Array;
}

/** An object's public area. */
export interface TpmPublic {
  /** TPMT_PUBLIC wire bytes. */
  readonly publicArea: Uint8Array;
  /** nameAlg (2 bytes) || digest of the public area: 34 bytes for SHA-256. */
  readonly name: Uint8Array;
}

/** Something the TPM attested to and signed. */
export interface Attestation {
  /** TPMS_ATTEST wire bytes. */
  readonly attest: Uint8Array;
  /** TPMT_SIGNATURE wire bytes over `attest`. */
  readonly signature: Uint8Array;
}

/** What attestation keys can be: ECC is the default, since it signs six times faster. */
export type AkAlgorithm = 'ecc-p256' | 'rsa-2048';

/** What `provision` is asked for. */
export interface ProvisionRequest {
  readonly keyAlgorithm: AkAlgorithm;
  /** authPolicy of receive key and vTPM CA key: a SHA-256 policy digest, 32 bytes (SPEC 5.2). */
  readonly receivePolicy: Uint8Array;
  /** Replace existing keys that differ from the request, instead of refusing. */
  readonly replace?: boolean;
}

/** The host's keys after `provision`. */
export interface ProvisionedKeys {
  readonly srk: TpmPublic;
  readonly ak: TpmPublic;
  readonly receiveKey: TpmPublic;
  readonly vtpmCaKey: TpmPublic;
  /** Which of them this call made (the others were there). */
  readonly created: readonly ('srk' | 'ak' | 'receive-key' | 'vtpm-ca-key')[];
}

/** Who made the TPM, which firmware it runs, and its counters. */
export interface TpmProperties {
  /** Four characters, such as `IBM` or `INTC`. */
  readonly manufacturer: string;
  readonly vendor: string;
  /** Two 32-bit halves in hexadecimal, such as `20191023.00163636`. */
  readonly firmwareVersion: string;
  /** Revision of the TPM 2.0 library specification times 100, such as 164. */
  readonly specificationRevision: number;
  /** Milliseconds that the TPM was powered, over its life. */
  readonly clockMs: bigint;
  readonly resetCount: number;
  readonly restartCount: number;
  readonly clockSafe: boolean;
}

/** The TPM's word that a key approved a policy: input of TPM2_PolicyAuthorize. */
export interface PolicyApproval {
  /** TPMT_TK_VERIFIED wire bytes; valid on this TPM until its owner hierarchy is cleared. */
  readonly ticket: Uint8Array;
  /** Name of the approving key. */
  readonly keyName: Uint8Array;
}

/** What an authority signed for one state of the PCRs, as TPM2_PolicyAuthorize takes it (SPEC 5.2, 10). */
export interface ApprovedState {
  /** TPML_PCR_SELECTION wire bytes. */
  readonly pcrSelection: Uint8Array;
  /** Digest of TPM2_PolicyPCR in the approved state. */
  readonly approvedPolicy: Uint8Array;
  readonly policyRef: Uint8Array;
  /** TPM name of the approving key. */
  readonly keySignName: Uint8Array;
  /** TPMT_TK_VERIFIED wire bytes, from `verifyPolicyApproval`. */
  readonly ticket: Uint8Array;
}

/**
 * A host's TPM 2.0. Calls run one after another, on a thread of the adapter's own, and have no deadline of their own: a
 * command that is with the TPM cannot be taken back. Hierarchies are expected to have empty authorization values.
 */
export interface Tpm {
  /** The EK certificates that the manufacturer (or swtpm_setup) left in NV memory, padding trimmed. */
  ekCertificates(): Promise<readonly EkCertificate[]>;
  /** Makes the endorsement key anew from its template (it is the same each time) and returns its public area. */
  createEk(kind: EkKind): Promise<TpmPublic>;
  /**
   * Makes the host's persistent keys where they are missing, and returns them. Asking again changes nothing; an AK of
   * another algorithm or a receive key of another policy is refused with `tpm-not-provisioned` unless `replace`.
   */
  provision(request: ProvisionRequest): Promise<ProvisionedKeys>;
  /** Public area and name of a persistent object. */
  readPublic(handle: number): Promise<TpmPublic>;
  /** TPM2_Quote: qualifying data of at most 32 bytes, PCRs in the order of `selection`, the key's own scheme. */
  quote(akHandle: number, qualifyingData: Uint8Array, selection: PcrSelection): Promise<Attestation>;
  /** TPM2_Certify: the AK's word that `objectHandle` is an object of this TPM, with this name. */
  certify(objectHandle: number, akHandle: number, qualifyingData: Uint8Array): Promise<Attestation>;
  /** Reads PCRs, again until no PCR changed meanwhile. PCRs that the TPM does not have are left out. */
  readPcrs(selection: PcrSelection): Promise<PcrSnapshot>;
  /** Whole contents of an NV index that can be read with its own (empty) or the owner's authorization. */
  nvRead(index: number): Promise<Uint8Array>;
  /** Value of an NV counter as `makeCounter` makes them; null where there is none, or it was never incremented. */
  readCounter(index: number): Promise<bigint | null>;
  /**
   * Makes an NV counter where it is missing, increments it once where it never was, and returns its value. Asking again changes
   * nothing; another kind of index is refused with `tpm-not-provisioned`.
   */
  makeCounter(index: number): Promise<bigint>;
  /** TPM2_NV_Increment. Where it fails with `tpm-unreachable` it may have been done all the same: it is never sent twice. */
  incrementCounter(index: number): Promise<void>;
  /** TPM2_ActivateCredential with a transient EK: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET wire bytes in. */
  activateCredential(
    akHandle: number,
    ekKind: EkKind,
    credentialBlob: Uint8Array,
    encryptedSecret: Uint8Array,
  ): Promise<Uint8Array>;
  /** Random bytes of the TPM, 1-1024. */
  random(count: number): Promise<Uint8Array>;
  /**
   * Lets the TPM verify a signature over H(approvedPolicy || policyRef) (TPM 2.0 Part 3, 23.16), H being the key's
   * nameAlg, and returns its ticket. Public area and signature are TPMT_PUBLIC and TPMT_SIGNATURE wire bytes.
   */
  verifyPolicyApproval(
    publicArea: Uint8Array,
    approvedPolicy: Uint8Array,
    policyRef: Uint8Array,
    signature: Uint8Array,
  ): Promise<PolicyApproval>;
  /**
   * TPM2_Sign of a SHA-256 digest with a key that only an approved state lets sign (PolicyAuthorize): TPMT_SIGNATURE wire bytes, in the
   * key's own scheme. Rejects with `seal-refused` in a state that was not approved.
   */
  signApproved(handle: number, digest: Uint8Array, approval: ApprovedState): Promise<Uint8Array>;
  /** Manufacturer, firmware and counters. */
  properties(): Promise<TpmProperties>;
  /** How many commands went to the TPM so far, by TPM 2.0 command name (`Quote`, `PCR_Read`...). */
  commandCounts(): Promise<Readonly<Record<string, number>>>;
  /** Frees the connection and ends the thread; later calls reject. Safe to repeat. */
  close(): Promise<void>;
}
