/** Certificates of vTPMs, issued while swtpm_setup makes them (SPEC 4.5). */
import { bytesEqual } from '../bytes/compare.ts';
import { verifyVtpmIssuers } from '../certificates/vtpm-chain.ts';
import type { VtpmIssuers } from '../certificates/vtpm-chain.ts';
import { issueVtpmCertificate } from '../certificates/vtpm-certificate.ts';
import { TvmmpError } from '../errors.ts';
import { sha256 } from '../encoding/hash.ts';
import { VTPM_CA_KEY_HANDLE } from '../tpm/handles.ts';
import { ecdsaToP1363, parseSignature } from '../tpm/signature.ts';
import type { Services } from './services.ts';
import { parseVtpmRequest } from './vtpm-request.ts';

/** Where swtpm_setup's certificate tool asks, for as long as one vTPM is made. */
export interface OpenDesk {
  /** Path of a configuration for swtpm_setup that leads there. */
  readonly setupConfig: string;
  close(): Promise<void>;
}

/** Opens such a place: `answer` gets the tool's arguments and returns a certificate in DER, or throws. */
export type VtpmDesk = (answer: (words: readonly string[]) => Promise<Uint8Array>) => Promise<OpenDesk>;

/** What `bridge.manufactureVtpm` needs for a vTPM whose certificates this host issues. */
export interface VtpmIssuing {
  readonly setupConfig: string;
  readonly issuer: Uint8Array;
}

const COORDINATE_BYTES = 32;
const CLOCK_SKEW_MS = 5 * 60 * 1000;

/**
 * Runs `make` while swtpm_setup can have the endorsement keys of this VM's new vTPM certified: one of each kind, once. Returns what
 * was certified.
 */
export async function whileIssuing(
  services: Services,
  vm: { readonly name: string; readonly uuid: string },
  issuers: VtpmIssuers,
  make: (issuing: VtpmIssuing) => Promise<unknown>,
): Promise<readonly Uint8Array[]> {
  const issued = new Map<string, Uint8Array>();
  const desk = await services.host.vtpmDesk(async (words) => {
    const { vmId, publicKey, vtpm } = parseVtpmRequest(words);
    const kind = publicKey.asymmetricKeyType ?? '';
    if (vmId !== `${vm.name}:${vm.uuid}`) throw denied(`a vTPM of another VM than ${vm.name}`);
    if (issued.has(kind)) throw denied(`a second ${kind} endorsement key`);
    issued.set(kind, new Uint8Array());
    const certificate = await issue(services, issuers, { ...vm, publicKey, vtpm });
    issued.set(kind, certificate);
    return certificate;
  });
  try {
    await make({ setupConfig: desk.setupConfig, issuer: issuers.ca });
  } finally {
    await desk.close();
  }
  return [...issued.values()];
}

/** Throws `vtpm-manufacture-failed` unless the vTPM that was made has one of the certificates that were issued for it. */
export function requireIssued(issued: readonly Uint8Array[], found: Uint8Array): void {
  if (!issued.some((certificate) => certificate.byteLength > 0 && bytesEqual(certificate, found)))
    throw new TvmmpError(
      'vtpm-manufacture-failed',
      'the vTPM has another certificate than this host issued for it: somebody else asked while it was made',
    );
}

async function issue(
  services: Services,
  issuers: VtpmIssuers,
  subject: Parameters<typeof issueVtpmCertificate>[1],
): Promise<Uint8Array> {
  const { host, platform } = services;
  const now = new Date(host.now());
  const { ca, root } = verifyVtpmIssuers(issuers, host.identity.root, now);
  const notBefore = new Date(Math.max(now.getTime() - CLOCK_SKEW_MS, ca.notBefore.getTime()));
  notBefore.setUTCMilliseconds(0);
  const { notAfter } = root.certificate;
  return issueVtpmCertificate(ca, subject, { notBefore, notAfter }, async (tbs) => {
    const wire = await platform.whenApproved((approval) =>
      host.tpm.signApproved(VTPM_CA_KEY_HANDLE, sha256(tbs), approval),
    );
    const signature = parseSignature(wire);
    if (signature.scheme !== 'ecdsa')
      throw new TvmmpError('tpm-structure-invalid', 'the vTPM CA key signs by another scheme');
    return ecdsaToP1363(signature, COORDINATE_BYTES);
  });
}

function denied(what: string): TvmmpError {
  return new TvmmpError('peer-untrusted', `a certificate was asked for ${what}`);
}
