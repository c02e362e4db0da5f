/** The root of vTPMs (SPEC 1.1): an authority's second root, for endorsement keys of vTPMs alone. TLS stacks never get to know it. */
import type { KeyObject } from 'node:crypto';
import { bytesEqual } from '../bytes/compare.ts';
import { certificateError } from './certificate-error.ts';
import { EK_USAGE, VTPM_ROOT_USAGE } from './identifiers.ts';
import { selfSigned } from './issue.ts';
import type { KeyPair, Validity } from './issue.ts';
import { verifyLeaf } from './leaf.ts';
import type { LeafProfile } from './leaf.ts';
import { spkiOf } from './public-key.ts';
import { parseRootCertificate } from './root-certificate.ts';
import type { RootCertificate } from './root-certificate.ts';
import { parseCertificate } from './untrusted-certificate.ts';
import { x509 } from './x509-library.ts';

/** A root of vTPMs that the authority's root vouches for, or that somebody chose to trust. */
export interface VtpmRoot {
  readonly certificate: RootCertificate;
}

const voucher: LeafProfile<KeyObject> = {
  what: 'voucher for the vTPM root',
  usages: [VTPM_ROOT_USAGE],
  read: ({ publicKey }) => publicKey,
};

/** Makes the certificate of a root of vTPMs: DER. One level of CAs below it, the hosts', and endorsement keys alone. */
export async function issueVtpmRoot(name: string, keys: KeyPair, validity: Validity): Promise<Uint8Array> {
  const library = x509();
  return selfSigned(name, keys, validity, [
    new library.BasicConstraintsExtension(true, 1, true),
    new library.KeyUsagesExtension(library.KeyUsageFlags.keyCertSign, true),
    new library.ExtendedKeyUsageExtension([EK_USAGE], true),
  ]);
}

/** Reads a vTPM root's certificate (DER, or a PEM text with it alone). Throws `certificate-invalid`; its validity is not looked at. */
export function parseVtpmRoot(source: Uint8Array | string): VtpmRoot {
  const certificate = parseRootCertificate(source);
  const { extendedKeyUsages, basicConstraints } = parseCertificate(certificate.der);
  if (extendedKeyUsages?.join() !== EK_USAGE || basicConstraints?.pathLength !== 1)
    throw certificateError('wrong-usage', 'the root is not one of vTPMs');
  return { certificate };
}

/** The vTPM root that the authority's root vouches for with `voucherDer`, at a time. Throws `certificate-invalid`. */
export function verifyVtpmRoot(
  rootDer: Uint8Array,
  voucherDer: Uint8Array,
  authority: RootCertificate,
  at: Date,
): VtpmRoot {
  const root = parseVtpmRoot(rootDer);
  const vouched = verifyLeaf(voucherDer, authority, at, voucher);
  if (!bytesEqual(spkiOf(vouched), spkiOf(root.certificate.publicKey)))
    throw certificateError('wrong-issuer', 'the authority vouches for another vTPM root');
  return root;
}
