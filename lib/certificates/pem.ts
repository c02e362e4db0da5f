/** PEM text (RFC 7468) of certificates to DER and back. */
import { certificateError } from './certificate-error.ts';
import { DER } from './der.ts';

const BLOCK = /-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----/g;

const ATTRIBUTE_BLOCK =
  /-----BEGIN ATTRIBUTE CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END ATTRIBUTE CERTIFICATE-----/g;

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

/** The attribute certificate of a file: DER, or PEM (RFC 7468, 8) that holds exactly one. */
export function attributeCertificateFrom(bytes: Uint8Array): Uint8Array {
  if (bytes[0] === DER.SEQUENCE) return Uint8Array.from(bytes);
  const [only, other] = [...Buffer.from(bytes).toString('latin1').matchAll(ATTRIBUTE_BLOCK)];
  if (only === undefined || other !== undefined)
    throw certificateError('malformed', 'not one attribute certificate, in DER or PEM');
  return Uint8Array.from(Buffer.from(only[1] ?? '', 'base64'));
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
