/** An enrolled and approved host whose agent is the test: it says to the shipped agents of a stage whatever the test wants said. */
import { randomUUID } from 'node:crypto';
import type { Claim } from '../../lib/evidence/claim.ts';
import { ownHello, statements } from '../../lib/migration/hello.ts';
import type { Host } from '../../lib/migration/host.ts';
import { entryHash } from '../../lib/proof/entry.ts';
import type { Entry, HostId } from '../../lib/proof/entry.ts';
import { decodeProof } from '../../lib/proof/proof.ts';
import { prepareBatch } from '../../lib/proof/signing.ts';
import type { Channel } from '../../lib/protocol/channel.ts';
import type {
  Aborted,
  Arrived,
  EvidenceMessage,
  Hello,
  Message,
  MessageKind,
  Offer,
} from '../../lib/protocol/messages.ts';
import { nameOf } from '../../lib/tpm/public-area.ts';
import { sha256 } from '../../lib/encoding/hash.ts';
import { disclaimerStatement } from '../../lib/proof/disclaimer.ts';
import type { Disclaimed } from '../../lib/proof/disclaimer.ts';
import { arrivedAfter } from '../support/forged-arrival.ts';
import { ChainBuilder, freshSession, worldStart } from '../support/proof-world.ts';
import type { WorldHost, WorldPolicy } from '../support/proof-world.ts';
import { quoted } from '../support/quoted-statement.ts';
import type { SimulatedHost } from './host.ts';
import { Life } from './kernel.ts';
import type { Stage } from './stage.ts';

/** A session that the liar has opened as the source, where the target has attested itself. */
export interface Attested {
  readonly channel: Channel;
  readonly chain: ChainBuilder;
  readonly session: Uint8Array;
  /** The target's hello. */
  readonly peer: Hello;
  readonly target: HostId;
  /** What the source has to state (SPEC 6.4). */
  readonly statement: Uint8Array;
}

/** A session that an honest source has opened with the liar, up to its offer. */
export interface Offered {
  readonly channel: Channel;
  readonly session: Uint8Array;
  readonly offer: Offer;
}

/** See the head of this file. Its name and keys are gamma's. */
export class Liar {
  readonly stage: Stage;
  readonly host: WorldHost;
  readonly policy: WorldPolicy;
  readonly #life: Life;
  readonly #inbound: Channel[] = [];

  constructor(stage: Stage, host: WorldHost = stage.world.gamma, policy: WorldPolicy = stage.world.policy) {
    this.stage = stage;
    this.host = host;
    this.policy = policy;
    this.#life = new Life(stage.kernel);
    stage.network.listen({
      name: this.host.id.name,
      life: this.#life,
      accept: (channel) => this.#inbound.push(channel),
    });
  }

