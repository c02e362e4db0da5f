import {
  PEER_REVOCATIONS_VERSION,
  REVOCATIONS_VERSION,
  announcedRevocations,
} from '../appraisal/revocation-check.ts';
import type { Channel } from '../protocol/channel.ts';
import type { Message } from '../protocol/messages.ts';
import { ProtocolViolation, requireSession } from '../protocol/step.ts';
import { learnDomainRevocations } from './domain-revocations.ts';
import type { Host } from './host.ts';

/** Takes the lists that a peer of another domain brings: those of its own authority alone. */
interface ForeignLists {
  readonly learn: (envelope: string) => void;
}

/** What takes the lists of the peer at the other end; null for one of our own domain. */
export function foreignLists(
  host: Pick<Host, 'journal' | 'policy'>,
  channel: Pick<Channel, 'peerRoot'> | null,
): ForeignLists | null {
  const root = channel?.peerRoot;
  if (root === undefined) return null;
  return { learn: (envelope) => void learnDomainRevocations(host, root, envelope) };
}

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

  /**
   * Looks at each message of a session that came. True where it is dealt with: a list is no state machine's business. `foreign`: what takes the lists
   * of a peer of another domain; such a peer says under another name which of our lists it has (SPEC 17.2).
   */
  received(message: Message, session: Uint8Array, foreign: ForeignLists | null = null): boolean {
    if (message.kind === 'hello') {
      const member = foreign === null ? REVOCATIONS_VERSION : PEER_REVOCATIONS_VERSION;
      const silent = !message.versions.has(member);
      const version = announcedRevocations(message.versions, member);
      this.#announced = silent ? null : { session: message.session, version };
    }
    if (message.kind !== 'revocations') return false;
    requireSession(message, session);
    if (this.#heard) throw new ProtocolViolation('a second revocation list');
    this.#heard = true;
    if (foreign === null) this.#host.learnRevocations(message.list);
    else foreign.learn(message.list);
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
