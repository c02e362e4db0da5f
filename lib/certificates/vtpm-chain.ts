/** What ties a vTPM's certificate to an authority (SPEC 1.1, 4.5): the vTPM CA of a host, the root of vTPMs, and the authority's voucher for that. */
import { certificateError } from './certificate-error.ts';
import { certificateToPem, certificatesFromPem } from './pem.ts';
import type { RootCertificate } from './root-certificate.ts';
import { verifyVtpmCa } from './vtpm-ca.ts';
import type { VtpmCa } from './vtpm-ca.ts';
import { verifyVtpmCertificate } from './vtpm-certificate.ts';
import type { VtpmCertificate } from './vtpm-certificate.ts';
import { verifyVtpmRoot } from './vtpm-root.ts';
import type { VtpmRoot } from './vtpm-root.ts';

/** Certificates above that of an endorsement key, in DER. UNVERIFIED. */
export interface VtpmIssuers {
  readonly ca: Uint8Array;
  readonly root: Uint8Array;
  readonly voucher: Uint8Array;
}

/** The same with the certificate of the endorsement key. */
export interface VtpmChain extends VtpmIssuers {
  readonly certificate: Uint8Array;
}

/** The issuers as a PEM text: vTPM CA, vTPM root, voucher. */
export function formatVtpmIssuers({ ca, root, voucher }: VtpmIssuers): string {
  return [ca, root, voucher].map(certificateToPem).join('');
}

/** Reads what `formatVtpmIssuers` wrote. Throws `certificate-invalid`, reason malformed. */
export function parseVtpmIssuers(pem: string): VtpmIssuers {
  const [ca, root, voucher, ...rest] = certificatesFromPem(pem);
  if (ca === undefined || root === undefined || voucher === undefined || rest.length > 0)
    throw certificateError('malformed', 'not a vTPM CA, a vTPM root and its voucher');
  return { ca, root, voucher };
}

/** The chain as a PEM text: the certificate first, then its issuers upwards, the voucher last. */
export function formatVtpmChain(chain: VtpmChain): string {
  return certificateToPem(chain.certificate) + formatVtpmIssuers(chain);
}

/** Reads what `formatVtpmChain` wrote. Throws `certificate-invalid`, reason malformed. */
export function parseVtpmChain(pem: string): VtpmChain {
  const [certificate, ca, root, voucher, ...rest] = certificatesFromPem(pem);
  if (
    certificate === undefined ||
    ca === undefined ||
    root === undefined ||
    voucher === undefined ||
    rest.length > 0
  )
    throw certificateError(
      'malformed',
      'not the four certificates of a vTPM that tvmmp vm certificate writes: it has no issuer of this authority',
    );
  return { certificate, ca, root, voucher };
}

/** Verifies issuers at a time, from the authority's root downwards. Throws `certificate-invalid`. */
export function verifyVtpmIssuers(
  issuers: VtpmIssuers,
  authority: RootCertificate,
  at: Date,
): { readonly root: VtpmRoot; readonly ca: VtpmCa } {
  const root = verifyVtpmRoot(issuers.root, issuers.voucher, authority, at);
  return { root, ca: verifyVtpmCa(issuers.ca, root, at) };
}

/** Verifies a chain at a time, from the authority's root downwards. Throws `certificate-invalid`. */
export function verifyVtpmChain(chain: VtpmChain, authority: RootCertificate, at: Date): VtpmCertificate {
  return verifyVtpmCertificate(chain.certificate, verifyVtpmIssuers(chain, authority, at).ca, at);
}
