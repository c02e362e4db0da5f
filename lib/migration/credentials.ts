import { parseEnvelope } from '../appraisal/dsse.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { sha256 } from '../encoding/hash.ts';
import { TvmmpError } from '../errors.ts';
import type { Credential } from '../ledger/records.ts';
import { decodeEntry } from '../proof/entry.ts';
import type { SignedEntry } from '../proof/entry.ts';
import type { Host } from './host.ts';

/** Certificates (DER) and policies (DSSE envelopes) as the journal keeps them: by digest of DER and of payload. */
export function credentialsOf(given: {
  readonly certificates: readonly Uint8Array[];
  readonly policies: readonly string[];
}): readonly Credential[] {
  return [
    ...given.certificates.map((bytes) => ({ kind: 'certificate' as const, digest: sha256(bytes), bytes })),
    ...given.policies.map((text) => ({
      kind: 'policy' as const,
      digest: sha256(parseEnvelope(text).payload),
      bytes: Buffer.from(text, 'utf8'),
    })),
  ];
}

/** Certificates and policy behind this host's signatures of now. */
export function ownCredentials(host: Host): readonly Credential[] {
  const { identity, policy } = host;
  return credentialsOf({
    certificates: [identity.akCertificate, ...identity.signerCertificates],
    policies: [policy().envelope],
  });
}

/** What verifies one entry that this host signed, by the digests in it: its policy or certificate may have been replaced since. */
export function credentialsFor(
  host: Host,
  signed: SignedEntry,
): { readonly certificates: readonly Uint8Array[]; readonly policies: readonly string[] } {
  const entry = decodeEntry(signed.entry);
  const held = [...host.journal.credentials(entry.vm), ...ownCredentials(host)];
  const find = (kind: Credential['kind'], digest: Uint8Array): Uint8Array => {
    const found = held.find(
      (credential) => credential.kind === kind && bytesEqual(credential.digest, digest),
    );
    if (found === undefined)
      throw new TvmmpError('internal', `the ${kind} of an entry of ours is not in the journal`);
    return found.bytes;
  };
  return {
    certificates: [find('certificate', entry.host.certificate), ...host.identity.signerCertificates],
    policies: [Buffer.from(find('policy', entry.policy.digest)).toString('utf8')],
  };
}
