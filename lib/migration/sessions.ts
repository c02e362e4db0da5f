import { randomBytes } from 'node:crypto';
import { hex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';
import type { SessionRecord, SessionRole, VmRecord } from '../ledger/records.ts';
import { limits } from '../limits.ts';
import type { Channel } from '../protocol/channel.ts';
import { noVm } from '../protocol/hello.ts';
import type { Arrived, Hello, Message, Question } from '../protocol/messages.ts';
import { recordArrival } from './arrival.ts';
import { disclaim, requireMemory } from './disclaimers.ts';
import { isActive, lookAt } from './domain-view.ts';
import { discardOrphans } from './incoming.ts';
import type { IncomingDomain } from './incoming.ts';
import { OutcomeWatch } from './outcome-watch.ts';
import { arrivedOf, repeatOutcome } from './past-sessions.ts';
import { resumedState } from './resumed.ts';
import { Pace } from './pace.ts';
import type { Services } from './services.ts';
import { SourceSession } from './source-session.ts';
import type { Opening } from './source-session.ts';
import { TargetSession } from './target-session.ts';
import type { Timer } from './timers.ts';

/** How often libvirt's outcome is looked at besides its events. */
const tickMs = 500;
/** Between two looks for sessions that the journal believes open. */
const sweepMs = 60_000;

/**
 * All hand-overs that this host takes part in: opens and answers them, feeds them libvirt's outcome, finds the one that a late
 * message belongs to, and takes up again after a restart what the journal says is unfinished.
 */
export class Sessions {
  readonly #services: Services;
  readonly #sources = new Map<string, SourceSession>();
  readonly #targets = new Map<string, TargetSession>();
  readonly #openings = new Map<string, number>();
  readonly #pace: Pace;
  #timer: Timer | null = null;
  #sweptAt = -Infinity;
  readonly #watch: OutcomeWatch;
  /** Called when a VM has arrived here and *arrived* is signed. */
  onArrived: (uuid: string) => void = () => undefined;
  /** Called when a hand-over is over, whatever became of it: the VM may have changed meanwhile. */
  onEnded: (uuid: string) => void = () => undefined;

  constructor(services: Services) {
    this.#services = services;
    this.#pace = new Pace(services.host.timers, limits.sessionsPerPeerBurst, limits.sessionsPerPeerPerMinute);
    this.#watch = new OutcomeWatch(services, (uuid) => {
      this.onArrived(uuid);
    });
  }

  /** Takes up what a restart interrupted, and begins to watch libvirt (SPEC 6.8). */
  start(): void {
    for (const record of this.#services.host.journal.unfinishedSessions()) this.#resume(record);
    this.#discardOrphans();
    this.#timer = this.#services.host.timers.every(tickMs, () => {
      this.look();
    });
  }

  stop(): void {
    this.#timer?.stop();
  }

  /** Whether a hand-over is under way: it may want the TPM at any moment. */
  get busy(): boolean {
    return this.#sources.size + this.#targets.size > 0;
  }

  /** Whether a session of the VM may still commit this host to something. */
  inTheMaking(uuid: string): boolean {
    return this.#inTheMaking().some((session) => session.uuid === uuid);
  }

  #inTheMaking(): readonly (SourceSession | TargetSession)[] {
    return [...this.#sources.values(), ...this.#targets.values()].filter((one) => one.inTheMaking);
  }

  /** Opens a hand-over to the agent at `address` (`tvmmp migrate`). */
  async leave(vm: VmRecord, address: string): Promise<SourceSession> {
    const id = newId();
    this.#register({ id, vm: vm.uuid, role: 'source', address });
    const session = this.#source(vm, id, 'cli');
    await this.#connected(address, session, (channel) => session.open(channel));
    return session;
  }

  /** Opens a hand-over as the destination: libvirt brings a VM, and its metadata names the source's agent. */
  async come(uuid: string, domain: IncomingDomain, address: string): Promise<TargetSession> {
    const id = newId();
    this.#register({ id, vm: uuid, role: 'target', address });
    const session = this.#target(uuid, id, domain);
    await this.#connected(address, session, (channel) => session.open(channel));
    return session;
  }

  /** A peer's connection: its first message says what it is about. Limits are per peer and in all (SPEC 11). */
  async accept(channel: Channel): Promise<void> {
    const peer = channel.peerName;
    const making = this.#inTheMaking();
    const open = (this.#openings.get(peer) ?? 0) + making.filter((one) => one.peerName === peer).length;
    const all = [...this.#openings.values()].reduce((sum, count) => sum + count, making.length);
    if (open >= limits.sessionsPerPeerMax || all >= limits.sessionsMax) {
      channel.close();
      throw new TvmmpError('limit-exceeded', `${peer} has ${open} sessions in the making`);
    }
    try {
      await this.#dispatch(channel, await this.#firstMessage(channel));
    } catch (error) {
      channel.close();
      throw error;
    }
  }

  /** A connection that has not said what it wants takes up a session's place. */
  async #firstMessage(channel: Channel): Promise<Message> {
    const peer = channel.peerName;
    this.#openings.set(peer, (this.#openings.get(peer) ?? 0) + 1);
    try {
      return await channel.receive(limits.messageDeadlineMs);
    } finally {
      const left = (this.#openings.get(peer) ?? 1) - 1;
      if (left === 0) this.#openings.delete(peer);
      else this.#openings.set(peer, left);
    }
  }

  /** The session that has staged a VM here and waits for it. */
  stagedFor(uuid: string): TargetSession | null {
    for (const session of this.#targets.values()) {
      if (session.uuid === uuid && session.state.tag === 'staged') return session;
    }
    return null;
  }

  /** libvirt released an incoming VM: no need to wait for the grace to pass. */
  async released(uuid: string): Promise<void> {
    const session = this.stagedFor(uuid);
    if (session === null || this.#services.host.journal.permit(uuid)?.consumed == null) return;
    if (isActive(await lookAt(this.#services.host.hypervisor, uuid))) return;
    await session.input({ kind: 'lost' });
  }

  /** Looks at libvirt's outcome for every committed session now; called by events and by the clock. One never waits for another. */
  look(): void {
    this.#sweep();
    for (const session of this.#sources.values()) this.#watch.look(session);
    for (const session of this.#targets.values()) this.#watch.look(session);
  }

  /** Tries at once what would be tried again later: the peer may have come back. */
  askAgain(id: Uint8Array): void {
    const session = this.#sources.get(hex(id)) ?? this.#targets.get(hex(id));
    if (session !== undefined) session.repeatedAt = -Infinity;
    this.look();
  }

  /** The live session of a record, for what its administrator states (SPEC 6.9); one that was resolved is taken up again. */
  takeUp(record: SessionRecord): SourceSession | TargetSession {
    const live = this.#sources.get(hex(record.id)) ?? this.#targets.get(hex(record.id));
    if (live !== undefined) return live;
    const vm = this.#services.host.journal.vm(record.vm);
    if (vm === null || record.role !== 'source' || record.state !== 'resolved')
      throw new TvmmpError('internal', `a session that is ${record.state} and not under way`);
    return this.#source(vm, record.id, 'hook', { tag: 'resolved', session: record.id, head: vm.head });
  }

  /** Ends in the journal what has ended here without a word in it, and clears away what is left of it. */
  #sweep(): void {
    const { journal, now, log, timers } = this.#services.host;
    if (timers.elapsed() < this.#sweptAt + sweepMs) return;
    this.#sweptAt = timers.elapsed();
    try {
      for (const record of journal.unfinishedSessions()) {
        const key = hex(record.id);
        // A clock that was put back makes one of the past look as if it were of the future.
        const due = now() > record.started + 2 * limits.sessionDeadlineMs || now() < record.started;
        if (!due || this.#sources.has(key) || this.#targets.has(key)) continue;
        if (record.state === 'open') this.#settled(record);
        // A refusal after it was staged that could not be written down: libvirt is asked what came of it, as after a restart.
        else if (record.state === 'staged' && record.role === 'target') this.#resume(record);
      }
    } catch (error) {
      log.warn({ error: String(error) }, 'the journal could not be swept');
    }
    this.#discardOrphans();
  }

  /** What sessions left that ended while this host could not clear it away: its agent was killed, or libvirt was gone. */
  #discardOrphans(): void {
    discardOrphans(this.#services).catch((error: unknown) => {
      this.#services.host.log.warn({ error: String(error) }, 'what a session left could not be removed yet');
    });
  }

  // Opening and resuming

  #register(session: { id: Uint8Array; vm: string; role: SessionRole; address: string }): void {
    const now = this.#services.host.now();
    const record = { ...session, state: 'open', peer: '', started: now, updated: now } as const;
    if (!this.#services.host.journal.openSession(record)) {
      throw new TvmmpError('session-replayed', 'a session id that was used before');
    }
  }

  async #connected(
    address: string,
    session: SourceSession | TargetSession,
    open: (channel: Channel) => Promise<void>,
  ): Promise<void> {
    try {
      await open(await this.#services.host.connect(address));
    } catch (error) {
      await session.fail(error);
    }
  }

  #source(vm: VmRecord, id: Uint8Array, opening: Opening, state?: SourceSession['state']): SourceSession {
    const session = new SourceSession(this.#services, vm, id, opening, state);
    session.onCheckOutcome = () => {
      this.look();
    };
    this.#sources.set(hex(id), session);
    void session.finished.then(() => {
      this.#sources.delete(hex(id));
      this.onEnded(vm.uuid);
    });
    return session;
  }

  #target(
    uuid: string,
    id: Uint8Array,
    domain: IncomingDomain | null,
    state?: TargetSession['state'],
  ): TargetSession {
    const session = new TargetSession(this.#services, uuid, id, domain, state);
    this.#targets.set(hex(id), session);
    void session.finished.then(() => {
      this.#targets.delete(hex(id));
      this.onEnded(uuid);
    });
    return session;
  }

  /** Before the commitment a restart is a refusal; after it, the journal says where to go on, and where it cannot, nothing is said. */
  #resume(record: SessionRecord): void {
    const { journal, now, log } = this.#services.host;
    const vm = journal.vm(record.vm);
    const session = record.id;
    const state =
      vm === null
        ? null
        : resumedState({
            ...record,
            head: vm.head,
            arrived: () => arrivedOf(this.#services, vm.uuid, session),
          });
    if (vm === null || state === null) {
      if (record.state === 'open') journal.changeSession(session, { state: 'refused' }, now());
      else journal.noteProblem(session, `internal: nothing more is known of what is ${record.state}`, now());
      return;
    }
    log.info({ vm: vm.uuid, role: record.role, state: record.state }, 'taking up an unfinished session');
    journal.noteStep(session, 'taken up again after a restart of the agent', now());
    if (state.role === 'source') {
      this.#source(vm, session, 'hook', state.state);
    } else {
      this.#target(vm.uuid, session, null, state.state);
    }
  }

  // Messages

  async #dispatch(channel: Channel, message: Message): Promise<void> {
    if (message.kind === 'hello') {
      this.#requirePace(channel);
      if (message.vm === noVm) await this.#services.peerAttestations.answer(channel, message);
      else await this.#answer(channel, message);
      return;
    }
    const key = hex(message.session);
    const live = this.#sources.get(key) ?? this.#targets.get(key);
    const record = this.#services.host.journal.session(message.session);
    if (record === null && (message.kind === 'abort' || message.kind === 'query')) {
      this.#requirePace(channel);
      await this.#neverHeardOf(channel, message);
      return;
    }
    if (record === null || (record.peer !== '' && record.peer !== channel.peerName)) {
      throw new TvmmpError('peer-untrusted', `${channel.peerName} speaks of a session that is not its own`);
    }
    const unsigned = live?.state.tag === 'resolved' && record.state !== 'resolved';
    if (unsigned && live instanceof SourceSession && message.kind === 'arrived') {
      live.contradictedBy(message, record);
      channel.close();
      return;
    }
    // Of a session that is journalled as departed nothing but its last word is on its way, over a connection that may be gone.
    if (live !== undefined && record.state !== 'departed') {
      live.attach(channel);
      await live.input({ kind: 'message', message });
      return;
    }
    const past = this.#settled(record);
    if (past.role === 'source' && past.state === 'given-up' && message.kind === 'arrived') {
      this.#arrivedAfterAll(channel, message, past);
      return;
    }
    await repeatOutcome(this.#services, channel, message, past);
    channel.close();
  }

  /** A session that ended before it was committed, where its end could not be written down at the time (a full disk). */
  #settled(record: SessionRecord): SessionRecord {
    if (record.state !== 'open') return record;
    const { journal, now } = this.#services.host;
    journal.changeSession(record.id, { state: 'refused' }, now());
    return { ...record, state: 'refused' };
  }

  /** A session that this host has no trace of did not happen here, and will not: its id is used up before that is signed (SPEC 6.10). */
  async #neverHeardOf(channel: Channel, question: Question): Promise<void> {
    const { session } = question;
    requireMemory(this.#services, null);
    this.#register({ id: session, vm: '', role: 'target', address: '' });
    this.#services.host.journal.changeSession(session, { state: 'refused' }, this.#services.host.now());
    await channel.send(await disclaim(this.#services, question));
    channel.close();
  }

  /** Each id that a peer brings is kept for days, and has the TPM sign. */
  #requirePace({ peerName }: Channel): void {
    if (!this.#pace.take(peerName))
      throw new TvmmpError('limit-exceeded', `${peerName} begins more sessions than one peer may`);
  }

  async #answer(channel: Channel, hello: Hello): Promise<void> {
    const { journal } = this.#services.host;
    const role: SessionRole = hello.role === 'source' ? 'target' : 'source';
    this.#register({ id: hello.session, vm: hello.vm, role, address: hello.agent });
    if (role === 'target') {
      await this.#target(hello.vm, hello.session, null).answer(channel, hello);
      return;
    }
    const vm = journal.vm(hello.vm);
    if (vm === null)
      throw new TvmmpError('vm-unknown', `${channel.peerName} asked for VM ${hello.vm}, unknown here`);
    await this.#source(vm, hello.session, 'hook').answer(channel, hello);
  }

  /** What an administrator gave up did arrive: *departed* can be signed now. */
  #arrivedAfterAll(channel: Channel, message: Arrived, record: SessionRecord): void {
    const { journal } = this.#services.host;
    const vm = journal.vm(record.vm);
    if (vm?.state !== 'gone')
      throw new TvmmpError('vm-unsuitable', `VM ${record.vm} was given up, and has come back since`);
    recordArrival(this.#services, record.vm, record.id, message);
    const session = this.#source(vm, record.id, 'hook', {
      tag: 'destroying',
      session: record.id,
      head: vm.head,
    });
    session.attach(channel);
    this.look();
  }
}

function newId(): Uint8Array {
  return new Uint8Array(randomBytes(32));
}
