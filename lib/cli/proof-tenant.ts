/** What a verified proof says to the tenant of the VM (SPEC 10.5). */
import type { KeyObject } from 'node:crypto';
import { bytesEqual } from '../bytes/compare.ts';
import { spkiDigest } from '../certificates/public-key.ts';
import { hex } from '../encoding/hex.ts';
import type { VerifiedProof } from '../proof/verify.ts';

/** Why the proof is not one of a VM of this tenant on hosts that satisfied its policies; null where it is. */
export function tenantProofFault(proof: VerifiedProof, key: KeyObject): string | null {
  const { tenant, entries, checkpoint } = proof;
  if (tenant === null) return 'the VM has no tenant policy';
  if (!bytesEqual(tenant.keyDigest, spkiDigest(key)))
    return `its tenant policy is signed by another key, ${hex(tenant.keyDigest)}`;
  const bound = entries.findIndex(({ entry }) => entry.kind === 'bound');
  const arrived = entries.findIndex(({ entry: { kind } }) => kind === 'arrived' || kind === 'recovered');
  if (checkpoint === null && arrived >= 0 && arrived < bound)
    return 'the VM moved before it had a tenant policy';
  return null;
}

/** The tenant policy in force, for `--json`. */
export function tenantJson({ tenant }: VerifiedProof): unknown {
  if (tenant === null) return null;
  const { version, condition, keyDigest } = tenant;
  return { version, condition, key: hex(keyDigest) };
}
