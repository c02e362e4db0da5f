import { parseEnvelope } from '../appraisal/dsse.ts';
import { sha256 } from '../encoding/hash.ts';
import type { Credential } from '../ledger/records.ts';

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
