/** The authority's public bundle: what a host has to be given before it enrols, by a way that its operator trusts. */
import { certificateError } from '../certificates/certificate-error.ts';
import { certificateFromPem, certificateToPem } from '../certificates/pem.ts';
import { verifyPolicySignerCertificate } from '../certificates/policy-signer-certificate.ts';
import type { PolicySigner } from '../certificates/policy-signer-certificate.ts';
import { parseRootCertificate } from '../certificates/root-certificate.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { JsonShapeError, objectOf, textOf } from '../encoding/json-object.ts';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';

const FORMAT = 'tvmmp-bundle/1';

/** A bundle that was read; the signer is verified against the root, the root is what the operator chose to trust. */
export interface Bundle {
  readonly root: RootCertificate;
  readonly signer: PolicySigner;
  /** DER of the policy signer's certificate. */
  readonly signerCertificate: Uint8Array;
}

/** The bundle as a JSON text. */
export function formatBundle(rootDer: Uint8Array, signerDer: Uint8Array): string {
  const bundle = {
    format: FORMAT,
    root: certificateToPem(rootDer),
    policySigner: certificateToPem(signerDer),
  };
  return `${JSON.stringify(bundle, null, 2)}\n`;
}

/** Reads a bundle. Throws `authority-invalid` (unreadable), `certificate-invalid`. */
export function parseBundle(text: string, at: Date): Bundle {
  const { root: rootPem, signer: signerPem } = readBundle(text);
  const root = parseRootCertificate(rootPem);
  const signerCertificate = certificateFromPem(signerPem);
  const signer = verifyPolicySignerCertificate(signerCertificate, root, at);
  if (!(at >= root.notBefore && at <= root.notAfter))
    throw certificateError('expired', 'the root is not valid now');
  return { root, signer, signerCertificate };
}

function readBundle(text: string): { root: string; signer: string } {
  const PEM = /^-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n$/;
  try {
    if (text.length > 4 * limits.certificateBytesMax) throw new JsonShapeError('the bundle is too large');
    const bundle = objectOf(JSON.parse(text), 'the bundle', ['format', 'root', 'policySigner']);
    if (bundle['format'] !== FORMAT) throw new JsonShapeError(`the format is not ${FORMAT}`);
    return {
      root: textOf(bundle['root'], 'root', PEM),
      signer: textOf(bundle['policySigner'], 'policySigner', PEM),
    };
  } catch (cause) {
    if (!(cause instanceof JsonShapeError || cause instanceof SyntaxError)) throw cause;
    throw new TvmmpError('authority-invalid', `the bundle cannot be read: ${cause.message}`, { cause });
  }
}