  connect(to: SimulatedHost, as = this.host.id.name): Promise<Channel> {
    return this.stage.until(this.stage.network.connect(as, this.#life, to.address));
  }

  /** The next connection of somebody else's agent. */
  async accept(): Promise<Channel> {
    for (let waited = 0; waited < 1_200; waited += 1) {
      const channel = this.#inbound.shift();
      if (channel !== undefined) return channel;
      await this.stage.pass(100);
    }
    throw new Error('nobody connects');
  }

  /** The next message, of this kind. */
  async expect<K extends MessageKind>(channel: Channel, kind: K): Promise<Extract<Message, { kind: K }>> {
    let message = await this.stage.until(channel.receive(300_000));
    // Its hello announces no revocation list, so that agents bring theirs (SPEC 1.3).
    while (message.kind === 'revocations' && kind !== 'revocations')
      message = await this.stage.until(channel.receive(300_000));
    if (message.kind !== kind) throw new Error(`${message.kind} where ${kind} was expected`);
    return message as Extract<Message, { kind: K }>;
  }

  /** A chain that the liar began: a VM that it holds, or says so. */
  chain(vm: string = randomUUID()): ChainBuilder {
    const chain = new ChainBuilder(this.stage.world);
    chain.holder = this.host;
    chain.policy = this.policy;
    chain.vm = vm;
    return chain.live('created', 'started');
  }

  hello(role: 'source' | 'target', session: Uint8Array, vm: string, change: Partial<Hello> = {}): Hello {
    const { policy } = this;
    const { authority } = this.stage.world;
    const { id, certificate, tpm } = this.host;
    // Of a host, a hello needs no more than this.
    const host = {
      identity: {
        id,
        akCertificate: certificate,
        akPublic: tpm.akPublic,
        receivePublic: tpm.receivePublic,
        root: authority.root,
      },
      policy: () => ({ policy: policy.policy, envelope: policy.text }),
      revocations: () => null,
      settings: { advertise: `${id.name}:16515` },
      versions: new Map<string, string>(),
    } as unknown as Host;
    return { ...ownHello(host, role, session, vm), ...change };
  }

  /** Evidence over one statement. */
  claim(statement: Uint8Array): Claim {
    const { tpm } = this.host;
    const { selection } = this.policy.policy;
    const batch = prepareBatch([], [statement]);
    const { attest, signature } = tpm.quote(batch.qualifyingData, selection);
    const path = batch.finish(attest, signature).statementPaths[0] ?? [];
    return { attest, signature, path, pcrs: tpm.claimedPcrs(selection) };
  }

  /** As a source: opens a session, up to the target's evidence. */
  async attested(
    to: SimulatedHost,
    options: { chain?: ChainBuilder; session?: Uint8Array; hello?: Partial<Hello> } = {},
  ): Promise<Attested> {
    const chain = options.chain ?? this.chain();
    const session = options.session ?? freshSession();
    const channel = await this.connect(to);
    const own = this.hello('source', session, chain.vm, options.hello);
    await channel.send(own);
    const peer = await this.expect(channel, 'hello');
    const evidence: EvidenceMessage = await this.expect(channel, 'evidence');
    const statement = statements(channel, own, peer).source(evidence);
    return { channel, chain, session, peer, target: idOf(peer), statement };
  }

  /** As a source: the chain ends with *departing* to the target; gives the honest offer, and its answer. */
  async offer({ channel, session, statement }: Attested, proof: Uint8Array, change: Partial<Offer> = {}) {
    const sealed = new Uint8Array(126).fill(1);
    await channel.send({ kind: 'offer', session, claim: this.claim(statement), proof, sealed, ...change });
    return this.stage.until(channel.receive(60_000));
  }

  /** As the source of a session that a target's hook has opened: an honest offer of this chain; gives its answer. */
  async answerAsSource(channel: Channel, chain: ChainBuilder): Promise<Message> {
    const peer = await this.expect(channel, 'hello');
    const { session } = peer;
    const own = this.hello('source', session, chain.vm);
    await channel.send(own);
    const evidence = await this.expect(channel, 'evidence');
    const statement = statements(channel, own, peer).source(evidence);
    const attested = { channel, chain, session, peer, target: idOf(peer), statement };
    return this.offer(attested, this.depart(attested).bytes());
  }

  /** Adds the *departing* entry of a session to its chain. */
  depart({ chain, session, target }: Attested, change: Partial<Entry> = {}): ChainBuilder {
    return chain.add('departing', {
      peer: target,
      session,
      verdict: sha256(Buffer.from('accepted')),
      ...change,
    });
  }

  /** As the target of an honest source that has opened a session (`tvmmp migrate`): attests itself, and takes the offer. */
  async offered(): Promise<Offered> {
    const channel = await this.greeted();
    const offer = await this.expect(channel, 'offer');
    return { channel, session: offer.session, offer };
  }

  /** The same, up to its own evidence. */
  async greeted(change: Partial<Hello> = {}): Promise<Channel> {
    const channel = await this.accept();
    const peer = await this.expect(channel, 'hello');
    const { session } = peer;
    const own = this.hello('target', session, peer.vm, change);
    await channel.send(own);
    await channel.send({
      kind: 'evidence',
      session,
      claim: this.claim(statements(channel, own, peer).target),
    });
    return channel;
  }

  /** *staged* for an offer. */
  staged({ session, offer }: Offered): Message {
    const last = decodeProof(offer.proof).entries.at(-1);
    if (last === undefined) throw new Error('an empty proof');
    return { kind: 'staged', session, head: entryHash(last.entry) };
  }

  /** *aborted*: signed by this host's TPM for a departure in a session. */
  aborted(departure: Disclaimed): Aborted {
    const { id, certificate } = this.host;
    const time = worldStart + Math.floor(this.stage.kernel.time);
    const stated = { host: id, policy: this.policy.id, time };
    const quote = quoted(disclaimerStatement(departure, stated), this, {});
    return {
      kind: 'aborted',
      session: departure.session,
      disclaimer: { ...stated, ...quote },
      certificates: [certificate, this.stage.world.authority.policySigner],
      policies: [this.policy.text],
    };
  }

  /** *arrived* for an offer, signed by this host's TPM, whether the VM came or not. */
  arrived({ session, offer }: Offered, change: Partial<Entry> = {}): Arrived {
    const { world } = this.stage;
    const batch = prepareBatch([arrivedAfter(offer.proof, this.host.id, change)]);
    const { attest, signature } = this.host.tpm.quote(batch.qualifyingData, this.policy.policy.selection);
    const [signed] = batch.finish(attest, signature).entries;
    if (signed === undefined) throw new Error('an empty batch');
    return {
      kind: 'arrived',
      session,
      entry: signed,
      certificates: [this.host.certificate, world.authority.policySigner],
      policies: [this.policy.text],
    };
  }
}

/** The host that a hello is from, as entries name it. */
function idOf(hello: Hello): HostId {
  return { name: hello.host, akName: nameOf(hello.akPublic), certificate: sha256(hello.akCertificate) };
}
