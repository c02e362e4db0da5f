import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { Channel } from '../protocol/channel.ts';
import type { Role } from '../evidence/statement.ts';
import type { Hello, LogMessage, Message, RefusalHint } from '../protocol/messages.ts';
import { ProtocolViolation } from '../protocol/step.ts';
import type { Step } from '../protocol/step.ts';
import type { Host } from './host.ts';
import { ListExchange, foreignLists } from './list-exchange.ts';
import type { LogAppraisals, LogExchange } from './log-appraisals.ts';
import { Refused } from './refused.ts';
import type { Services } from './services.ts';
import type { StepTimings } from './timings.ts';

type MessageInput = { readonly kind: 'message'; readonly message: Message };
type EndInput = { readonly kind: 'failed' } | { readonly kind: 'refuse'; readonly hint: RefusalHint | null };

/**
 * Runs one pure state machine of lib/protocol against the real world: inputs one after another, each step's effects in
 * order, the effect's own result as the next input. Source and target sessions say what the effects are.
 */
export abstract class SessionDriver<
  State extends { readonly tag: string },
  Input,
  Effect extends { readonly do: string },
> {
  protected readonly log: Host['log'];
  protected channel: Channel | null;
  readonly #timings: StepTimings;
  readonly #host: Host;
  readonly #logAppraisals: LogAppraisals;
  /** What the peer tells of its logs, once our hello has asked for them. */
  protected peerLogs: LogExchange | null = null;
  #lists: ListExchange;
  #state: State;
  #queue: Promise<void> = Promise.resolve();
  #pending = 0;
  /** When the peer was last told again what it has not answered, by `Timers.elapsed`. */
  repeatedAt = -Infinity;
  /** When the peer was last told anything, or gave us the connection that there is, by `Timers.elapsed`. */
  spokenAt = -Infinity;
  /** Since when the peer has not answered what was said over this connection, by `Timers.elapsed`; null where nothing waits for an answer. */
  silentSince: number | null = null;
  /** What the peer's refusal hints at. */
  protected hint: RefusalHint | null = null;
  /** Why the session ended before it was committed; for the operator. */
  protected why: Error | null = null;

  protected constructor(start: State, channel: Channel | null, { host, timings, logs }: Services) {
    this.#state = start;
    this.channel = channel;
    this.log = host.log;
    this.#host = host;
    this.#lists = new ListExchange(host);
    this.#logAppraisals = logs;
    this.#timings = timings;
  }

  get state(): State {
    return this.#state;
  }

  /** Whether an input is being dealt with: what it does must not be done a second time. */
  get busy(): boolean {
    return this.#pending > 0;
  }

  /** Whether it is neither committed nor over: such sessions are counted per peer (SPEC 11). */
  get inTheMaking(): boolean {
    return !this.committed(this.#state) && !this.over(this.#state);
  }

  /** Authenticated name of the host at the other end; null without a connection. */
  get peerName(): string | null {
    return this.channel?.peerName ?? null;
  }

  abstract readonly session: Uint8Array;
  protected abstract readonly role: Role;
  protected abstract step(state: State, input: Input | MessageInput | EndInput): Step<State, Effect>;
  protected abstract perform(effect: Effect): Promise<Input | EndInput | null>;
  /** Something is in the way of a committed session; what it is, for the operator. It will be tried again. */
  abstract troubled(error: unknown): void;
  /** Whether messages are awaited without a deadline: from here on libvirt's outcome decides. */
  protected abstract committed(state: State): boolean;
  protected abstract over(state: State): boolean;
  /** Called after each step that changed the state. */
  protected abstract entered(state: State): void;

  /** Feeds one input; resolves when it and all that follows from it has been dealt with. Never rejects. */
  input(input: Input | MessageInput | EndInput): Promise<void> {
    this.#pending += 1;
    const done = this.#queue
      .then(() => this.#process(input))
      .catch((error: unknown) => {
        this.log.error(
          { state: this.#state.tag, error: String(error) },
          'a step of a session failed; it will be tried again',
        );
      })
      .finally(() => {
        this.#pending -= 1;
      });
    this.#queue = done;
    return done;
  }

  /** Takes over a later connection of the same peer (SPEC 6.1). */
  attach(channel: Channel): void {
    if (this.channel !== channel) this.channel?.close();
    this.channel = channel;
    this.spokenAt = this.#host.timers.elapsed();
    this.silentSince = null;
    this.#lists = new ListExchange(this.#host);
    void this.listen();
  }

  /** Reads the peer's messages until the session is over or the connection is gone. */
  async listen(): Promise<void> {
    const { channel } = this;
    while (channel !== null && channel === this.channel && !this.over(this.#state)) {
      try {
        const deadline = this.committed(this.#state) ? 2 ** 31 - 1 : limits.messageDeadlineMs;
        const message = await channel.receive(deadline);
        this.silentSince = null;
        if (this.#lists.received(message, this.session, foreignLists(this.#host, channel))) continue;
        if (message.kind === 'log') {
          await this.#receivedLog(message);
          continue;
        }
        if (message.kind === 'refused') this.hint = message.hint;
        await this.input({ kind: 'message', message });
      } catch (error) {
        if (channel !== this.channel) return;
        this.disconnect();
        await this.fail(error);
        return;
      }
    }
  }

  /** A piece of a log is no state machine's business, as lists are none; who sends what nobody asked for is not listened to. */
  async #receivedLog(message: LogMessage): Promise<void> {
    if (this.peerLogs === null) throw new ProtocolViolation('a log that nobody asked for');
    await this.peerLogs.received(message, this.session);
  }

  /** Ends a session that is not committed; a committed one goes on without the connection. */
  async fail(error: unknown): Promise<void> {
    if (!this.committed(this.#state)) this.why ??= error instanceof Error ? error : new Error(String(error));
    await this.input({ kind: 'failed' });
  }

  /** Closes the connection, if there is one. */
  disconnect(): void {
    const { channel } = this;
    this.peerLogs?.end();
    this.channel = null;
    channel?.close();
  }

  /** Whether there is a connection to the peer. */
  get connected(): boolean {
    return this.channel !== null;
  }

  /** Takes note of a hello that came before this session was there. */
  protected greetedBy(hello: Hello): void {
    this.#lists.received(hello, this.session, foreignLists(this.#host, this.channel));
  }

  protected async send(message: Message): Promise<void> {
    if (this.channel === null) throw new TvmmpError('peer-unreachable', 'the connection to the peer is gone');
    this.spokenAt = this.#host.timers.elapsed();
    await this.#lists.beforeSending(this.channel);
    if (message.kind === 'hello' && message.wanted !== undefined)
      this.peerLogs = this.#logAppraisals.begin(this.channel.peerName, message.wanted);
    await this.channel.send(message);
  }

  async #process(first: Input | MessageInput | EndInput): Promise<void> {
    let input: Input | MessageInput | EndInput | null = first;
    while (input !== null) {
      let step: Step<State, Effect>;
      try {
        step = this.step(this.#state, input);
      } catch (error) {
        if (!(error instanceof ProtocolViolation)) throw error;
        // Not the peer's doing: two looks at libvirt, or an effect and a look, came to the same conclusion.
        if (!isMessage(input)) return;
        this.log.warn({ state: this.#state.tag, violation: error.message }, 'the peer broke the protocol');
        this.disconnect();
        if (this.committed(this.#state) || this.over(this.#state)) return;
        this.why ??= new Refused(`the peer broke the protocol: ${error.message}`);
        input = { kind: 'failed' };
        continue;
      }
      const changed = step.state !== this.#state;
      this.log.debug(
        { role: this.role, from: this.#state.tag, input: nameOf(input), to: step.state.tag },
        'step',
      );
      if (changed) this.#enter(step.state);
      input = await this.#effects(step.effects);
    }
    if (this.over(this.#state)) this.disconnect();
  }

  /** A committed session is over when its end is written down: where that fails it stays where it was (SPEC 6.8), and is met again. */
  #enter(next: State): void {
    const before = this.#state;
    this.#state = next;
    try {
      this.entered(next);
    } catch (error) {
      if (this.over(next) && this.committed(before)) this.#state = before;
      throw error;
    }
  }

  /** Does what has to be done; the last effect's result is the next input. */
  async #effects(effects: readonly Effect[]): Promise<Input | EndInput | null> {
    let next: Input | EndInput | null = null;
    for (const effect of effects) {
      try {
        next = (await this.#timings.measure(effect.do, () => this.perform(effect))) ?? next;
      } catch (error) {
        if (this.committed(this.#state) || this.over(this.#state)) {
          this.log.warn(
            { state: this.#state.tag, error: String(error) },
            'a step after the commitment failed',
          );
          this.troubled(error);
          // A message can be said again; what follows a deed that failed is not true yet.
          if (effect.do !== 'send') break;
          continue;
        }
        this.why ??= error instanceof Error ? error : new Error(String(error));
        return error instanceof Refused ? { kind: 'refuse', hint: error.hint } : { kind: 'failed' };
      }
    }
    return next;
  }
}

/** What came in: a message by its kind. */
function nameOf(input: unknown): string {
  const { kind, message } = input as { kind: string; message?: Message };
  return kind === 'message' && message !== undefined ? message.kind : kind;
}

function isMessage(input: unknown): boolean {
  return typeof input === 'object' && input !== null && 'kind' in input && input.kind === 'message';
}
