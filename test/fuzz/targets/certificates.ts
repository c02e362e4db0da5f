/** What hosts, authorities and manufacturers hand over as X.509 (SPEC 1.1, 1.2). */
import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { parseBundle } from '../../../lib/authority/bundle.ts';
import { verifyEkCertificate } from '../../../lib/authority/endorsement.ts';
import { verifyCertificateRequest } from '../../../lib/certificates/certificate-request.ts';
import {
  certificateHostName,
  verifyAgentCertificate,
  verifyHostCertificate,
  verifyMigrationCertificate,
} from '../../../lib/certificates/host-certificate.ts';
import { certificateFromPem, certificatesFromPem } from '../../../lib/certificates/pem.ts';
import { verifyPolicySignerCertificate } from '../../../lib/certificates/policy-signer-certificate.ts';
import { parseRootCertificate } from '../../../lib/certificates/root-certificate.ts';
import { parseCertificate } from '../../../lib/certificates/untrusted-certificate.ts';
import { TvmmpError } from '../../../lib/errors.ts';
import { decodeProof } from '../../../lib/proof/proof.ts';
import type { Target } from '../target.ts';

const vector = JSON.parse(
  readFileSync(new URL('../../vectors/proof/good-there-and-back.json', import.meta.url), 'utf8'),
) as { root: string; proof: string };
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));
const rootDer = bytes(vector.root);
const root = parseRootCertificate(rootDer);
const issued = decodeProof(bytes(vector.proof)).certificates;
const at = new Date('2030-01-01T00:00:00Z');

/** Whether `parse` accepts; its refusals are answers too. */
function attempt(parse: () => unknown): boolean {
  try {
    parse();
    return true;
  } catch (error) {
    if (error instanceof TvmmpError && error.code === 'certificate-invalid') return false;
    throw error;
  }
}

const certificate: Target = {
  name: 'certificate',
  about: 'a certificate: read as it is, judged as every kind that hosts and authorities have',
  seeds: () => [rootDer, ...issued],
  form: 'der',
  refusals: ['certificate-invalid'],
  bytesMax: 2048,
  executions: 1500,
  run: (input) => {
    assert.deepEqual(parseCertificate(input).der, input);
    const verifiers = [
      verifyHostCertificate,
      verifyAgentCertificate,
      verifyMigrationCertificate,
      verifyPolicySignerCertificate,
    ];
    const kinds = verifiers.filter((verify) => attempt(() => verify(input, root, at)));
    assert.ok(kinds.length <= 1, 'one certificate serves two purposes');
    attempt(() => parseRootCertificate(input));
    attempt(() => certificateHostName(input));
  },
};

/** A manufacturer's root, an intermediate and an EK certificate, made with openssl. */
const [ekRoot, ekIntermediate, ekLeaf] = certificatesFromPem(
  readFileSync(new URL('ek-chain.pem', import.meta.url), 'utf8'),
).map((der) => parseCertificate(der));
if (ekRoot === undefined || ekIntermediate === undefined || ekLeaf === undefined) {
  throw new Error('ek-chain.pem holds three certificates');
}
const ekTrust = { roots: [ekRoot], intermediates: [ekIntermediate] };

const endorsement: Target = {
  name: 'ek-certificate',
  about: 'an EK certificate that a host says its TPM has, or an intermediate above it',
  seeds: () => [ekLeaf.der, ekIntermediate.der, ...issued],
  form: 'der',
  refusals: ['certificate-invalid'],
  bytesMax: 2048,
  executions: 1500,
  run: (input) => {
    const parsed = parseCertificate(input);
    const above = { ...ekTrust, intermediates: [parsed] };
    attempt(() => verifyEkCertificate(ekLeaf.der, above, at));
    assert.deepEqual(verifyEkCertificate(input, ekTrust, at).der, input);
  },
};

const request: Target = {
  name: 'certificate-request',
  about: 'PKCS #10 of a TLS key (SPEC 1.2)',
  seeds: () => [],
  form: 'der',
  refusals: ['certificate-invalid'],
  bytesMax: 2048,
  executions: 2000,
  run: async (input) => {
    await verifyCertificateRequest(input);
  },
};

const bundle: Target = {
  name: 'bundle',
  about: 'the authority’s bundle, and PEM text: what an operator hands to a host',
  seeds: () => [],
  form: 'json',
  refusals: ['authority-invalid', 'certificate-invalid'],
  bytesMax: 4096,
  executions: 3000,
  run: (input) => {
    const text = Buffer.from(input).toString();
    const parsers = [
      () => certificatesFromPem(text).map((der) => parseCertificate(der)),
      () => certificateFromPem(text),
      () => parseRootCertificate(text),
    ];
    for (const parse of parsers) attempt(parse);
    parseBundle(text, at);
  },
};

export const certificateTargets: readonly Target[] = [certificate, endorsement, request, bundle];
