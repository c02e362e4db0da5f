import type { RefusalHint } from '../protocol/messages.ts';

/** More about a refusal. */
export interface RefusalDetails {
  /** JSON of the verdict, where a peer was appraised. */
  readonly verdict?: string;
  /** What the peer may know of it. */
  readonly hint?: RefusalHint;
}

/**
 * A decision against a move, a start or an import, on its way to the operator: one line with the reason first, and what to do.
 * Not a fault: everything works, and the answer is no (SPEC 9).
 */
export class Refused extends Error {
  readonly verdict: string | null;
  readonly hint: RefusalHint | null;

  constructor(reason: string, details: RefusalDetails = {}) {
    super(reason);
    this.name = 'Refused';
    this.verdict = details.verdict ?? null;
    this.hint = details.hint ?? null;
  }
}

/** What a peer's hint means to the user at this end, and what to do. */
export const hintTexts: Readonly<Record<RefusalHint, string>> = {
  'no-tls': 'no-tls: memory would travel in clear; add --tls to virsh migrate',
  postcopy: 'post-copy cannot be undone once it has begun; migrate without --postcopy',
  offline: 'an offline migration moves no vTPM; migrate the running VM',
  unsafe: '--unsafe is not for protected VMs',
  'no-job': 'libvirt at the source has no outgoing migration of this VM under way',
  'not-running': 'the VM does not run at the source',
  busy: 'another migration of this VM is under way',
  'not-holder': 'that host does not hold this VM',
};
