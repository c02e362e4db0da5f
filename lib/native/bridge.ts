import { callNative, loadAddon } from './load.ts';

/** What the authority signed for one state of the PCRs (TPM 2.0 Part 3, TPM2_PolicyAuthorize; SPEC 5.2, 10). */
export interface ReceiveKeyApproval {
  /** TPML_PCR_SELECTION, wire form. */
  readonly pcrSelection: Uint8Array;
  /** Digest of TPM2_PolicyPCR in the approved state, 32 bytes. */
  readonly approvedPolicy: Uint8Array;
  readonly policyRef: Uint8Array;
  /** TPM name of the authority's policy key, 34 bytes. */
  readonly keySignName: Uint8Array;
  /** TPMT_TK_VERIFIED of this host's TPM for the authority's signature, wire form. */
  readonly ticket: Uint8Array;
}

/** The receive key of this host, and what lets its TPM use it. */
export interface ReceiveKeyUse {
  /** TCTI configuration, such as `device:/dev/tpmrm0`. */
  readonly tcti: string;
  /** Persistent handle of the receive key. */
  readonly receiveKeyHandle: number;
  /** TPMT_PUBLIC of the receive key, wire form. */
  readonly receivePublic: Uint8Array;
  readonly approval: ReceiveKeyApproval;
}

/** A sealed vTPM key of this host and all that its TPM needs to open it. */
export interface OwnSealedKey extends ReceiveKeyUse {
  /** Sealed key, 126 bytes (SPEC 5.3). */
  readonly blob: Uint8Array;
  /** The key-context it was sealed with (SPEC 5.3). */
  readonly context: Uint8Array;
  /** Number of a `holdKeys` that this operation was expected by; where it is over, or for another envelope, the TPM is asked. */
  readonly hold?: number;
}

/**
 * How many commands an operation has sent to the TPM. To open a key: four, or one after `prepareReceiveKey`, unless PCRs changed meanwhile; none where keys
 * under one envelope waited for the TPM together, and another operation sent them, or `holdKeys` did before.
 */
export interface TpmCost {
  readonly tpmCommands: number;
}

/** Where the private half of an escrow key is: PKCS #8 in PEM. */
export interface EscrowKeyFile {
  readonly keyFile: string;
  /** A file with its passphrase in the first line, where it is encrypted. */
  readonly passphraseFile?: string;
}

/** What was read of a vTPM: who it is, and certificates that nobody has verified. */
export interface ReadEndorsement {
  /** TPMT_PUBLIC, wire form, of its endorsement key. */
  readonly publicArea: Uint8Array;
  /** Of that key; empty where the vTPM has none. */
  readonly certificate: Uint8Array;
  /** Of who issued that one; empty where the vTPM has none. */
  readonly issuer: Uint8Array;
}

/** A peer of a UNIX socket, as the kernel recorded it when it connected. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * The operations on the vTPM key (SPEC 5). Each runs on a thread of its own; the key itself never enters the JavaScript heap.
 * They reject with a TvmmpError: `seal-refused` (the TPM does not open in this host's state), `seal-invalid` (altered, or of
 * another VM, epoch, session or host), `tpm-structure-invalid`, `tpm-unreachable`, `tpm-call-failed`, `libvirt-call-failed`.
 */
