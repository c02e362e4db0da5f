/** A host of the lab whose keys are the attacker's: real TPM, real certificates, and a tongue of its own. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { connect as connectPlain } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { connect, createServer } from 'node:tls';
import type { ConnectionOptions, Server, TLSSocket } from 'node:tls';
import { loadIdentity, loadPolicy, loadTlsIdentity } from '../../lib/agent/identity.ts';
import { TlsChannel, tlsOptions } from '../../lib/agent/tls-channel.ts';
import type { TlsIdentity } from '../../lib/agent/tls-channel.ts';
import type { Claim } from '../../lib/evidence/claim.ts';
import type { Role } from '../../lib/evidence/statement.ts';
import { ownHello, statements } from '../../lib/migration/hello.ts';
import type { Host, HostIdentity, PolicyInForce } from '../../lib/migration/host.ts';
import { disclaimerStatement } from '../../lib/proof/disclaimer.ts';
import type { Disclaimed } from '../../lib/proof/disclaimer.ts';
import { prepareBatch } from '../../lib/proof/signing.ts';
import type { SignedEntry } from '../../lib/proof/entry.ts';
import type { Channel } from '../../lib/protocol/channel.ts';
import type { Aborted, Hello, Message, MessageKind } from '../../lib/protocol/messages.ts';
import { AK_HANDLE } from '../../lib/tpm/handles.ts';
import { openTpm } from '../../lib/tpm/open.ts';
import type { PcrSelection, Tpm } from '../../lib/tpm/port.ts';

/** Port of the attacker's host that leads to the test. */
export const attackerPort = 16600;
/** How long the attacker waits for any message of an agent. */
const patienceMs = 60_000;

/** What one quote of the attacker's TPM signed. */
export interface AttackerSigned {
  readonly entries: readonly SignedEntry[];
  readonly claims: readonly Claim[];
}

/** See the head of this file. */
export class Attacker {
  readonly identity: HostIdentity;
  readonly tls: TlsIdentity;
  readonly policy: PolicyInForce;
  readonly tpm: Tpm;
  readonly #directory: string;
  readonly #inbound: Server;
  readonly #channels: TlsChannel[] = [];
  readonly #waiting: ((channel: TlsChannel) => void)[] = [];

