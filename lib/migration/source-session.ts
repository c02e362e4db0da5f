import type { TrustedPeer } from '../appraisal/trusted-peer.ts';
import type { Claim } from '../evidence/claim.ts';
import type { SessionRecord, SessionState, VmRecord } from '../ledger/records.ts';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { Channel } from '../protocol/channel.ts';
import type { Aborted, Arrived, EvidenceMessage, Hello } from '../protocol/messages.ts';
import { sourceStart, stepSource } from '../protocol/source.ts';
import type { SourceEffect, SourceInput, SourceState } from '../protocol/source.ts';
import { unexpected } from '../protocol/step.ts';
import { recordArrival } from './arrival.ts';
import { requireMayGo, requiredVersion } from './crossing.ts';
import { deferred } from './deferred.ts';
import { destroyCopy, waitUntilLeft } from './destruction.ts';
import { requireDisclaimer } from './disclaimers.ts';
import { SessionDriver } from './driver.ts';
import { ownHello, requireChannel, statements, trustPeer } from './hello.ts';
import { claimWithLogs } from './own-evidence.ts';
import { requireMayReceiveAt } from './peer-standing.ts';
import { noteTrouble } from './problem.ts';
import { noteRefusal, Refused } from './refused.ts';
import { noteContradiction } from './past-sessions.ts';
import { giveUpCopy } from './resolution.ts';
import type { Services } from './services.ts';
import { checkSourceMayLeave } from './source-checks.ts';
import { hostIdOf, signDeparted, signDeparting, signStayed } from './source-entries.ts';
import type { Commit } from './source-entries.ts';
import { requireTenantAgreesTo } from './tenant.ts';

/** How a session came about: the target's hook asked, or this host's operator did. */
export type Opening = 'hook' | 'cli';

const targetRefused = 'the target refused; its operator finds the reason in `tvmmp explain` there';

const committedTags: ReadonlySet<SourceState['tag']> = new Set([
  'offered',
  'staged',
  'declined',
  'aborting',
  'destroying',
  'giving-up',
]);

const journalled: Readonly<Partial<Record<SourceState['tag'], SessionState>>> = {
  refused: 'refused',
  staged: 'staged',
  declined: 'declined',
  aborting: 'aborting',
  destroying: 'destroying',
  'given-up': 'given-up',
};

/** What became of a hand-over at its source. */
type SourceOutcome = 'departed' | 'aborted' | 'refused' | 'resolved' | 'given-up';

const endings: ReadonlySet<SourceState['tag']> = new Set<SourceOutcome>([
  'departed',
  'aborted',
  'refused',
  'resolved',
  'given-up',
]);

/** One hand-over at the host that the VM leaves: lib/protocol/source.ts made real. */
export class SourceSession extends SessionDriver<SourceState, SourceInput, SourceEffect> {
  protected readonly role = 'source';
  readonly session: Uint8Array;
  readonly vm: VmRecord;
  readonly opening: Opening;
  /** Resolves when libvirt may move the VM (cli); rejects with the reason when it must not. */
  readonly released: Promise<undefined>;
  /** Resolves at the end with what became of it. */
  readonly finished: Promise<SourceOutcome>;
  /** Our own call of libvirt's migration (cli): before it and during it there is no outcome to look for. */
  move: 'not-begun' | 'under-way' | 'over';
  /** Since when libvirt has had neither a job nor the running VM, by `Timers.elapsed`. */
  quietSince: number | null = null;
  /** When the offer was made, milliseconds since 1970. */
  #offeredAt: number | null = null;
  /** Asks for libvirt's outcome now; set by the watch. */
  onCheckOutcome: () => void = () => undefined;
  /** Attested name of the target, once it is trusted. */
  target: string | null = null;
  /** Its name in our journal. */
  #label: string | null = null;
  readonly #services: Services;
  readonly #release = deferred<undefined>();
  readonly #finish = deferred<SourceOutcome>();
  /** What the target has said against an administrator's word that is not signed yet. */
  #contradiction = '';

  constructor(
    services: Services,
    vm: VmRecord,
    session: Uint8Array,
    opening: Opening,
    state: SourceState = sourceStart,
  ) {
    super(state, null, services);
    this.#services = services;
    this.vm = vm;
    this.session = session;
    this.opening = opening;
    this.move = opening === 'cli' ? 'not-begun' : 'over';
    this.released = this.#release.promise;
    this.finished = this.#finish.promise;
    if (!this.inTheMaking) return;
    services.commitments.expect(session);
  }

  get uuid(): string {
    return this.vm.uuid;
  }

  /** Opens the session over a fresh connection (`tvmmp migrate`). */
  async open(channel: Channel): Promise<void> {
    this.channel = channel;
    this.#services.keys.expect(this.session, this.vm);
    await this.input({
      kind: 'open',
      own: this.#hello(channel),
    });
    void this.listen();
  }

