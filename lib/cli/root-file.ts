import type { RootCertificate } from '../certificates/root-certificate.ts';
import { readText } from './files.ts';

const ROOT_BYTES_MAX = 64 * 1024;

/** The authority's root certificate, from a PEM file that the user names. Throws `certificate-invalid`, `usage-invalid`. */
export async function rootFrom(file: string): Promise<RootCertificate> {
  const { parseRootCertificate } = await import('../certificates/root-certificate.ts');
  return parseRootCertificate(readText(file, ROOT_BYTES_MAX));
}
