import { formatPolicyDraft } from '../../../lib/appraisal/policy.ts';

/** An operator's policy of one state: PCR 7 all zeros. */
export function policyText(version: number, id = 'fleet'): string {
  const states = [{ name: 'as delivered', pcrs: new Map([[7, new Uint8Array(32)]]) }];
  return formatPolicyDraft({ id, version, pcrs: [7], states });
}
