import { TvmmpError } from '../errors.ts';
import type { Message } from '../protocol/messages.ts';
import { hasLeft, isActive, isRunningHere, jobOf, lookAt } from './domain-view.ts';
import type { Services } from './services.ts';
import { SourceSession } from './source-session.ts';
import type { TargetSession } from './target-session.ts';

/** How long after its hook was answered an incoming VM may take to show up in libvirt. */
const incomingGraceMs = 60_000;
/** Between two attempts to tell a peer something that it has not answered. */
const repeatMs = 5_000;
/** How long a connection may bring no answer to what was said over it. */
const silentMs = 30_000;
/** How long a VM may be neither here nor reported as arrived before the target is asked. */
const quietMs = 5_000;

/**
 * Feeds sessions the outcome of libvirt's migration (SPEC 6.8): looks where the VM runs, tries again what could not be done, and says again what
 * the peer has not answered.
 */
export class OutcomeWatch {
  readonly #services: Services;
  readonly #looking = new Set<SourceSession | TargetSession>();
  readonly #onArrived: (uuid: string) => void;

  /** `onArrived` is called when a VM has arrived here and *arrived* is signed. */
  constructor(services: Services, onArrived: (uuid: string) => void) {
    this.#services = services;
    this.#onArrived = onArrived;
  }

  /** One look at a time per session; what fails is met again at the next one. */
  look(session: SourceSession | TargetSession): void {
    if (session.busy || this.#looking.has(session)) return;
    this.#looking.add(session);
    const looked = session instanceof SourceSession ? this.#lookSource(session) : this.#lookTarget(session);
    looked
      .catch((error: unknown) => {
        const { log } = this.#services.host;
        log.warn({ error: String(error) }, 'a session could not go on now; it will be tried again');
        session.troubled(error);
      })
      .finally(() => this.#looking.delete(session));
  }

  async #lookSource(session: SourceSession): Promise<void> {
    const { state } = session;
    if (redone.has(state.tag)) return session.redo();
    if (state.tag === 'aborting') return this.#say(session, 'stayed', 'abort', state.head);
    if (state.tag !== 'offered' && state.tag !== 'staged' && state.tag !== 'declined') return;
    if (!session.outcomeIsDue) return;
    const { hypervisor, timers } = this.#services.host;
    // The job first: a move that ends between the two looks then shows as a VM that is gone, not as one that stays.
    if ((await jobOf(hypervisor, session.vm.uuid)) !== null) {
      session.quietSince = null;
      return;
    }
    const domain = await lookAt(hypervisor, session.vm.uuid);
    if (!isRunningHere(domain)) {
      session.quietSince ??= timers.elapsed();
      if (timers.elapsed() < session.quietSince + quietMs) return;
      if (hasLeft(domain) && state.tag !== 'declined') return this.#say(session, 'left', 'query', state.head);
    }
    // Our own migration call may have begun while we looked.
    if (session.move !== 'under-way') await session.input({ kind: 'stayed' });
  }

  async #lookTarget(session: TargetSession): Promise<void> {
    const { hypervisor, journal, now } = this.#services.host;
    if (redone.has(session.state.tag)) {
      await session.redo();
      if (session.arrivedAt !== null) this.#onArrived(session.uuid);
      return;
    }
    if (session.state.tag === 'arrived') return this.#repeat(session, session.state.message);
    if (session.state.tag !== 'staged') return;
    const domain = await lookAt(hypervisor, session.uuid);
    if (isRunningHere(domain)) {
      await session.input({ kind: 'moved' });
      this.#onArrived(session.uuid);
      return;
    }
    const permit = journal.permit(session.uuid);
    if (isActive(domain) || permit === null) return;
    const overdue = permit.consumed === null ? permit.expires : permit.consumed + incomingGraceMs;
    if (now() > overdue) await session.input({ kind: 'lost' });
  }

  /**
   * The VM is here and does not leave, or nothing of it is here and the target must have it: said again until the target has answered, also over a
   * connection that is there (a full disk may have kept it from being said), and over another one where nobody answers on that.
   */
  async #say(
    session: SourceSession,
    outcome: 'stayed' | 'left',
    kind: 'abort' | 'query',
    head: Uint8Array,
  ): Promise<void> {
    const { timers } = this.#services.host;
    session.silentSince ??= timers.elapsed();
    if (timers.elapsed() > session.silentSince + silentMs) session.disconnect();
    if (!session.connected) return this.#repeat(session, { kind, session: session.session, head });
    if (timers.elapsed() < session.repeatedAt + repeatMs) return;
    session.repeatedAt = timers.elapsed();
    await session.input({ kind: outcome });
  }

  /** What the peer must hear: over a new connection when the first one is gone, until it has answered. */
  async #repeat(session: SourceSession | TargetSession, message: Message): Promise<void> {
    const { host } = this.#services;
    // A host that lost its power, or one that repeats old words, leaves a connection over which nothing comes.
    if (session.connected && host.timers.elapsed() > session.spokenAt + silentMs) session.disconnect();
    if (session.connected || host.timers.elapsed() < session.repeatedAt + repeatMs) return;
    session.repeatedAt = host.timers.elapsed();
    const record = host.journal.session(session.session);
    if (record === null) return;
    const channel = await host.connect(record.address);
    if (record.peer !== channel.peerName) {
      channel.close();
      throw new TvmmpError('peer-untrusted', `${record.address} is ${channel.peerName}, not ${record.peer}`);
    }
    session.attach(channel);
    await this.#services.anchor.settle();
    await channel.send(message);
    if (record.problem.startsWith('peer-')) host.journal.noteProblem(session.session, '', host.now());
  }
}

/** States whose effect is tried again at each look until it is done. */
const redone: ReadonlySet<string> = new Set<SourceSession['state']['tag'] | TargetSession['state']['tag']>([
  'departed',
  'destroying',
  'aborted',
  'resolved',
  'giving-up',
  'arriving',
]);
