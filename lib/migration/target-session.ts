import { TvmmpError } from '../errors.ts';
import type { TrustedPeer } from '../appraisal/trusted-peer.ts';
import type { SessionState } from '../ledger/records.ts';
import { decodeProof } from '../proof/proof.ts';
import type { Channel } from '../protocol/channel.ts';
import type { Arrived, Departed, EvidenceMessage, Hello, Offer } from '../protocol/messages.ts';
import { stepTarget, targetStart } from '../protocol/target.ts';
import type { TargetEffect, TargetInput, TargetState } from '../protocol/target.ts';
import { homeSeen, requireMayCome } from './crossing.ts';
import { deferred } from './deferred.ts';
import { disclaim, offeredHead } from './disclaimers.ts';
import { SessionDriver } from './driver.ts';
import { ownHello, requireChannel, statements, trustPeer } from './hello.ts';
import { discardIncoming } from './incoming.ts';
import type { Incoming, IncomingDomain } from './incoming.ts';
import { cameHere } from './incoming-definition.ts';
import { acceptProof, checkDeparting, claimedPolicyVersion, claimedQuarantine } from './offered-proof.ts';
import type { AcceptedProof } from './offered-proof.ts';
import { noteTrouble } from './problem.ts';
import { ownClaim } from './own-evidence.ts';
import { requireMayLeaveFrom } from './peer-standing.ts';
import { requireMayReceive } from './quarantine.ts';
import { hintTexts, noteRefusal, Refused } from './refused.ts';
import { giveUpCopy } from './resolution.ts';
import type { Services } from './services.ts';
import { stage } from './staging.ts';
import { recordDeparture, signArrived } from './target-entries.ts';
import { requireTenantAgreesToUs } from './tenant.ts';

const journalled: Readonly<Partial<Record<TargetState['tag'], SessionState>>> = {
  refused: 'refused',
  arriving: 'arriving',
  resolved: 'resolved',
  'given-up': 'given-up',
};

/** What became of a hand-over at its target. */
type TargetOutcome = 'done' | 'aborted' | 'refused' | 'resolved' | 'given-up';

const endings: ReadonlySet<TargetState['tag']> = new Set<TargetOutcome>([
  'done',
  'aborted',
  'refused',
  'resolved',
  'given-up',
]);

/** One hand-over at the host that the VM comes to: lib/protocol/target.ts made real. */
export class TargetSession extends SessionDriver<TargetState, TargetInput, TargetEffect> implements Incoming {
  protected readonly role = 'target';
  readonly session: Uint8Array;
  readonly uuid: string;
  readonly domain: IncomingDomain | null;
  /** Resolves when the VM may come in; rejects with the reason when it may not. */
  readonly admitted: Promise<undefined>;
  readonly finished: Promise<TargetOutcome>;
  readonly #services: Services;
  readonly #admit = deferred<undefined>();
  readonly #finish = deferred<TargetOutcome>();
  /** When *arrived* was signed, milliseconds since 1970. */
  arrivedAt: number | null = null;
  #accepted: AcceptedProof | null = null;
  #anchored: Promise<void> | null = null;
  #source: string | null = null;

  constructor(
    services: Services,
    uuid: string,
    session: Uint8Array,
    domain: IncomingDomain | null,
    state: TargetState = targetStart,
  ) {
    super(state, null, services);
    this.#services = services;
    this.uuid = uuid;
    this.session = session;
    this.domain = domain;
    this.admitted = this.#admit.promise;
    this.finished = this.#finish.promise;
  }