  /** Answers a target that opened it (its hook saw the VM come). */
  async answer(channel: Channel, peer: Hello): Promise<void> {
    this.channel = channel;
    this.greetedBy(peer);
    try {
      await checkSourceMayLeave(this.#services, this.vm, this.session, this.opening);
    } catch (error) {
      // Before our own hello: a target that asks in vain learns nothing about this host.
      this.why = error instanceof Error ? error : new Error(String(error));
      const hint = error instanceof Refused ? error.hint : null;
      try {
        await channel.send({ kind: 'refused', session: this.session, hint });
      } finally {
        // Also where the connection is gone: what is never over counts against its peer.
        await this.input({ kind: 'failed' });
      }
      return;
    }
    this.#services.keys.expect(this.session, this.vm);
    const own = this.#hello(channel);
    await this.input({ kind: 'answer', own, peer });
    void this.listen();
  }

  #hello({ peerName, peerRoot }: Channel): Hello {
    const { host, logs } = this.#services;
    return ownHello(host, 'source', this.session, this.vm.uuid, logs.wantedOf(peerName), peerRoot);
  }

  /** Tries again what could not be done after *arrived* (TPM or libvirt were away). */
  async redo(): Promise<void> {
    if (this.state.tag === 'destroying') {
      await destroyCopy(this.#services, this.vm.uuid, this.session);
      await this.input({ kind: 'destroyed' });
    } else if (this.state.tag === 'departed') {
      await this.#depart();
    } else if (this.state.tag === 'aborted') {
      await this.#abort();
    } else if (this.state.tag === 'resolved') {
      await this.#keep();
    } else if (this.state.tag === 'giving-up') {
      await giveUpCopy(this.#services, this.vm.uuid, this.session);
      await this.input({ kind: 'destroyed' });
    }
  }

  /** Whether libvirt has had its turn: before our own migration call (cli) a VM that runs on here means nothing. */
  get outcomeIsDue(): boolean {
    if (this.move === 'under-way') return false;
    if (this.move === 'over' || this.state.tag === 'declined') return true;
    return this.#offeredAt !== null && this.#services.host.now() > this.#offeredAt + limits.sessionDeadlineMs;
  }

  protected step(state: SourceState, input: SourceInput) {
    if (this.move === 'under-way' && (input.kind === 'stayed' || input.kind === 'left'))
      throw unexpected('of a migration under way', input.kind);
    // A word that is given again stands against what was said meanwhile.
    if (input.kind === 'keep') this.#contradiction = '';
    return stepSource(state, input);
  }

  protected committed(state: SourceState): boolean {
    return committedTags.has(state.tag);
  }

  protected over(state: SourceState): boolean {
    return endings.has(state.tag);
  }

  /** Who waits for a refusal hears it even where it cannot be written down (a full disk): nothing was committed. */
  protected entered(state: SourceState): void {
    const { journal, now, log } = this.#services.host;
    log.info({ vm: this.vm.uuid, role: 'source', state: state.tag, target: this.target }, 'session');
    if (!this.inTheMaking) {
      this.#services.keys.forget(this.session);
      this.#services.commitments.forget(this.session);
    }
    if (state.tag === 'refused') this.#conclude();
    const durable = journalled[state.tag];
    const peer = this.#label === null ? {} : { peer: this.#label };
    if (durable !== undefined) journal.changeSession(this.session, { state: durable, ...peer }, now());
    if (state.tag === 'offered') this.#offeredAt = now();
    if (state.tag === 'declined') this.#release.reject(new Refused(targetRefused));
    if (state.tag === 'aborting') this.#release.reject(new Refused('the migration was given up'));
    if (state.tag === 'given-up') this.#finish.resolve('given-up');
  }

  troubled(error: unknown): void {
    noteTrouble(this.#services.host, this.session, error);
  }

  protected async perform(effect: SourceEffect): Promise<SourceInput | null> {
    switch (effect.do) {
      case 'send':
        if (effect.message.kind === 'offer') await this.#services.anchor.settle();
        await this.send(effect.message);
        return null;
      case 'appraise':
        return { kind: 'accepted', trusted: await this.#appraise(effect.own, effect.peer, effect.evidence) };
      case 'commit':
        return this.#commit(effect);
      case 'release':
        // libvirt's call is as good as made: what libvirt shows before it says nothing about it.
        if (this.opening === 'cli') this.move = 'under-way';
        this.#release.resolve(undefined);
        return null;
      case 'check-outcome':
        this.onCheckOutcome();
        return null;
      case 'sign-aborted':
        await this.#abort();
        return null;
      case 'verify-arrival':
        return await this.#acceptArrival(effect.arrived);
      case 'verify-disclaimer':
        return this.#acceptDisclaimer(effect.aborted);
      case 'destroy-copy':
        await destroyCopy(this.#services, this.vm.uuid, this.session);
        return { kind: 'destroyed' };
      case 'sign-departed':
        await this.#depart();
        return null;
      case 'sign-resolved':
        await this.#keep();
        return null;
      case 'give-up':
        await giveUpCopy(this.#services, this.vm.uuid, this.session);
        return { kind: 'destroyed' };
    }
  }

  async #appraise(own: Hello, peer: Hello, evidence: EvidenceMessage): Promise<TrustedPeer> {
    const { host, chains } = this.#services;
    const channel = requireChannel(this.channel);
    requireMayReceiveAt(host, channel.peerName);
    const chain = chains.require(this.vm.uuid, this.vm.name);
    const trusted = await trustPeer(host, {
      channel,
      peer,
      claim: evidence.claim,
      statement: statements(channel, own, peer).target,
      requiredPolicyVersion: requiredVersion(chain, peer, channel),
      logs: this.peerLogs,
    });
    if (trusted.domain !== null) requireMayGo(chain, peer.policy);
    requireTenantAgreesTo(this.#services, this.vm.uuid, trusted);
    this.target = trusted.name;
    this.#label = trusted.label;
    return trusted;
  }

  async #commit(commit: Commit): Promise<SourceInput> {
    const { host, custody } = this.#services;
    const { session, vm } = this;
    const { trusted } = commit;
    await checkSourceMayLeave(this.#services, vm, session, this.opening);
    trusted.assertFor({ vm: vm.uuid, session, role: 'target', now: host.now() });
    await custody.announce(vm, session, hostIdOf(trusted));
    const channel = requireChannel(this.channel);
    const logged = await this.#claimWithLogs(commit);
    return { kind: 'signed', ...(await signDeparting(this.#services, vm, session, channel, commit, logged)) };
  }

  /** SPEC 6.11, where the target wants our logs. */
  async #claimWithLogs({ own, peer, evidence }: Commit): Promise<Claim | null> {
    if (peer.wanted === undefined) return null;
    return claimWithLogs(this.#services, peer.wanted, {
      peer: peer.host,
      session: this.session,
      statement: statements(requireChannel(this.channel), own, peer).source(evidence),
      send: this.send.bind(this),
    });
  }

  async #abort(): Promise<void> {
    await signStayed(this.#services, this.vm, this.session, 'aborted');
    this.log.info({ vm: this.vm.uuid }, 'the VM stays: migration aborted');
    this.#release.reject(new Refused('the migration was aborted'));
    this.#finish.resolve('aborted');
  }

  /** A failure closes the connection: the target then brings *arrived* again. Where both run the VM, it is told so (SPEC 6.9). */
  async #acceptArrival(arrived: Arrived): Promise<SourceInput> {
    try {
      await waitUntilLeft(this.#services, this.vm.uuid);
      recordArrival(this.#services, this.vm.uuid, this.session, arrived);
      return { kind: 'arrival-verified' };
    } catch (error) {
      const doubled = error instanceof TvmmpError && error.code === 'hand-over-conflict';
      // What is not heard now is said again at the next *arrived*.
      if (doubled)
        await this.send({ kind: 'refused', session: this.session, hint: null }).catch(() => undefined);
      this.disconnect();
      throw error;
    }
  }

  /** Any other word closes the connection: the target is asked again over a new one (SPEC 6.10). */
  #acceptDisclaimer(aborted: Aborted): SourceInput {
    try {
      requireDisclaimer(this.#services, this.vm.uuid, aborted);
      return { kind: 'disclaimer-verified' };
    } catch (error) {
      this.disconnect();
      throw error;
    }
  }

  /** The target says *arrived* while an administrator's word is still to be signed: it stands beside that word once it is (SPEC 6.9). */
  contradictedBy(arrived: Arrived, record: SessionRecord): void {
    this.#contradiction = noteContradiction(this.#services, arrived, record);
  }

  /** SPEC 6.9: an administrator says that the VM stays. */
  async #keep(): Promise<void> {
    await signStayed(this.#services, this.vm, this.session, 'resolved', () => this.#contradiction);
    await this.#services.anchor.settleOrOwe();
    this.log.warn({ vm: this.vm.uuid }, 'the VM stays: resolved by an administrator');
    this.#release.reject(new Refused('an administrator kept the VM here'));
    this.#finish.resolve('resolved');
  }

  async #depart(): Promise<void> {
    await this.#services.anchor.settle();
    const departed = await signDeparted(this.#services, this.vm.uuid, this.session);
    this.#finish.resolve('departed');
    await this.send(departed);
  }

  #conclude(): void {
    const why = this.why ?? new Refused(targetRefused);
    this.#release.reject(why);
    this.#finish.resolve('refused');
    noteRefusal(this.#services.host, {
      vm: this.vm.uuid,
      peer: this.channel?.peerName ?? this.target ?? null,
      operation: 'migrate-out',
      why,
    });
  }
}
