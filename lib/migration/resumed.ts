import type { SessionRole, SessionState } from '../ledger/records.ts';
import type { Arrived } from '../protocol/messages.ts';
import type { SourceState } from '../protocol/source.ts';
import type { TargetState } from '../protocol/target.ts';

/** What the journal has of a session that a restart interrupted. */
export interface Interrupted {
  readonly id: Uint8Array;
  readonly role: SessionRole;
  readonly state: SessionState;
  /** Hash of the VM's last entry. */
  readonly head: Uint8Array;
  /** Our signed *arrived* of this session, if there is one. */
  readonly arrived: () => Arrived | null;
}

/** Where one of the two state machines goes on. */
export type Resumed =
  | { readonly role: 'source'; readonly state: SourceState }
  | { readonly role: 'target'; readonly state: TargetState };

/** State machine positions that the journal's record stands for (SPEC 6.8); null: nothing was committed. Pure. */
export function resumedState({ id: session, role, state, head, arrived }: Interrupted): Resumed | null {
  switch (state) {
    case 'offered':
      return { role: 'source', state: { tag: 'offered', session, head } };
    case 'staged':
      return role === 'source'
        ? { role: 'source', state: { tag: 'staged', session, head } }
        : { role: 'target', state: { tag: 'staged', session, head } };
    case 'declined':
      return { role: 'source', state: { tag: 'declined', session } };
    case 'aborting':
      return { role: 'source', state: { tag: 'aborting', session, head } };
    case 'destroying':
      return { role: 'source', state: { tag: 'destroying', session, head } };
    case 'giving-up':
      return { role, state: { tag: 'giving-up', session } };
    case 'arriving':
      return { role: 'target', state: { tag: 'arriving', session } };
    case 'arrived': {
      const message = arrived();
      return message === null ? null : { role: 'target', state: { tag: 'arrived', session, message } };
    }
    default:
      return null;
  }
}
