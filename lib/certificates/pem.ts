/** PEM text (RFC 7468) of certificates to DER and back. */
import { certificateError } from './certificate-error.ts';

const BLOCK = /-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----/g;

/** All certificates of a PEM text in their order; other text between them is allowed, none at all is not. */
export function certificatesFromPem(text: string): readonly Uint8Array[] {
  const blocks = [...text.matchAll(BLOCK)].map(([, body = '']) =>
    Uint8Array.from(Buffer.from(body, 'base64')),
  );
  if (blocks.length === 0) throw certificateError('malformed', 'no PEM certificate in the text');
  return blocks;
}

/** The certificate of a PEM text that must hold exactly one. */
export function certificateFromPem(text: string): Uint8Array {
  const [der, ...others] = certificatesFromPem(text);
  if (der === undefined || others.length > 0) {
    throw certificateError('malformed', `${others.length + 1} PEM certificates in the text, not one`);
  }
  return der;
}

/** PEM text of a DER certificate. */
export function certificateToPem(der: Uint8Array): string {
  return pem('CERTIFICATE', der);
}

/** PEM text of a DER certificate signing request. */
export function requestToPem(der: Uint8Array): string {
  return pem('CERTIFICATE REQUEST', der);
}

function pem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n');
}
