import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { verifySignedPolicy } from '../appraisal/policy.ts';
import { AGENT_FILES, readRevocations, readVtpmIssuers } from '../authority/host-directory.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { verifyHostCertificate } from '../certificates/host-certificate.ts';
import { certificateFromPem, certificatesFromPem } from '../certificates/pem.ts';
import { parseRootCertificate } from '../certificates/root-certificate.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { verifyVtpmIssuers } from '../certificates/vtpm-chain.ts';
import type { VtpmIssuers } from '../certificates/vtpm-chain.ts';
import { TvmmpError } from '../errors.ts';
import type { HostIdentity, PolicyInForce, RevocationsInForce } from '../migration/host.ts';
import { readOwnKey } from '../tpm/own-keys.ts';
import type { Tpm } from '../tpm/port.ts';
import type { TlsIdentity } from './tls-channel.ts';

/** Who this host is: certificates from disk, keys from the TPM, and both must agree. Throws `not-enrolled`, `certificate-invalid`. */
export async function loadIdentity(directory: string, tpm: Tpm): Promise<HostIdentity> {
  const root = parseRootCertificate(read(directory, AGENT_FILES.root));
  const certificate = certificateFromPem(read(directory, AGENT_FILES.akCertificate));
  const verified = verifyHostCertificate(certificate, root, new Date());
  const ak = await readOwnKey(tpm, 'attestation key');
  const receive = await readOwnKey(tpm, 'receive key');
  if (!bytesEqual(ak.name, verified.akName) || !bytesEqual(receive.name, verified.receiveKeyName)) {
    throw new TvmmpError(
      'not-enrolled',
      "this host's TPM does not hold the keys of its certificate; enrol it again",
    );
  }
  return {
    id: { name: verified.name, akName: verified.akName, certificate: verified.digest },
    akCertificate: certificate,
    akPublic: ak.publicArea,
    receivePublic: receive.publicArea,
    receiveKeyName: receive.name,
    root,
    vtpmIssuers: loadVtpmIssuers(directory, root, verified),
    signerCertificates: certificatesFromPem(read(directory, AGENT_FILES.policySigner)),
  };
}

/** The vTPM CA of this host; null where it has none. Throws `certificate-invalid`, `not-enrolled`. */
function loadVtpmIssuers(
  directory: string,
  root: RootCertificate,
  host: { readonly name: string; readonly akName: Uint8Array },
): VtpmIssuers | null {
  const issuers = readVtpmIssuers(directory);
  if (issuers === null) return null;
  const { ca } = verifyVtpmIssuers(issuers, root, new Date());
  if (ca.host !== host.name || !bytesEqual(ca.akName, host.akName))
    throw new TvmmpError('not-enrolled', 'the vTPM CA is one of another host; enrol this host again');
  return issuers;
}

/** The agent's TLS certificate and key. */
export function loadTlsIdentity(directory: string, root: RootCertificate): TlsIdentity {
  return {
    certificate: read(directory, AGENT_FILES.agentCertificate),
    key: read(directory, AGENT_FILES.agentKey),
    root,
    rootPem: read(directory, AGENT_FILES.root),
  };
}

/** The signed policy in force on this host. Throws `policy-invalid`, `not-enrolled`. */
export function loadPolicy(directory: string, identity: HostIdentity): PolicyInForce {
  const envelope = read(directory, AGENT_FILES.policy);
  const policy = verifySignedPolicy(envelope, {
    root: identity.root,
    signers: identity.signerCertificates,
    at: new Date(),
  });
  return { policy, envelope };
}

/** The revocation list in force on this host; null where it has none. Throws `policy-invalid`. */
export function loadRevocations(directory: string, identity: HostIdentity): RevocationsInForce | null {
  return readRevocations(directory, {
    root: identity.root,
    signers: identity.signerCertificates,
    at: new Date(),
  });
}

function read(directory: string, file: string): string {
  const path = join(directory, file);
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new TvmmpError('not-enrolled', `cannot read ${path}: enrol this host first (tvmmp host enroll)`, {
      cause: error,
    });
  }
}
