/** Links between hosts, and the agents' connections over them: messages in order until the connection breaks, then none. */
import { randomBytes } from 'node:crypto';
import { bytesEqual } from '../../lib/bytes/compare.ts';
import { sha256 } from '../../lib/encoding/hash.ts';
import { TvmmpError } from '../../lib/errors.ts';
import { decodeMessage, encodeMessage } from '../../lib/protocol/codec.ts';
import type { Channel } from '../../lib/protocol/channel.ts';
import type { Aborted, Message, MessageKind } from '../../lib/protocol/messages.ts';
import type { Kernel, Life } from './kernel.ts';

/** Who listens at an address. */
export interface Listener {
  readonly name: string;
  readonly life: Life;
  readonly accept: (channel: Channel) => void;
}

/** A message under way. */
type Wire = Uint8Array | Message;

/** One message that went over the network: it may be said again later. */
interface Heard {
  readonly from: string;
  readonly to: string;
  readonly wire: Wire;
}

export class Network {
  readonly kernel: Kernel;
  readonly #listeners = new Map<string, Listener>();
  readonly #cut = new Set<string>();
  readonly #open = new Set<End>();
  /** How likely a message breaks its connection instead of, or right after, being delivered. */
  breakage = 0;
  /** The longest that a message may take. */
  delayMs = 5;
  /** Whether messages travel as bytes, through the shipped codec: otherwise as they are, frozen. */
  readonly encoded: boolean;
  /** The next message of this kind is lost, and its connection with it. */
  losesNext: MessageKind | null = null;
  /** When the next message of this kind has come, *refused* is said to who sent it: see `refuse`. */
  refusesNext: MessageKind | null = null;
  /** How long nothing comes back from where the next migration of libvirt's ends, milliseconds: the answer that it ended is lost. */
  losesAnswerMs: number | null = null;
  /** How often libvirt itself let a guest run twice. */
  doublings = 0;
  /** What the TLS certificate of a host of another domain says to a host; null within a domain. Throws where its root is not believed. */
  domainSeen: (own: string, peer: string) => { readonly name: string; readonly root: Uint8Array } | null =
    () => null;
  readonly heard: Heard[] = [];
  sent = 0;

  constructor(kernel: Kernel, encoded: boolean) {
    this.kernel = kernel;
    this.encoded = encoded;
  }

