/** An authority in memory: root, policy signer, and whatever certificates a test wants of them. */
import { generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { signPolicy } from '../../lib/appraisal/policy.ts';
import type { PolicyDraft } from '../../lib/appraisal/policy.ts';
import {
  issueAgentCertificate,
  issueHostCertificate,
  issueMigrationCertificate,
  issuePolicySigner,
  issueRoot,
} from '../../lib/certificates/issue.ts';
import type { KeyPair, Validity } from '../../lib/certificates/issue.ts';
import { parseRootCertificate } from '../../lib/certificates/root-certificate.ts';
import type { RootCertificate } from '../../lib/certificates/root-certificate.ts';

/** What certificates of a test are valid for, unless it says otherwise. */
export const testValidity: Validity = {
  notBefore: new Date('2020-01-01T00:00:00Z'),
  notAfter: new Date('2046-01-01T00:00:00Z'),
};

/** An EC P-256 key pair. */
export function testKeyPair(): KeyPair {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

/** A root key, a policy key, and shorthands to issue with them. */
export interface TestAuthority {
  readonly root: RootCertificate;
  readonly rootKeys: KeyPair;
  readonly policyKeys: KeyPair;
  /** DER of the policy signer's certificate. */
  readonly policySigner: Uint8Array;
  signPolicy(draft: PolicyDraft, issuedAt?: Date): string;
  hostCertificate(
    host: {
      name: string;
      akName: Uint8Array;
      receiveKeyName: Uint8Array;
      attributes?: ReadonlyMap<string, string | number>;
    },
    key: KeyObject,
    validity?: Validity,
  ): Promise<Uint8Array>;
  agentCertificate(name: string, key: KeyObject, addresses?: string[]): Promise<Uint8Array>;
  migrationCertificate(name: string, key: KeyObject, addresses?: string[]): Promise<Uint8Array>;
}

/** Makes an authority with new keys. */
export async function makeTestAuthority(name = 'Test'): Promise<TestAuthority> {
  const rootKeys = testKeyPair();
  const policyKeys = testKeyPair();
  const root = parseRootCertificate(await issueRoot(`${name} root`, rootKeys, testValidity));
  const issuer = { certificate: root, privateKey: rootKeys.privateKey };
  return {
    root,
    rootKeys,
    policyKeys,
    policySigner: await issuePolicySigner(issuer, `${name} policy`, policyKeys.publicKey, testValidity),
    signPolicy: (draft, issuedAt = testValidity.notBefore) => signPolicy(draft, issuedAt, policyKeys),
    hostCertificate: (host, key, validity = testValidity) =>
      issueHostCertificate(issuer, host, key, validity),
    agentCertificate: (host, key, addresses = []) =>
      issueAgentCertificate(issuer, { name: host, addresses }, key, testValidity),
    migrationCertificate: (host, key, addresses = []) =>
      issueMigrationCertificate(issuer, { name: host, addresses }, key, testValidity),
  };
}
