import type { RefusalHint } from '../protocol/messages.ts';
import type { Host } from './host.ts';

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

/** Keeps a refusal for `tvmmp explain`. One that cannot be written down has been decided all the same. */
export function noteRefusal(
  host: Host,
  refusal: {
    readonly vm: string | null;
    readonly peer: string | null;
    readonly operation: string;
    readonly why: Error;
  },
): void {
  const { vm, peer, operation, why } = refusal;
  try {
    const verdict = why instanceof Refused ? why.verdict : null;
    host.journal.addRefusal({ time: host.now(), vm, peer, operation, reason: why.message, verdict });
  } catch (error) {
    host.log.error({ vm, reason: why.message, error: String(error) }, 'a refusal could not be written down');
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
