/** PKCS #10 requests (RFC 2986): proof that whoever asks for a TLS certificate has its key. Subject and names in them are ignored. */
import type { KeyObject } from 'node:crypto';
import { ByteReader } from '../bytes/reader.ts';
import { limits } from '../limits.ts';
import { certificateError } from './certificate-error.ts';
import { importKeyPair } from './issue.ts';
import type { KeyPair } from './issue.ts';
import { keyOfSpki } from './public-key.ts';
import { x509 } from './x509-library.ts';

/** Makes a request for an EC P-256 key: DER. */
export async function createCertificateRequest(keys: KeyPair): Promise<Uint8Array> {
  const request = await x509().Pkcs10CertificateRequestGenerator.create({
    keys: await importKeyPair(keys),
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
  });
  return new Uint8Array(request.rawData);
}

/** Verifies a request (DER, untrusted) and returns its EC P-256 key. Throws `certificate-invalid`. */
export async function verifyCertificateRequest(der: Uint8Array): Promise<KeyObject> {
  if (der.byteLength > limits.certificateBytesMax) {
    throw certificateError('malformed', `a certificate request of ${der.byteLength} bytes`);
  }
  const { key, signed } = await readRequest(Uint8Array.from(der));
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw certificateError('wrong-usage', 'a TLS key has to be on the curve P-256');
  }
  if (!signed)
    throw certificateError('bad-signature', 'the certificate request is not signed by its own key');
  return key;
}

async function readRequest(der: Uint8Array): Promise<{ key: KeyObject; signed: boolean }> {
  try {
    assertOneSequence(der);
    const request = new (x509().Pkcs10CertificateRequest)(der);
    return {
      key: keyOfSpki(new Uint8Array(request.publicKey.rawData)),
      signed: await request.verify(),
    };
  } catch (cause) {
    const { message } = cause as Error;
    throw certificateError('malformed', `the certificate request cannot be read: ${message}`, cause);
  }
}

/** The X.509 library ignores what follows a request: the outer SEQUENCE (X.690 8.1.3) has to take all bytes. */
function assertOneSequence(der: Uint8Array): void {
  const reader = new ByteReader(der, { what: 'PKCS #10' });
  if (reader.u8() !== 0x30) reader.fail('not a DER sequence');
  const first = reader.u8();
  const length = first < 0x80 ? first : first === 0x81 ? reader.u8() : first === 0x82 ? reader.u16be() : -1;
  if (length !== reader.remaining) reader.fail('not exactly one DER sequence');
}