export interface Bridge {
  /** A fresh random vTPM key, sealed in software to a receive key. */
  createSealedKey(options: { recipientPublic: Uint8Array; context: Uint8Array }): Promise<Uint8Array>;
  /**
   * Has the TPM check the approval before a key has to be opened: the next one then takes one command. The TPM looks at the PCRs again when it opens that
   * one. It may be asked for at any time; what is there already stays. Rejects where the TPM refuses (`seal-refused`) or fails.
   */
  prepareReceiveKey(options: ReceiveKeyUse): Promise<TpmCost>;
  /** Ends what `prepareReceiveKey` began, so that nothing stays behind in the TPM. */
  unprepareReceiveKey(): Promise<TpmCost>;
  /**
   * Has the TPM open an envelope ahead of the operations that will name the number: keys under it then open without a command (SPEC 5.2). What the TPM told
   * stays in locked memory of the addon, for `lifeMs` at most and until `releaseKeys`.
   */
  holdKeys(options: { own: OwnSealedKey; lifeMs: number }): Promise<TpmCost & { hold: number }>;
  /** Ends what `holdKeys` began; a number that is over is none. */
  releaseKeys(options: { hold: number }): void;
  /**
   * Seals keys of this host anew under the envelope of one of them (SPEC 5.3), each in its own context: one use of the TPM then opens all of them. The blobs
   * are in the order of `others`, and were opened again before they are given out.
   */
  gatherSealedKeys(options: {
    own: OwnSealedKey;
    others: readonly { readonly blob: Uint8Array; readonly context: Uint8Array }[];
  }): Promise<TpmCost & { blobs: readonly Uint8Array[] }>;
  /** Opens the sealed key and makes it the value of a libvirt secret that is defined already. */
  unsealIntoLibvirt(options: OwnSealedKey & { libvirtUri: string; secretUuid: string }): Promise<TpmCost>;
  /** Opens the sealed key and seals it to the destination's receive key, for a migration. */
  resealForDestination(options: {
    own: OwnSealedKey;
    destinationPublic: Uint8Array;
    destinationContext: Uint8Array;
  }): Promise<TpmCost & { blob: Uint8Array }>;
  /**
   * Opens the sealed key and seals it to the authority's escrow key (SPKI DER), as SPEC 15.2 says. Rejects with `policy-invalid` for what is no P-256
   * key.
   */
  sealForEscrow(options: {
    own: OwnSealedKey;
    escrowPublic: Uint8Array;
    escrowContext: Uint8Array;
  }): Promise<TpmCost & { blob: Uint8Array }>;
  /**
   * For an authority: makes an escrow key in a file that must not be there yet, encrypted where `passphraseFile` has a passphrase in its first line.
   * Resolves with its public half, SPKI DER; the private half enters no JavaScript. Rejects with `authority-invalid`.
   */
  createEscrowKey(options: EscrowKeyFile): Promise<Uint8Array>;
  /**
   * For an authority: opens what `sealForEscrow` sealed and seals it to a host's receive key. Rejects with `authority-invalid` where the file is not the
   * private half of `escrowPublic`.
   */
  resealFromEscrow(
    options: EscrowKeyFile & {
      escrowPublic: Uint8Array;
      blob: Uint8Array;
      escrowContext: Uint8Array;
      destinationPublic: Uint8Array;
      destinationContext: Uint8Array;
    },
  ): Promise<Uint8Array>;
  /**
   * Encrypts the state of a vTPM that is not running with the sealed key, or decrypts it. At every instant the directory holds
   * either the old or the new state, whole. Rejects with `vtpm-busy` or `vtpm-convert-failed` too.
   */
  convertVtpmState(options: {
    direction: 'encrypt' | 'decrypt';
    /** The directory with tpm2-00.permall. */
    stateDir: string;
    swtpmPath?: string;
    own: OwnSealedKey;
  }): Promise<TpmCost>;
  /**
   * Makes the vTPM of a VM that has never started, encrypted with the sealed key from its birth: what libvirt does at a first
   * start (swtpm_setup, as libvirt's swtpm user), so that the VM then starts with it. Directories above `stateDir` are made too.
   * Rejects with `vtpm-manufacture-failed`, where nothing is left behind (one that holds something is never overwritten), or
   * `vtpm-busy`.
   */
  manufactureVtpm(options: {
    /** Where the state will be: libvirt's is /var/lib/libvirt/swtpm/<uuid>/tpm2. Absolute. */
    stateDir: string;
    /** NAME:UUID, which becomes part of the vTPM's certificates. */
    vmId: string;
    swtpmSetupPath?: string;
    swtpmPath?: string;
    /** libvirt's qemu.conf, which names the user that its swtpm runs as. */
    qemuConf?: string;
    /** swtpm_setup's configuration, which names who certifies the endorsement keys; without it the host's own, as libvirt does. */
    setupConfig?: string;
    /** DER of the certificate above those: the vTPM keeps it where its guest finds it, and cannot change it. */
    issuer?: Uint8Array;
    own: OwnSealedKey;
  }): Promise<TpmCost>;
  /** Whom libvirt's swtpm runs as, by its qemu.conf. Rejects with `vtpm-manufacture-failed` where that names nobody. */
  vtpmOwner(options?: { qemuConf?: string }): Promise<{ readonly uid: number; readonly gid: number }>;
  /**
   * Reads who an encrypted vTPM is: the TPMT_PUBLIC, wire form, of its endorsement key (TCG EK Credential Profile 2.5, L-1; P-384
   * where there is no such), and what lies in the NV indices of its certificate and of that one's issuer, UNVERIFIED, empty where nothing can be read there. The state is left as it is, to the byte. Rejects with `vtpm-busy` or `vtpm-read-failed`.
   */
  vtpmEndorsementKey(options: {
    stateDir: string;
    swtpmPath?: string;
    /** `place` (default): the key that swtpm_setup made persistent; `seed`: RSA-2048, made anew from the vTPM's seed, whatever its guest did. */
    from?: 'place' | 'seed';
    /** As libvirt's swtpm wrote it last, which may be running on it. */
    running?: boolean;
    own: OwnSealedKey;
  }): Promise<TpmCost & ReadEndorsement>;
  /** Who is at the other end of a UNIX socket (SO_PEERCRED). Throws `internal` for another kind of descriptor. */
  peerCredentials(fd: number): PeerCredentials;
}

