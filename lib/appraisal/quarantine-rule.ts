/** The member `quarantine` of a policy (SPEC 16): how often a host appraises itself, and what its VMs may do where it fails. */
import type { JsonPlace } from '../encoding/json-place.ts';
import { limits } from '../limits.ts';

/** Whether VMs may leave a host that is quarantined: not at all, or to hosts that are trusted. */
export type QuarantineLeave = 'never' | 'trusted';

/** As the policy's JSON has it. */
export interface QuarantineRule {
  /** Longest time between two appraisals of a host by itself, seconds. */
  readonly everySeconds: number;
  readonly leave: QuarantineLeave;
}

export const quarantineMember = 'quarantine';

/** Form of `leave`; the policy's JSON Schema is written from it too. */
export const quarantineLeaveForm = /^(?:never|trusted)$/;

/** Reads the member. Throws JsonFaultError. */
export function readQuarantineRule(place: JsonPlace): QuarantineRule {
  const members = place.object(['everySeconds', 'leave']);
  const everySeconds = members.everySeconds.integer(
    limits.selfAppraisalSecondsMin,
    limits.selfAppraisalSecondsMax,
  );
  const leave = members.leave.text(quarantineLeaveForm);
  return { everySeconds, leave: leave === 'trusted' ? 'trusted' : 'never' };
}