  listen(listener: Listener): void {
    this.#listeners.set(listener.name, listener);
    listener.life.onEnd(() => {
      if (this.#listeners.get(listener.name) === listener) this.#listeners.delete(listener.name);
    });
  }

  /** Whether what `from` sends reaches `to`. */
  reaches(from: string, to: string): boolean {
    return !this.#cut.has(`${from}>${to}`);
  }

  /** Cuts one direction, or heals it. Connections over it break. */
  link(from: string, to: string, up: boolean): void {
    if (up) this.#cut.delete(`${from}>${to}`);
    else {
      this.#cut.add(`${from}>${to}`);
      for (const end of [...this.#open]) {
        if ((end.own === from && end.peer === to) || (end.own === to && end.peer === from)) end.break();
      }
    }
  }

  healAll(): void {
    this.#cut.clear();
    this.losesNext = null;
    this.refusesNext = null;
    this.losesAnswerMs = null;
    this.breakage = 0;
  }

  /** A connection from a host's agent to the agent at HOST:PORT. */
  async connect(from: string, life: Life, address: string): Promise<Channel> {
    const name = address.slice(0, address.lastIndexOf(':'));
    await life.guard(this.kernel.sleep(this.kernel.between(0.2, this.delayMs)));
    const listener = this.#listeners.get(name);
    if (listener === undefined || !this.reaches(from, name) || !this.reaches(name, from)) {
      throw new TvmmpError('peer-unreachable', `nobody answers at ${address}`);
    }
    const [near, far] = this.#pair({ name: from, life }, listener);
    // Whoever does not believe the other one ends the handshake.
    for (const end of [near, far]) this.domainSeen(end.own, end.peer);
    listener.accept(far);
    return near;
  }

  /** Says something again that was said before, over a connection of its own. */
  repeat(index: number): void {
    const heard = this.heard[index % Math.max(1, this.heard.length)];
    const listener = heard === undefined ? undefined : this.#listeners.get(heard.to);
    if (heard === undefined || listener === undefined || !this.reaches(heard.from, heard.to)) return;
    const [near, far] = this.#pair({ name: heard.from, life: listener.life }, listener);
    listener.accept(far);
    near.deliver(heard.wire);
  }

  /** Who has stolen a host's TLS key says *refused* in its name, in a session that was just heard of, whatever it stands at. */
  refuse(index: number): void {
    const about = this.heard[index % Math.max(1, this.heard.length)];
    if (about !== undefined) this.#refuse(about.from, about.to, readMessage(about.wire).session);
  }

  /** A message has come: who listens may take up its session. */
  overheard(from: string, to: string, wire: Wire): void {
    this.heard.push({ from, to, wire });
    if (this.heard.length > 64) this.heard.shift();
    if (this.refusesNext === null) return;
    const { kind, session } = readMessage(wire);
    if (kind !== this.refusesNext) return;
    this.refusesNext = null;
    this.#refuse(to, from, session);
  }

  #refuse(from: string, to: string, session: Uint8Array): void {
    const listener = this.#listeners.get(to);
    if (listener === undefined || !this.reaches(from, to)) return;
    this.#say({ kind: 'refused', session, hint: null }, from, listener);
  }

  /**
   * Who has stolen a target's TLS key says *aborted* in its name (SPEC 6.10), in a session that was just heard of: with the disclaimer of another
   * session, if one was heard, or with no more than the form of one.
   */
  forge(index: number): void {
    const said = this.heard.map(({ from, to, wire }) => ({ from, to, message: readMessage(wire) }));
    const offers = said.filter(({ message }) => message.kind === 'offer' || message.kind === 'abort');
    const about = offers[index % Math.max(1, offers.length)];
    const listener = about === undefined ? undefined : this.#listeners.get(about.from);
    if (about === undefined || listener === undefined || !this.reaches(about.to, about.from)) return;
    const { session } = about.message;
    const others = said.flatMap(({ message }) => (message.kind === 'aborted' ? [message] : []));
    const known = others.find((other) => !bytesEqual(other.session, session)) ?? formOfAborted;
    this.#say({ ...known, session }, about.to, listener);
  }

  /** One message over a connection of its own, by whoever has the TLS key of `from`. */
  #say(message: Message, from: string, listener: Listener): void {
    const [near, far] = this.#pair({ name: from, life: listener.life }, listener);
    listener.accept(far);
    near.deliver(this.encoded ? encodeMessage(message) : Object.freeze(message));
  }

  #pair(one: { name: string; life: Life }, two: { name: string; life: Life }): [End, End] {
    const exporter = new Uint8Array(randomBytes(32));
    const near = new End(this, one.name, two.name, one.life, exporter);
    const far = new End(this, two.name, one.name, two.life, exporter);
    near.other = far;
    far.other = near;
    for (const end of [near, far]) {
      this.#open.add(end);
      end.life.onEnd(() => {
        end.break();
      });
    }
    return [near, far];
  }

  forget(end: End): void {
    this.#open.delete(end);
  }
}

/** An *aborted* that nobody signed. */
const formOfAborted: Aborted = {
  kind: 'aborted',
  session: new Uint8Array(32),
  disclaimer: {
    host: { name: 'nobody', akName: new Uint8Array(34), certificate: new Uint8Array(32) },
    policy: { id: 'none', version: 1, digest: new Uint8Array(32) },
    time: 0,
    path: [],
    attest: new Uint8Array(100),
    signature: new Uint8Array(72),
  },
  certificates: [],
  policies: [],
};

/** One end of a connection. */
class End implements Channel {
  readonly #network: Network;
  readonly own: string;
  /** Name of the host at the other end. */
  readonly peer: string;
  readonly life: Life;
  readonly exporter: Uint8Array;
  readonly peerAddress: string;
  other: End | null = null;
  #broken = false;
  #closed = false;
  /** When the last message that is under way arrives: none overtakes another. */
  #arrives = 0;
  #inbox: Wire[] = [];
  #waiting: ((wake: Wire | Error) => void) | null = null;

