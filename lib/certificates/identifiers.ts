/**
 * Object identifiers of SPEC 1.1. Ours lie under the arc that Microsoft keeps for identifiers made from a UUID
 * (1.2.840.113556.1.8000.2554, the UUID d7bf6613-2568-4acb-80b8-631112e4f6ad in arcs of at most 24 bits). The arc 2.25
 * of ITU-T X.667 takes the UUID as one arc of 128 bits, which asn1js writes wrongly and GnuTLS cannot read.
 */
const TVMMP = '1.2.840.113556.1.8000.2554.55231.26131.9576.19147.32952.6492434.15005357';

/** Extended key usage of the policy signer's certificate. */
export const POLICY_SIGNING_USAGE = `${TVMMP}.1`;
/** Critical extension of AK certificates: TPM names of the AK and of the receive key. */
export const HOST_KEYS_EXTENSION = `${TVMMP}.2`;
/** Extension of AK certificates: what the authority says of the host. */
export const ATTRIBUTES_EXTENSION = `${TVMMP}.4`;
/** Extended key usage of agent TLS certificates. */
export const AGENT_USAGE = `${TVMMP}.3`;
/** Extended key usage of the certificate by which the root vouches for the root of vTPMs. */
export const VTPM_ROOT_USAGE = `${TVMMP}.5`;
/** Extension of vTPM CA certificates: which host, and its AK. */
export const VTPM_CA_EXTENSION = `${TVMMP}.6`;
/** tcg-kp-AIKCertificate (TCG OID registry): extended key usage of AK certificates. */
export const AK_USAGE = '2.23.133.8.3';
/** tcg-kp-EKCertificate (TCG EK Credential Profile): extended key usage that EK certificates may carry. */
export const EK_USAGE = '2.23.133.8.1';
/** tcg-kp-PlatformAttributeCertificate (TCG Platform Certificate Profile 1.1): extended key usage that platform certificates may carry. */
export const PLATFORM_USAGE = '2.23.133.8.2';
/** id-kp-serverAuth and id-kp-clientAuth (RFC 5280 4.2.1.12). */
export const SERVER_USAGE = '1.3.6.1.5.5.7.3.1';
export const CLIENT_USAGE = '1.3.6.1.5.5.7.3.2';

/** Standard extensions (RFC 5280 4.2.1). */
export const EXTENSION = {
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  extendedKeyUsage: '2.5.29.37',
} as const;
/** id-ce-nameConstraints and id-ce-subjectDirectoryAttributes (RFC 5280 4.2.1.10, 4.2.1.8). */
export const NAME_CONSTRAINTS = '2.5.29.30';
export const DIRECTORY_ATTRIBUTES = '2.5.29.9';
