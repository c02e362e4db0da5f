/**
 * The TPM handles the project relies on. Persistent objects lie in the owner's range 0x81000000-0x817fffff
 * (TPM 2.0 Part 2, 7.4). Ours are kept away from what others use there: 0x81000001 is the storage root key of the TCG
 * Provisioning Guidance, 0x8101xxxx are endorsement keys and 0x8102xxxx device identity keys (TCG registry of reserved
 * handles), and tools that look for a free handle start at 0x81000000.
 */

/** Storage root key, shared with every other user of the TPM (TCG TPM v2.0 Provisioning Guidance, 7.5.1). */
export const SRK_HANDLE = 0x81000001;
/** Attestation key: restricted signing key, child of the storage root key. */
export const AK_HANDLE = 0x81005401;
/** Receive key: decrypts the vTPM keys sealed to this host (SPEC 5.2), child of the storage root key. */
export const RECEIVE_KEY_HANDLE = 0x81005402;
/** vTPM CA key: signs certificates of vTPMs that are made here (SPEC 4.5), child of the storage root key. */
export const VTPM_CA_KEY_HANDLE = 0x81005403;

/** Counter that goes on when a disk goes back (SPEC 8.8), in the owner's range of NV indices (TCG registry of reserved handles). */
export const COUNTER_NV = 0x01805401;

/** NV indices of EK certificates and templates (TCG EK Credential Profile for TPM 2.0, 2.2.1.4 and 2.2.1.5). */
export const EK_NV = {
  'rsa-2048': { certificate: 0x01c00002, nonce: 0x01c00003, template: 0x01c00004 },
  'ecc-p256': { certificate: 0x01c0000a, nonce: 0x01c0000b, template: 0x01c0000c },
  'ecc-p384': { certificate: 0x01c00016, nonce: undefined, template: 0x01c00017 },
} as const;

/** NV index of the platform certificate (TCG registry of reserved handles; TCG TPM v2.0 Provisioning Guidance, 7.8). */
export const PLATFORM_CERTIFICATE_NV = 0x01c08000;