/** The addon as C++ exports it: every member is there, and errors are plain. */
interface BridgeAddon {
  createSealedKey(options: object): Promise<Uint8Array>;
  prepareReceiveKey(options: object): Promise<TpmCost>;
  unprepareReceiveKey(): Promise<TpmCost>;
  holdKeys(options: object): Promise<TpmCost & { hold: number }>;
  releaseKeys(options: object): void;
  gatherSealedKeys(options: object): Promise<TpmCost & { blobs: readonly Uint8Array[] }>;
  unsealIntoLibvirt(options: object): Promise<TpmCost>;
  resealForDestination(options: object): Promise<TpmCost & { blob: Uint8Array }>;
  sealForEscrow(options: object): Promise<TpmCost & { blob: Uint8Array }>;
  createEscrowKey(options: object): Promise<Uint8Array>;
  resealFromEscrow(options: object): Promise<Uint8Array>;
  convertVtpmState(options: object): Promise<TpmCost>;
  manufactureVtpm(options: object): Promise<TpmCost>;
  vtpmOwner(options: object): Promise<{ readonly uid: number; readonly gid: number }>;
  vtpmEndorsementKey(options: object): Promise<TpmCost & ReadEndorsement>;
  peerCredentials(fd: number): PeerCredentials;
}

/** Loads bridge.node. Throws TvmmpError `native-missing` where it was not built. Does not need libvirt. */
export function loadBridge(): Bridge {
  const addon = loadAddon('bridge') as BridgeAddon;
  return {
    createSealedKey: (options) => callNative(() => addon.createSealedKey(options)),
    prepareReceiveKey: (options) => callNative(() => addon.prepareReceiveKey(options)),
    unprepareReceiveKey: () => callNative(() => addon.unprepareReceiveKey()),
    holdKeys: (options) => callNative(() => addon.holdKeys(options)),
    releaseKeys: (options) => {
      addon.releaseKeys(options);
    },
    gatherSealedKeys: (options) => callNative(() => addon.gatherSealedKeys(options)),
    unsealIntoLibvirt: (options) => callNative(() => addon.unsealIntoLibvirt(options)),
    resealForDestination: (options) => callNative(() => addon.resealForDestination(options)),
    sealForEscrow: (options) => callNative(() => addon.sealForEscrow(options)),
    createEscrowKey: (options) => callNative(() => addon.createEscrowKey(options)),
    resealFromEscrow: (options) => callNative(() => addon.resealFromEscrow(options)),
    convertVtpmState: (options) =>
      callNative(() => addon.convertVtpmState({ swtpmPath: '/usr/bin/swtpm', ...options })),
    manufactureVtpm: (options) =>
      callNative(() =>
        addon.manufactureVtpm({
          swtpmSetupPath: '/usr/bin/swtpm_setup',
          swtpmPath: '/usr/bin/swtpm',
          qemuConf: '/etc/libvirt/qemu.conf',
          ...options,
        }),
      ),
    vtpmEndorsementKey: (options) =>
      callNative(() =>
        addon.vtpmEndorsementKey({ swtpmPath: '/usr/bin/swtpm', from: 'place', running: false, ...options }),
      ),
    vtpmOwner: (options) =>
      callNative(() => addon.vtpmOwner({ qemuConf: '/etc/libvirt/qemu.conf', ...options })),
    peerCredentials: (fd) => callNative(() => addon.peerCredentials(fd)),
  };
}
