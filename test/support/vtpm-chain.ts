/** A vTPM CA of a test authority, and certificates of endorsement keys by it (SPEC 1.1). */
import { generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { issueVtpmRootVoucher } from '../../lib/certificates/issue.ts';
import type { KeyPair, Validity } from '../../lib/certificates/issue.ts';
import { issueVtpmCa, verifyVtpmCa } from '../../lib/certificates/vtpm-ca.ts';
import type { VtpmChain, VtpmIssuers } from '../../lib/certificates/vtpm-chain.ts';
import { issueVtpmCertificate } from '../../lib/certificates/vtpm-certificate.ts';
import type { VtpmSigner, VtpmSubject } from '../../lib/certificates/vtpm-certificate.ts';
import { issueVtpmRoot, parseVtpmRoot } from '../../lib/certificates/vtpm-root.ts';
import { testKeyPair, testValidity } from './test-authority.ts';
import type { TestAuthority } from './test-authority.ts';

export const testVtpm: VtpmSubject['vtpm'] = {
  manufacturer: 'id:00001014',
  model: 'swtpm',
  version: 'id:20191023',
  specification: { family: '2.0', level: 0, revision: 164 },
};

/** Signs with a key in software what a TPM signs in earnest. */
export function softwareSigner({ privateKey }: KeyPair): VtpmSigner {
  return (tbs) =>
    Promise.resolve(Uint8Array.from(sign('sha256', tbs, { key: privateKey, dsaEncoding: 'ieee-p1363' })));
}

/** The root of vTPMs of a test authority. */
export interface TestVtpmRoot {
  readonly keys: KeyPair;
  readonly der: Uint8Array;
  readonly voucher: Uint8Array;
}

export async function makeVtpmRoot(
  authority: TestAuthority,
  { voucherFor, validity = testValidity }: { voucherFor?: KeyObject; validity?: Validity } = {},
): Promise<TestVtpmRoot> {
  const keys = testKeyPair();
  const issuer = { certificate: authority.root, privateKey: authority.rootKeys.privateKey };
  return {
    keys,
    der: await issueVtpmRoot('Test vTPM root', keys, validity),
    voucher: await issueVtpmRootVoucher(issuer, voucherFor ?? keys.publicKey, testValidity),
  };
}

/** A host's vTPM CA under a root of vTPMs. */
export async function makeVtpmCa(
  root: TestVtpmRoot,
  host: { name: string; akName: Uint8Array },
  { keys = testKeyPair(), validity = testValidity }: { keys?: KeyPair; validity?: Validity } = {},
): Promise<{ keys: KeyPair; issuers: VtpmIssuers }> {
  const issuer = { certificate: parseVtpmRoot(root.der).certificate, privateKey: root.keys.privateKey };
  const ca = await issueVtpmCa(issuer, host, keys.publicKey, validity);
  return { keys, issuers: { ca, root: root.der, voucher: root.voucher } };
}

/** The chain of a vTPM that a test host made. */
export async function makeVtpmChain(
  made: { keys: KeyPair; issuers: VtpmIssuers },
  subject: { uuid: string; publicKey?: KeyObject; name?: string },
  validity: Validity = testValidity,
): Promise<VtpmChain> {
  const ca = verifyVtpmCa(made.issuers.ca, parseVtpmRoot(made.issuers.root), testNow);
  const certificate = await issueVtpmCertificate(
    ca,
    {
      uuid: subject.uuid,
      name: subject.name ?? 'web',
      publicKey: subject.publicKey ?? generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey,
      vtpm: testVtpm,
    },
    validity,
    softwareSigner(made.keys),
  );
  return { ...made.issuers, certificate };
}

/** A time at which everything here is valid, unless a test says otherwise. */
export const testNow = new Date('2027-01-01T00:00:00Z');
