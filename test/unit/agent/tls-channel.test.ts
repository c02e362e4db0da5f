/** Connections between agents (SPEC 6, 11): real TLS on this machine, with certificates of a test's authority. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectPlain } from 'node:net';
import { connect } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';
import { frame } from '../../../lib/agent/frames.ts';
import { servePeers } from '../../../lib/agent/peer-server.ts';
import { openChannel, splitAddress, TlsChannel, tlsOptions } from '../../../lib/agent/tls-channel.ts';
import type { TlsIdentity } from '../../../lib/agent/tls-channel.ts';
import { certificateToPem } from '../../../lib/certificates/pem.ts';
import { limits } from '../../../lib/limits.ts';
import type { Log } from '../../../lib/migration/host.ts';
import { makeTestAuthority, testKeyPair } from '../../support/test-authority.ts';
import type { TestAuthority } from '../../support/test-authority.ts';

type Kind = 'agent' | 'migration';

async function identityOf(
  authority: TestAuthority,
  name: string,
  kind: Kind = 'agent',
): Promise<TlsIdentity> {
  const keys = testKeyPair();
  const certificate =
    kind === 'agent'
      ? await authority.agentCertificate(name, keys.publicKey)
      : await authority.migrationCertificate(name, keys.publicKey);
  return {
    certificate: certificateToPem(certificate),
    key: keys.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    root: authority.root,
    rootPem: certificateToPem(authority.root.der),
  };
}

describe('connections between agents (SPEC 6)', () => {
  let server: Server;
  let address: string;
  let alpha: TlsIdentity;
  let authority: TestAuthority;
  const accepted: TlsChannel[] = [];
  const logged: string[] = [];
  const note = (fields: object, message: string): void => {
    logged.push(`${message} ${JSON.stringify(fields)}`);
  };
  const log: Log = { debug: note, info: note, warn: note, error: note };
  const sockets: Socket[] = [];

  before(async () => {
    authority = await makeTestAuthority();
    const beta = await identityOf(authority, 'beta.test');
    alpha = await identityOf(authority, 'alpha.test');
    server = await servePeers(
      { address: '127.0.0.1', port: 0 },
      () => beta,
      (channel) => {
        accepted.push(channel);
        return Promise.resolve();
      },
      log,
    );
    address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => {
    server.close();
  });
  afterEach(() => {
    for (const channel of accepted.splice(0)) channel.close();
    for (const socket of sockets.splice(0)) socket.destroy();
    logged.length = 0;
  });

  /** Whether the server takes a connection made in this way: it ends before a channel is made, or after. */
  async function refuses(options: ConnectionOptions): Promise<void> {
    const { host, port } = splitAddress(address);
    const unnamed = { rejectUnauthorized: false, checkServerIdentity: (): undefined => undefined };
    const socket = connect({ ...unnamed, ...options, host, port });
    socket.resume();
    await closed(socket);
    assert.equal(accepted.length, 0);
  }

  /** The server's end of a connection over which an agent wrote these bytes. */
  async function heard(bytes: Uint8Array): Promise<TlsChannel> {
    const { host, port } = splitAddress(address);
    const socket = connect({ ...tlsOptions(alpha), host, port, checkServerIdentity: () => undefined });
    sockets.push(socket);
    socket.on('error', () => socket.destroy());
    await once(socket, 'secureConnect');
    socket.write(bytes);
    await soon(() => accepted.length > 0);
    return accepted[0]!;
  }

  it('are made by two agents of one authority, and each knows the other’s name', async () => {
    const channel = await openChannel(address, alpha, 5_000);
    assert.equal(channel.peerName, 'beta.test');
    const session = new Uint8Array(32);
    await channel.send({ kind: 'abort', session, head: session });
    await soon(() => accepted.length > 0);
    const [other] = accepted;
    assert.equal(other?.peerName, 'alpha.test');
    assert.deepEqual(await other.receive(5_000), { kind: 'abort', session, head: session });
    assert.deepEqual(channel.exporter, other.exporter);
    assert.deepEqual(channel.ownCertificateHash, other.peerCertificateHash);
    assert.deepEqual(channel.peerCertificateHash, other.ownCertificateHash);
    channel.close();
  });

  it('are not made with TLS 1.2', async () => {
    await refuses({ ...tlsOptions(alpha), minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' });
  });

  it('are not made without a certificate', async () => {
    await refuses({ minVersion: 'TLSv1.3' });
  });

  it('are not made with the migration certificate of an enrolled host', async () => {
    await refuses(tlsOptions(await identityOf(authority, 'alpha.test', 'migration')));
    assert.equal(
      logged.some((line) => line.includes('a connection was refused')),
      true,
    );
  });

  it('are not made with a certificate of another authority', async () => {
    const stranger = await identityOf(await makeTestAuthority('Other'), 'alpha.test');
    await refuses({ ...tlsOptions(stranger), ca: alpha.rootPem });
    await assert.rejects(openChannel(address, stranger, 5_000), /cannot reach the agent/);
  });

  describe('with hosts of a domain that the policy names (SPEC 17.2)', () => {
    let partner: TestAuthority;
    let named: Server;
    let believing: TlsIdentity;
    let port: number;
    const theirs: TlsChannel[] = [];
    before(async () => {
      partner = await makeTestAuthority('Partner');
      believing = await identityOf(partner, 'gamma.test');
      named = await servePeers(
        { address: '127.0.0.1', port: 0 },
        () => believing,
        (channel) => {
          theirs.push(channel);
          return Promise.resolve();
        },
        log,
      );
      port = (named.address() as AddressInfo).port;
    });
    after(() => {
      named.close();
    });
    const ofAcme = () => [{ name: 'acme', root: authority.root }];
    const ofPartner = () => [{ name: 'partner', root: partner.root }];

    it('are made once both policies name the other domain, also while the server runs; each knows name and root', async () => {
      const there = `127.0.0.1:${port}`;
      await assert.rejects(
        openChannel(there, alpha, 5_000),
        /certificate of an authority that is neither ours nor that of a domain that our policy names/,
      );
      const unheard = await openChannel(there, { ...alpha, domains: ofPartner() }, 5_000);
      await assert.rejects(unheard.receive(5_000), /is gone/);
      believing = { ...believing, domains: ofAcme() };
      const channel = await openChannel(there, { ...alpha, domains: ofPartner() }, 5_000);
      await soon(() => theirs.length > 0);
      const [other] = theirs;
      assert.equal(channel.peerName, 'gamma.test@partner');
      assert.deepEqual(channel.peerRoot, partner.root.digest);
      assert.equal(other?.peerName, 'alpha.test@acme');
      assert.deepEqual(other.peerRoot, authority.root.digest);
      channel.close();
      other.close();
    });

    it('are not made any more by a server whose policy has ceased to name it', async () => {
      const { domains, ...alone } = believing;
      assert.ok(domains !== undefined);
      believing = alone;
      const channel = await openChannel(`127.0.0.1:${port}`, { ...alpha, domains: ofPartner() }, 5_000);
      await assert.rejects(channel.receive(5_000), /is gone/);
    });

    it('do not take a host of another domain for one of ours of the same name', async () => {
      const twin = await identityOf(partner, 'alpha.test');
      believing = { ...(await identityOf(authority, 'beta.test')), domains: ofPartner() };
      theirs.length = 0;
      const channel = await openChannel(`127.0.0.1:${port}`, { ...twin, domains: ofAcme() }, 5_000);
      await soon(() => theirs.length > 0);
      assert.equal(theirs[0]?.peerName, 'alpha.test@partner');
      channel.close();
    });
  });

  it('are not made to a server that shows a certificate of another authority, or of another kind', async () => {
    for (const other of [
      await identityOf(await makeTestAuthority('Other'), 'beta.test'),
      await identityOf(authority, 'beta.test', 'migration'),
    ]) {
      const elsewhere = await servePeers(
        { address: '127.0.0.1', port: 0 },
        () => other,
        () => Promise.resolve(),
        log,
      );
      try {
        const { port } = elsewhere.address() as AddressInfo;
        await assert.rejects(openChannel(`127.0.0.1:${port}`, alpha, 5_000));
      } finally {
        elsewhere.close();
      }
    }
  });

  it('end at a frame longer than any message', async () => {
    const head = Buffer.alloc(4);
    head.writeUInt32BE(limits.frameBytesMax + 1);
    await assert.rejects((await heard(head)).receive(5_000), /frame of \d+ bytes, at most/);
  });

  it('end where a peer says more than it was asked for', async () => {
    const channel = await openChannel(address, alpha, 5_000);
    const session = new Uint8Array(32);
    for (let n = 0; n < 5; n += 1) await channel.send({ kind: 'abort', session, head: session });
    await assert.rejects(channel.receive(5_000), /gone/);
    const [other] = accepted;
    for (let n = 0; n < 4; n += 1) await other!.receive(5_000);
    await assert.rejects(other!.receive(5_000), /sends more than it was asked for/);
  });

  it('hold a peer back that tells a log faster than it is dealt with, and lose nothing of it', async () => {
    const channel = await openChannel(address, alpha, 5_000);
    const session = new Uint8Array(32);
    // More than the sockets between them hold.
    const count = 96;
    let sent = 0;
    const sending = Array.from({ length: count }, async (_, n) => {
      const data = new Uint8Array(limits.logPieceBytesMax).fill(n);
      await channel.send({ kind: 'log', session, log: 'ima-list', from: n, data });
      sent += 1;
    });
    for (let [before, still] = [0, 0]; sent < count && still < 20; before = sent) {
      await sleep(100);
      still = sent === before && sent > 0 ? still + 1 : 0;
    }
    assert.ok(sent < count, `${sent} of ${count} pieces were taken at once`);
    const last = channel.send({ kind: 'abort', session, head: session });
    const [other] = accepted;
    for (let n = 0; n < count; n += 1) {
      const piece = await other!.receive(20_000);
      assert.ok(piece.kind === 'log' && piece.from === n && piece.data[0] === n);
    }
    assert.equal((await other!.receive(20_000)).kind, 'abort');
    await Promise.all([...sending, last]);
  });

  it('end at a message that is none', async () => {
    await assert.rejects((await heard(frame(Uint8Array.of(0x80)))).receive(5_000), /message/);
  });

  it('of one address are bounded, and room is made when they close', async () => {
    const { host, port } = splitAddress(address);
    const open: Socket[] = [];
    const dial = async (): Promise<Socket> => {
      const socket = connectPlain(port, host);
      socket.on('error', () => socket.destroy());
      sockets.push(socket);
      await once(socket, 'connect');
      return socket;
    };
    // Those of the tests before are closed, or closing.
    await soon(async () => (await connectionsOf(server)) === 0);
    for (let n = 0; n < limits.connectionsPerAddressMax; n += 1) open.push(await dial());
    const more = connectPlain(port, host);
    more.resume();
    await closed(more);
    assert.equal(open.filter(({ destroyed }) => destroyed).length, 0);
    for (const socket of open) socket.destroy();
    await soon(async () => (await connectionsOf(server)) === 0);
    const channel = await openChannel(address, alpha, 5_000);
    channel.close();
  });
});

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      resolve();
    });
  });
}

/** Waits until it holds; the test's own timeout is longer. */
async function soon(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let n = 0; n < 1_000; n += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('it does not come to hold');
}

function connectionsOf(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => {
      if (error === null) resolve(count);
      else reject(error);
    });
  });
}
