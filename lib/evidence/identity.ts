/** How hosts and policies are named in messages and entries (SPEC 3). Names alone: nothing is verified by them. */
import { hash, hostName, record, textUpTo, tpmName, uintUpTo } from '../encoding/shape.ts';
import type { Of } from '../encoding/shape.ts';

/** `host-id`: a host by its name, its AK's TPM name, and SHA-256 of its AK certificate's DER. */
export const hostId = record({ name: hostName, akName: tpmName, certificate: hash });
export type HostId = Of<typeof hostId>;

/** `policy-id`: a policy by its id, version, and SHA-256 of its DSSE payload. */
export const policyId = record({ id: textUpTo(128), version: uintUpTo(), digest: hash });
export type PolicyId = Of<typeof policyId>;