  /** Opens the session: our hook saw the VM come (plain `virsh migrate`). */
  async open(channel: Channel): Promise<void> {
    this.channel = channel;
    this.#source = channel.peerName;
    await this.input({ kind: 'open', own: this.#hello(channel) });
    void this.listen();
  }

  /** Answers a source that opened it (`tvmmp migrate`). */
  async answer(channel: Channel, peer: Hello): Promise<void> {
    this.channel = channel;
    this.#source = channel.peerName;
    this.greetedBy(peer);
    await this.input({
      kind: 'answer',
      own: this.#hello(channel),
      peer,
    });
    void this.listen();
  }

  #hello({ peerName, peerRoot }: Channel): Hello {
    const { host, logs } = this.#services;
    return ownHello(host, 'target', this.session, this.uuid, logs.wantedOf(peerName), peerRoot);
  }

  /** Tries again to sign *arrived* (the TPM was away), or to throw away what was received (libvirt was away). */
  async redo(): Promise<void> {
    if (this.state.tag === 'arriving') {
      await this.input({ kind: 'arrival-signed', arrived: await this.#arrive() });
    } else if (this.state.tag === 'aborted') {
      await this.#discard();
    } else if (this.state.tag === 'giving-up') {
      await giveUpCopy(this.#services, this.uuid, this.session);
      await this.input({ kind: 'destroyed' });
    }
  }

  /** Resolves once what was staged is behind the counter (SPEC 8.8); rejects where the TPM fails, and may be asked again. */
  anchored(): Promise<void> {
    this.#anchored ??= this.#anchor().catch((error: unknown) => {
      this.#anchored = null;
      throw error;
    });
    return this.#anchored;
  }

  async #anchor(): Promise<void> {
    await this.#services.staging.join();
    await this.#services.anchor.settle();
  }

  protected step(state: TargetState, input: TargetInput) {
    return stepTarget(state, input);
  }

  protected committed(state: TargetState): boolean {
    const { tag } = state;
    return tag === 'staged' || tag === 'arriving' || tag === 'arrived' || tag === 'giving-up';
  }

  protected over(state: TargetState): boolean {
    return endings.has(state.tag);
  }

  /** Who waits for a refusal hears it even where it cannot be written down (a full disk): nothing was committed. */
  protected entered(state: TargetState): void {
    const { journal, now, log } = this.#services.host;
    log.info({ vm: this.uuid, role: 'target', state: state.tag, source: this.#source }, 'session');
    if (state.tag === 'refused') void this.#conclude();
    if (state.tag === 'aborted') this.#admit.reject(new Refused('the migration was aborted'));
    if (state.tag !== 'staged') this.forgetKey();
    const durable = journalled[state.tag];
    if (durable !== undefined) journal.changeSession(this.session, { state: durable }, now());
    if (state.tag === 'resolved' || state.tag === 'given-up') this.#finish.resolve(state.tag);
  }

  /** The key was given, or will not be. */
  forgetKey(): void {
    this.#services.keys.forget(this.session);
  }

  troubled(error: unknown): void {
    noteTrouble(this.#services.host, this.session, error);
  }

  /** Tells the operator why it came to nothing. A source says no more than that it refused; often we know why ourselves. */
  async #conclude(): Promise<void> {
    const { host, platform } = this.#services;
    const why = this.why ?? (await this.#guess(platform));
    this.#admit.reject(why);
    this.#finish.resolve('refused');
    noteRefusal(host, { vm: this.uuid, peer: this.#source, operation: 'migrate-in', why });
  }

  async #guess(platform: Services['platform']): Promise<Refused> {
    if (this.hint !== null) return new Refused(hintTexts[this.hint]);
    const { name } = this.#services.host.identity.id;
    const fault = await platform.ownFault();
    if (fault !== null)
      return new Refused(`${this.#source ?? 'the source'} does not trust ${name}: ${fault}`);
    return new Refused(
      `${this.#source ?? 'the source'} does not trust ${name} with this VM; the reason is at the source (tvmmp explain there)`,
    );
  }

  protected async perform(effect: TargetEffect): Promise<TargetInput | null> {
    switch (effect.do) {
      case 'send':
        if (effect.message.kind === 'arrived') {
          await this.#services.keyTurns.giveWay();
          await this.#services.anchor.settle();
        }
        await this.send(effect.message);
        return null;
      case 'attest':
        return { kind: 'signed', evidence: await this.#attest(effect.own, effect.peer) };
      case 'appraise':
        return {
          kind: 'accepted',
          trusted: await this.#appraise(effect.own, effect.peer, effect.evidence, effect.offer),
        };
      case 'stage':
        return { kind: 'stored', head: await this.#stage(effect.offer, effect.trusted) };
      case 'admit':
        this.#admit.resolve(undefined);
        return null;
      case 'sign-arrived':
        return { kind: 'arrival-signed', arrived: await this.#arrive() };
      case 'verify-departure':
        return this.#acceptDeparture(effect.departed);
      case 'check-incoming':
        // The door first: what is not here after that does not come any more (SPEC 8.2).
        this.#services.admitted.delete(this.uuid);
        return (await cameHere(this.#services.host, this.uuid)) === 'no' ? { kind: 'not-incoming' } : null;
      case 'check-arrival':
        return (await cameHere(this.#services.host, this.uuid)) === 'and-stopped' ? { kind: 'moved' } : null;
      case 'discard':
        await this.#discard();
        return null;
      case 'disclaim':
        await this.#disclaim(effect.of);
        return null;
      case 'note-conflict':
        this.troubled(
          new TvmmpError(
            'hand-over-conflict',
            `${this.peerName ?? 'the source'} runs the VM too, or an administrator kept it there: both hosts have it`,
          ),
        );
        return null;
      case 'give-up':
        await giveUpCopy(this.#services, this.uuid, this.session);
        return { kind: 'destroyed' };
    }
  }

  async #discard(): Promise<void> {
    await discardIncoming(this.#services, this.uuid, this.session);
    if (this.state.tag === 'aborted') this.#finish.resolve('aborted');
  }

  /** SPEC 6.10, where the source still listens; it asks again otherwise. Nobody departed with an offer that has no last entry. */
  async #disclaim(of: Uint8Array | Offer): Promise<void> {
    if (this.channel === null) return;
    const { session } = this;
    const head = of instanceof Uint8Array ? of : offeredHead(of);
    if (head === null) await this.send({ kind: 'refused', session, hint: null });
    else await this.send(await disclaim(this.#services, { session, head }));
  }

  /** SPEC 6.3: this host's statement, quoted, after the logs that the source asks for. */
  async #attest(own: Hello, peer: Hello): Promise<EvidenceMessage> {
    const { host } = this.#services;
    requireMayReceive(host);
    await this.#services.custody.requireAnswer();
    const statement = statements(requireChannel(this.channel), own, peer).target;
    await this.#services.attesting.join();
    const send = this.send.bind(this);
    const shown = { peer: peer.host, session: this.session, statement, send };
    const claim = await ownClaim(this.#services, peer.wanted, shown);
    return { kind: 'evidence', session: this.session, claim };
  }

  /** SPEC 6.7: the source, its proof, and that all of it is about this VM, this session and this host. */
  async #appraise(own: Hello, peer: Hello, evidence: EvidenceMessage, offer: Offer): Promise<TrustedPeer> {
    const { host } = this.#services;
    const channel = requireChannel(this.channel);
    const proof = decodeProof(offer.proof);
    const trusted = await trustPeer(host, {
      channel,
      peer,
      claim: offer.claim,
      statement: statements(channel, own, peer).source(evidence),
      requiredPolicyVersion: claimedPolicyVersion(proof),
      quarantined: claimedQuarantine(proof),
      logs: this.peerLogs,
    });
    const { name, akName, certificate } = trusted;
    const offerer = { name, akName, certificate: certificate.digest };
    const accepted = acceptProof(this.#services, this.uuid, proof, offerer);
    checkDeparting(host, this, accepted.verified.head, trusted);
    requireMayLeaveFrom(host, trusted.label, accepted.verified.head);
    const { policy } = accepted.verified.head;
    const ours = host.policy().policy;
    if (trusted.domain !== null) requireMayCome(host, accepted.verified);
    else if (policy.id !== ours.id || policy.version > ours.version) {
      throw new Refused(
        `policy-version: the VM's proof is under policy ${policy.id} v${policy.version}, this host has ${ours.id} ` +
          `v${ours.version}; install the newer policy here (tvmmp policy install)`,
      );
    }
    requireTenantAgreesToUs(accepted.verified.tenant, host, homeSeen(host, accepted.verified));
    requireMayReceive(host);
    this.#accepted = accepted;
    return trusted;
  }

  #stage(offer: Offer, trusted: TrustedPeer): Promise<Uint8Array> {
    if (this.#accepted === null) throw new TvmmpError('internal', 'staging before the proof was accepted');
    return stage(this.#services, this, this.#accepted, offer, trusted);
  }

  async #arrive(): Promise<Arrived> {
    await this.#services.keyTurns.giveWay();
    const arrived = await signArrived(this.#services, this.uuid, this.session);
    this.arrivedAt = this.#services.host.now();
    return arrived;
  }

  #acceptDeparture(departed: Departed): TargetInput {
    recordDeparture(this.#services, this.uuid, this.session, departed);
    this.#finish.resolve('done');
    return { kind: 'departure-verified' };
  }
}
