import { REVOCATIONS_VERSION, announcedRevocations } from '../appraisal/revocation-check.ts';
import type { Channel } from '../protocol/channel.ts';
import type { Message } from '../protocol/messages.ts';
import { ProtocolViolation, requireSession } from '../protocol/step.ts';
import type { Host } from './host.ts';

/**
 * The exchange of revocation lists on one connection (SPEC 1.3), beside the order of messages: a peer whose hello announced an
 * older list than ours gets ours before our next message, and one list of its own is heard.
 */
export class ListExchange {
  readonly #host: Pick<Host, 'revocations' | 'learnRevocations'>;
  #heard = false;
  /** What the peer's hello announced; until it was brought a newer list, which goes out once. */
  #announced: { readonly session: Uint8Array; readonly version: number } | null = null;

  constructor(host: Pick<Host, 'revocations' | 'learnRevocations'>) {
    this.#host = host;
  }

  /** Looks at each message of a session that came. True where it is dealt with: a list is no state machine's business. */
  received(message: Message, session: Uint8Array): boolean {
    if (message.kind === 'hello') {
      const silent = !message.versions.has(REVOCATIONS_VERSION);
      const version = announcedRevocations(message.versions);
      this.#announced = silent ? null : { session: message.session, version };
    }
    if (message.kind !== 'revocations') return false;
    requireSession(message, session);
    if (this.#heard) throw new ProtocolViolation('a second revocation list');
    this.#heard = true;
    this.#host.learnRevocations(message.list);
    return true;
  }

  /** Before each message of ours: a list that is newer than what the peer has, also one that came here only now. */
  async beforeSending(channel: Channel): Promise<void> {
    const told = this.#announced;
    const inForce = this.#host.revocations();
    if (told === null || inForce === null || !(told.version < inForce.list.version)) return;
    const { session } = told;
    this.#announced = null;
    await channel.send({ kind: 'revocations', session, list: inForce.envelope });
  }
}