  private constructor(directory: string, etc: string, identity: HostIdentity, tpm: Tpm) {
    this.#directory = directory;
    this.identity = identity;
    this.tpm = tpm;
    this.tls = loadTlsIdentity(etc, identity.root);
    this.policy = loadPolicy(etc, identity);
    this.#inbound = createServer({ ...tlsOptions(this.tls), requestCert: true }, (socket) => {
      socket.on('error', () => socket.destroy());
      const channel = TlsChannel.over(socket, this.tls, 'inbound');
      const next = this.#waiting.shift();
      if (next === undefined) this.#channels.push(channel);
      else next(channel);
    });
  }

  /** Takes over the host whose relay (attacker-relay.ts) has its sockets in `directory`, and whose /etc/tvmmp is `etc`. */
  static async at(directory: string, etc: string): Promise<Attacker> {
    const tpm = await openTpm(`swtpm:path=${join(directory, 'tpm.sock')}`);
    try {
      const attacker = new Attacker(directory, etc, await loadIdentity(etc, tpm), tpm);
      const path = join(directory, 'inbound');
      rmSync(path, { force: true });
      attacker.#inbound.listen(path);
      await once(attacker.#inbound, 'listening');
      return attacker;
    } catch (error) {
      await tpm.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#inbound.close();
    await this.tpm.close();
  }

  /** A bare connection to a host's agent, as anybody on the network has it. */
  async dial(host: string): Promise<Socket> {
    const socket = connectPlain(join(this.#directory, host));
    socket.on('error', () => socket.destroy());
    await once(socket, 'connect');
    return socket;
  }

  /** TLS to a host's agent; by default as an honest agent would, with options of the attack's own over that. */
  async dialTls(host: string, options: ConnectionOptions = {}): Promise<TLSSocket> {
    const socket = connect({
      ...tlsOptions(this.tls),
      socket: await this.dial(host),
      checkServerIdentity: () => undefined,
      ...options,
    });
    await new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
      socket.once('close', () => {
        reject(new Error('the connection was closed'));
      });
    });
    return socket;
  }

  /** A connection to a host's agent, as an honest agent has it. */
  async connect(host: string): Promise<TlsChannel> {
    return TlsChannel.over(await this.dialTls(host), this.tls, host);
  }

  /** The next connection of somebody else's agent. */
  async accept(): Promise<TlsChannel> {
    return this.#channels.shift() ?? new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Shows another certificate to whoever connects, while `work` runs. */
  async posingWith<T>(credentials: { cert: string; key: string }, work: () => Promise<T>): Promise<T> {
    const own = { ...tlsOptions(this.tls), requestCert: true };
    this.#inbound.setSecureContext({ ...own, ...credentials });
    try {
      return await work();
    } finally {
      this.#inbound.setSecureContext(own);
    }
  }

  /** The hello that an honest host would send, with some members changed. */
  hello(role: Role, session: Uint8Array, vm: string, change: Partial<Hello> = {}): Hello {
    const host = {
      identity: this.identity,
      policy: () => this.policy,
      revocations: () => null,
      settings: { advertise: `${this.identity.id.name}:${attackerPort}` },
      versions: new Map([['tvmmp', '0.1.0']]),
    };
    // Of a host, a hello needs no more than this.
    return { ...ownHello(host as unknown as Host, role, session, vm), ...change };
  }

  /** One quote over entries and statements, with the PCR values that belong to it. */
  async sign(
    entries: readonly Uint8Array[],
    stated: readonly Uint8Array[] = [],
    selection: PcrSelection = this.policy.policy.selection,
  ): Promise<AttackerSigned> {
    const batch = prepareBatch(entries, stated);
    const { attest, signature } = await this.tpm.quote(AK_HANDLE, batch.qualifyingData, selection);
    const signed = batch.finish(attest, signature);
    const { values } = await this.tpm.readPcrs(selection);
    const pcrs = values.map(({ bank, pcr, digest }) => ({ bank, index: pcr, value: digest }));
    return {
      entries: signed.entries,
      claims: signed.statementPaths.map((path) => ({ attest, signature, path, pcrs })),
    };
  }

  /** Evidence over one statement. */
  async claim(statement: Uint8Array, selection?: PcrSelection): Promise<Claim> {
    const [claim] = (await this.sign([], [statement], selection)).claims;
    if (claim === undefined) throw new Error('a quote without its statement');
    return claim;
  }

  /** *aborted* as an honest target signs it (SPEC 6.10). */
  async disclaim({ session, head }: Disclaimed): Promise<Aborted> {
    const { identity } = this;
    const { id, version, digest } = this.policy.policy;
    const stated = { host: identity.id, policy: { id, version, digest }, time: Date.now() };
    const { attest, signature, path } = await this.claim(disclaimerStatement({ session, head }, stated));
    return {
      kind: 'aborted',
      session,
      disclaimer: { ...stated, path, attest, signature },
      certificates: [identity.akCertificate, ...identity.signerCertificates],
      policies: [this.policy.envelope],
    };
  }
}

/** What the target has to state in its evidence: T1 over this connection and these hellos (SPEC 6.3). */
export function targetStatement(channel: Channel, own: Hello, peer: Hello): Uint8Array {
  return statements(channel, own, peer).target;
}

/** The next message, which has to be of this kind. */
export async function expectMessage<K extends MessageKind>(
  channel: TlsChannel,
  kind: K,
): Promise<Extract<Message, { kind: K }>> {
  let message = await channel.receive(patienceMs);
  // Its hello announces no revocation list, so that agents bring theirs (SPEC 1.3).
  while (message.kind === 'revocations' && kind !== 'revocations')
    message = await channel.receive(patienceMs);
  if (message.kind !== kind) throw new Error(`${message.kind} where ${kind} was expected`);
  return message as Extract<Message, { kind: K }>;
}

/** 32 random bytes. */
export function fresh(): Uint8Array {
  return new Uint8Array(randomBytes(32));
}