  constructor(network: Network, own: string, peer: string, life: Life, exporter: Uint8Array) {
    this.#network = network;
    this.own = own;
    this.peer = peer;
    this.peerAddress = `${peer}:1`;
    this.life = life;
    this.exporter = exporter;
  }

  get peerName(): string {
    const domain = this.#network.domainSeen(this.own, this.peer);
    return domain === null ? this.peer : `${this.peer}@${domain.name}`;
  }

  get peerRoot(): Uint8Array | undefined {
    return this.#network.domainSeen(this.own, this.peer)?.root;
  }

  get ownCertificateHash(): Uint8Array {
    return tlsCertificate(this.own);
  }

  get peerCertificateHash(): Uint8Array {
    return tlsCertificate(this.peer);
  }

  async send(message: Message): Promise<void> {
    if (this.#broken || this.#closed) throw gone();
    const wire = this.#network.encoded ? encodeMessage(message) : Object.freeze(message);
    const { kernel } = this.#network;
    this.#network.sent += 1;
    const breaks = kernel.chance(this.#network.breakage);
    const chosen = this.#network.losesNext === message.kind;
    if (chosen) this.#network.losesNext = null;
    const lost = chosen || (breaks && kernel.chance(0.5));
    if (!lost) this.deliver(wire);
    if (breaks || chosen) {
      kernel.at(kernel.between(0, 2 * this.#network.delayMs), () => {
        this.break();
      });
    }
    await Promise.resolve();
  }

  deliver(wire: Wire): void {
    const { kernel } = this.#network;
    const arrives = Math.max(this.#arrives, kernel.time + kernel.between(0.1, this.#network.delayMs));
    this.#arrives = arrives;
    kernel.at(arrives - kernel.time, () => {
      if (this.#broken || !this.#network.reaches(this.own, this.peer)) return;
      this.#network.overheard(this.own, this.peer, wire);
      this.other?.take(wire);
    });
  }

  take(wire: Wire): void {
    if (this.#broken || this.#closed) return;
    if (this.#waiting !== null) this.#waiting(wire);
    else this.#inbox.push(wire);
  }

  receive(deadlineMs: number): Promise<Message> {
    const ready = this.#inbox.shift();
    if (ready !== undefined) return Promise.resolve(readMessage(ready));
    if (this.#broken || this.#closed) return Promise.reject(gone());
    const arrived = new Promise<Wire>((resolve, reject) => {
      const timer = this.life.timers().after(deadlineMs, () => {
        this.#waiting?.(new TvmmpError('peer-timeout', `${this.peer} did not answer in time`));
      });
      this.#waiting = (wake) => {
        this.#waiting = null;
        timer.stop();
        if (wake instanceof Error) reject(wake);
        else resolve(wake);
      };
    });
    return this.life.guard(arrived.then(readMessage));
  }

  /** In order: what was sent before still arrives. */
  close(): void {
    if (this.#closed || this.#broken) return;
    this.#closed = true;
    this.#waiting?.(gone());
    const { kernel } = this.#network;
    kernel.at(Math.max(0, this.#arrives - kernel.time), () => {
      this.break();
    });
  }

  break(): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#network.forget(this);
    this.#waiting?.(gone());
    const { other } = this;
    this.#network.kernel.at(this.#network.kernel.between(0, this.#network.delayMs), () => other?.break());
  }
}

export function readMessage(wire: Wire): Message {
  return wire instanceof Uint8Array ? decodeMessage(wire) : wire;
}

function gone(): TvmmpError {
  return new TvmmpError('peer-unreachable', 'the connection is gone');
}

const certificates = new Map<string, Uint8Array>();

function tlsCertificate(name: string): Uint8Array {
  const known = certificates.get(name) ?? sha256(Buffer.from(`TLS certificate of ${name}`));
  certificates.set(name, known);
  return known;
}
