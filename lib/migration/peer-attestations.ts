import { randomBytes } from 'node:crypto';
import { appraiseHost } from '../appraisal/appraise.ts';
import { isAccepted, verdictReason } from '../appraisal/verdict.ts';
import type { Verdict } from '../appraisal/verdict.ts';
import { TvmmpError } from '../errors.ts';
import type { Claim } from '../evidence/claim.ts';
import { limits } from '../limits.ts';
import type { Channel } from '../protocol/channel.ts';
import { checkPeerHello, noVm } from '../protocol/hello.ts';
import type { EvidenceMessage, Hello, Message } from '../protocol/messages.ts';
import { ProtocolViolation, requireSession } from '../protocol/step.ts';
import { nameOf } from '../tpm/public-area.ts';
import { groundOf, ownHello, statements } from './hello.ts';
import { ListExchange } from './list-exchange.ts';
import { ESSENTIAL } from './log-appraisals.ts';
import type { LogExchange } from './log-appraisals.ts';
import { ownClaim } from './own-evidence.ts';
import { noteStanding } from './peer-standing.ts';
import type { Services } from './services.ts';

type Parts = Pick<Services, 'host' | 'quotes' | 'logs' | 'platform'>;

/** What became of attesting this host to one of its peers, for the operator. */
export interface AttestedTo {
  readonly address: string;
  /** Its name; null before it was reached. */
  readonly peer: string | null;
  /** Null before an answer. */
  readonly outcome: 'accepted' | 'refused' | null;
  /** Of that answer, milliseconds since 1970. */
  readonly time: number | null;
  /** Why there was none the last time; '' where there was. */
  readonly problem: string;
}

/** What is still to be done for one peer. */
interface Due {
  /** The appraisal of this host that it was last told of. */
  told: number;
  /** By `Timers.elapsed`. */
  nextAt: number;
  failures: number;
  busy: boolean;
}

/**
 * Attests this host to the peers of its configuration, and hears those that attest themselves here (SPEC 16.4): what a host finds about
 * itself is its own word, and what they find is not.
 */
