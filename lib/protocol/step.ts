import { bytesEqual } from '../bytes/compare.ts';
import type { Message } from './messages.ts';

/** What a state machine answers to an input: where it stands now, and what has to be done, in this order. */
export interface Step<State, Effect> {
  readonly state: State;
  readonly effects: readonly Effect[];
}

/**
 * A peer's message that has no place here: wrong kind for the state, another session, another VM. The state is left as it
 * was; the driver ends the session.
 */
export class ProtocolViolation extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ProtocolViolation';
  }
}

/** Refuses a message of another session: every message carries it, every message is checked (SPEC 6.1). */
export function requireSession(message: Message, session: Uint8Array): void {
  if (!bytesEqual(message.session, session)) {
    throw new ProtocolViolation(`${message.kind} of another session`);
  }
}

/** A message that the state machine does not expect in this state. */
export function unexpected(state: string, input: string): ProtocolViolation {
  return new ProtocolViolation(`${input} has no place in state ${state}`);
}