export class PeerAttestations {
  readonly #parts: Parts;
  readonly #due = new Map<string, Due>();
  readonly #status = new Map<string, AttestedTo>();
  /** Names of hosts that attest themselves here now. */
  readonly #answering = new Set<string>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  status(): readonly AttestedTo[] {
    return this.#parts.host.settings.peers.map((address) => this.#statusOf(address));
  }

  /** Attests this host wherever that was not done since the given appraisal of itself. Does not wait for it. */
  attest(appraisal: number): void {
    if (appraisal === 0) return;
    const { host } = this.#parts;
    const now = host.timers.elapsed();
    for (const address of host.settings.peers) {
      const due = this.#due.get(address) ?? { told: 0, nextAt: -Infinity, failures: 0, busy: false };
      this.#due.set(address, due);
      if (due.busy || due.told === appraisal || now < due.nextAt) continue;
      due.busy = true;
      void this.#attest(address, due, appraisal).finally(() => {
        due.busy = false;
      });
    }
  }

  async #attest(address: string, due: Due, appraisal: number): Promise<void> {
    const { host } = this.#parts;
    try {
      const { peer, outcome } = await this.#attestAt(address);
      const before = this.#statusOf(address).outcome;
      this.#status.set(address, { address, peer, outcome, time: host.now(), problem: '' });
      if (outcome === 'refused' && before !== 'refused')
        host.log.error(
          { peer },
          'a peer refuses this host: its operator finds the reason in `tvmmp explain` there',
        );
      if (outcome === 'accepted' && before !== 'accepted')
        host.log.info({ peer }, 'a peer accepts this host');
      due.told = appraisal;
      due.failures = 0;
    } catch (error) {
      due.failures += 1;
      const backOff = Math.min(limits.selfAppraisalPauseMs * 2 ** (due.failures - 1), limits.attestBackOffMs);
      due.nextAt = host.timers.elapsed() + backOff;
      const problem = error instanceof Error ? error.message : String(error);
      this.#status.set(address, { ...this.#statusOf(address), problem });
      host.log.warn({ address, error: String(error) }, 'this host could not attest itself to a peer');
    }
  }

  #statusOf(address: string): AttestedTo {
    return this.#status.get(address) ?? { address, peer: null, outcome: null, time: null, problem: '' };
  }

  async #attestAt(address: string): Promise<{ peer: string; outcome: 'accepted' | 'refused' }> {
    const { host } = this.#parts;
    const channel = await host.connect(address);
    requireOwnDomain(channel);
    const session = new Uint8Array(randomBytes(32));
    const talk = new Talk(host, channel, session);
    try {
      const own = ownHello(host, 'target', session, noVm);
      await talk.send(own);
      const hello = await talk.next();
      if (hello.kind !== 'hello') throw new ProtocolViolation(`${hello.kind} in the place of a hello`);
      checkPeerHello(own, hello);
      const statement = statements(channel, own, hello).target;
      const shown = { peer: hello.host, session, statement, send: talk.send.bind(talk) };
      const claim = await ownClaim(this.#parts, hello.wanted, shown);
      await talk.send({ kind: 'evidence', session, claim });
      const answer = await talk.next();
      if (answer.kind !== 'attested' && answer.kind !== 'refused')
        throw new ProtocolViolation(`${answer.kind} in the place of an answer`);
      return { peer: channel.peerName, outcome: answer.kind === 'attested' ? 'accepted' : 'refused' };
    } finally {
      channel.close();
    }
  }

  /** Answers a host that attests itself: appraises it as a target, keeps the verdict, and tells whether it was accepted. */
  async answer(channel: Channel, peer: Hello): Promise<void> {
    const { host, logs } = this.#parts;
    const name = channel.peerName;
    requireOwnDomain(channel);
    if (this.#answering.has(name) || this.#answering.size >= limits.peerAttestationsAtOnceMax)
      throw new TvmmpError(
        'limit-exceeded',
        `${name} attests itself, and others do: ${this.#answering.size}`,
      );
    this.#answering.add(name);
    const { session } = peer;
    const talk = new Talk(host, channel, session);
    let exchange: LogExchange | null = null;
    try {
      const own = ownHello(host, 'source', session, noVm, logs.wantedOf(channel.peerName));
      checkPeerHello(own, peer);
      talk.heard(peer);
      exchange = own.wanted === undefined ? null : logs.begin(channel.peerName, own.wanted);
      await talk.send(own);
      const { claim } = await this.#evidence(talk, exchange);
      const verdict = await this.#appraise(channel, { own, peer, claim, exchange });
      const genuine = ESSENTIAL.every((name) =>
        verdict.checks.some((check) => check.name === name && check.outcome === 'pass'),
      );
      if (genuine) noteStanding(host, verdict, nameOf(peer.akPublic));
      else
        host.log.warn({ peer: channel.peerName, reason: verdictReason(verdict) }, 'not a peer’s attestation');
      await talk.send(
        isAccepted(verdict) ? { kind: 'attested', session } : { kind: 'refused', session, hint: null },
      );
    } finally {
      this.#answering.delete(name);
      exchange?.end();
      channel.close();
    }
  }

  async #evidence(talk: Talk, exchange: LogExchange | null): Promise<EvidenceMessage> {
    for (;;) {
      const message = await talk.next();
      if (message.kind === 'evidence') return message;
      if (message.kind !== 'log' || exchange === null)
        throw new ProtocolViolation(`${message.kind} in the place of evidence`);
      await exchange.received(message, talk.session);
    }
  }

  async #appraise(
    channel: Channel,
    heard: {
      readonly own: Hello;
      readonly peer: Hello;
      readonly claim: Claim;
      readonly exchange: LogExchange | null;
    },
  ): Promise<Verdict> {
    const { host } = this.#parts;
    const { own, peer, claim, exchange } = heard;
    const findings = (await exchange?.finish(claim)) ?? null;
    const verdict = appraiseHost({
      vm: noVm,
      session: peer.session,
      ...groundOf(host),
      requiredPolicyVersion: 1,
      tlsPeerName: channel.peerName,
      statement: statements(channel, own, peer).target,
      hello: peer,
      claim,
      logs: findings,
    });
    exchange?.concluded(findings, verdict);
    return verdict;
  }
}

/** Outside of a hand-over hosts attest themselves within their domain (SPEC 17.2). */
function requireOwnDomain(channel: Channel): void {
  if (channel.peerRoot === undefined) return;
  channel.close();
  throw new TvmmpError('peer-untrusted', `${channel.peerName} is a host of another domain`);
}

/** The messages of one attestation, with the revocation lists that travel beside them (SPEC 1.3). */
class Talk {
  readonly session: Uint8Array;
  readonly #channel: Channel;
  readonly #lists: ListExchange;

  constructor(host: Services['host'], channel: Channel, session: Uint8Array) {
    this.#channel = channel;
    this.session = session;
    this.#lists = new ListExchange(host);
  }

  /** Takes note of a hello that came before. */
  heard(hello: Hello): void {
    this.#lists.received(hello, this.session);
  }

  async send(message: Message): Promise<void> {
    await this.#lists.beforeSending(this.#channel);
    await this.#channel.send(message);
  }

  async next(): Promise<Message> {
    for (;;) {
      const message = await this.#channel.receive(limits.messageDeadlineMs);
      requireSession(message, this.session);
      if (!this.#lists.received(message, this.session)) return message;
    }
  }
}
