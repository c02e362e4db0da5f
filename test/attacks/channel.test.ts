/** The agent's port, from the network: whoever is there, whatever they send. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { certificateToPem } from '../../lib/certificates/pem.ts';
import { frame } from '../../lib/agent/frames.ts';
import { limits } from '../../lib/limits.ts';
import { encodeMessage } from '../../lib/protocol/codec.ts';
import { attackLab, victim, victimUuid } from '../support/attacker-lab.ts';
import { expectMessage, fresh } from '../support/attacker.ts';
import { makeTestAuthority, testKeyPair } from '../support/test-authority.ts';

/** Resolves when the other end has closed the connection. */
async function closed(socket: Socket | TLSSocket): Promise<void> {
  socket.resume();
  if (!socket.destroyed) await new Promise((resolve) => socket.once('close', resolve));
}

/** A TLS connection that is accepted at first may be ended with the first bytes (TLS 1.3 authenticates the client last). */
async function refusedTls(dial: () => Promise<TLSSocket>): Promise<void> {
  let socket: TLSSocket;
  try {
    socket = await dial();
  } catch (error) {
    assert.ok(error instanceof Error);
    return;
  }
  socket.on('error', () => socket.destroy());
  let received = 0;
  socket.on('data', (chunk: Buffer) => (received += chunk.length));
  await closed(socket);
  assert.equal(received, 0);
}

/** Where a hello has its version: behind the array's head and the text `hello`. */
const versionAt = 7;

describe('attacks: the agent’s port', function () {
  this.timeout(180_000);
  const world = attackLab();
  const file = (name: string): string => readFileSync(join(world().etc('mallory'), name), 'utf8');
  const hello = (): Uint8Array => encodeMessage(world().mallory.hello('source', fresh(), victimUuid));

  afterEach(async () => {
    await world().ticksOn('alpha');
  });

  it('drops what is not TLS', async () => {
    const socket = await world().mallory.dial('alpha');
    socket.write('GET / HTTP/1.1\r\n\r\n'.repeat(100));
    await closed(socket);
  });

  it('does not speak TLS 1.2', async () => {
    await assert.rejects(
      world().mallory.dialTls('alpha', { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }),
      /alert|version|closed|reset/i,
    );
  });

  it('drops a client without a certificate', async () => {
    await refusedTls(() => world().mallory.dialTls('alpha', { cert: undefined, key: undefined }));
  });

  it('drops an agent certificate of another authority', async () => {
    const other = await makeTestAuthority('Rogue');
    const { privateKey, publicKey } = testKeyPair();
    const cert = certificateToPem(await other.agentCertificate('mallory', publicKey));
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
    await refusedTls(() => world().mallory.dialTls('alpha', { cert, key }));
  });

  it('drops the migration certificate of an enrolled host', async () => {
    const from = world().log('alpha').length;
    const cert = file('migration-tls/client-cert.pem');
    const key = file('migration-tls/client-key.pem');
    await refusedTls(() => world().mallory.dialTls('alpha', { cert, key }));
    await world().logged('alpha', /a connection was refused/, from);
    assert.match(world().log('alpha').slice(from), /certificate-invalid|usage|agent/);
  });

  it('does not send to a destination that shows a certificate of another authority', async () => {
    const other = await makeTestAuthority('Rogue');
    const { privateKey, publicKey } = testKeyPair();
    const cert = certificateToPem(await other.agentCertificate('mallory', publicKey));
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const { status, stderr } = await world().mallory.posingWith({ cert, key }, () => world().tvmmpMigrate());
    assert.notEqual(status, 0);
    assert.match(stderr, /cannot reach the agent at mallory:\d+: .*certificate/);
  });

  for (const [what, bytes, reason] of [
    [
      'a frame longer than any message',
      () => Buffer.from('ffffffff', 'hex'),
      /limit-exceeded|frame of \d+ bytes/,
    ],
    ['an empty frame', () => Buffer.alloc(4), /limit-exceeded|frame of 0 bytes/],
    ['a frame that is not CBOR', () => frame(Buffer.from('ff00ff00', 'hex')), /CBOR|encoding-invalid/],
    ['a message of unknown kind', () => frame(Buffer.from('8163666f6f', 'hex')), /unknown kind/],
    ['a hello with a byte too much', () => frame(Buffer.concat([hello(), Buffer.alloc(1)])), /CBOR|encoding/],
    ['a hello cut short', () => frame(hello().subarray(0, 200)), /CBOR|encoding/],
    [
      'a hello of another version of the protocol',
      () => frame(hello().map((byte, at) => (at === versionAt ? 2 : byte))),
      /encoding-invalid|hello/,
    ],
    [
      'a message of a session that nobody has',
      () => frame(encodeMessage({ kind: 'staged', session: fresh(), head: fresh() })),
      /not its own/,
    ],
  ] as const) {
    it(`ends the connection at ${what}`, async () => {
      const from = world().log('alpha').length;
      const socket = await world().mallory.dialTls('alpha');
      socket.write(bytes());
      await closed(socket);
      await world().logged('alpha', reason, from);
    });
  }

  it('takes a hello that comes byte by byte, and gives the session up when the rest does not come', async () => {
    const from = world().log('alpha').length;
    const socket = await world().mallory.dialTls('alpha');
    for (const byte of frame(hello()).subarray(0, 40)) socket.write(Uint8Array.of(byte));
    await closed(socket);
    await world().logged('alpha', /mallory sent nothing for \d+ s/, from);
  });

  it('makes at most so many sessions with one peer at once', async () => {
    const { mallory } = world();
    const channels = [];
    for (let n = 0; n < limits.sessionsPerPeerMax; n += 1) {
      const channel = await mallory.connect('beta');
      await channel.send(mallory.hello('source', fresh(), victimUuid));
      await expectMessage(channel, 'hello');
      channels.push(channel);
    }
    const from = world().log('beta').length;
    const more = await mallory.connect('beta');
    await assert.rejects(
      (async () => {
        await more.send(mallory.hello('source', fresh(), victimUuid));
        await more.receive(60_000);
      })(),
      /is gone/,
    );
    await world().logged('beta', /sessions in the making/, from);
    for (const channel of channels) channel.close();
  });

  it('lets others in while one address floods the port with connections', async () => {
    const { mallory } = world();
    const flood = [];
    for (let n = 0; n < 300; n += 1) flood.push(await mallory.dial('alpha'));
    const result = await world().virshMigrate('beta');
    assert.equal(result.status, 0, result.stderr);
    await world().ticksOn('beta');
    await world().becomes('alpha', 'gone');
    for (const socket of flood) socket.destroy();
    await world().lab.on('beta', 'tvmmp', 'migrate', victim, 'alpha');
    await world().becomes('beta', 'gone');
  });

  it('lets others in while one peer holds all the sessions that it may have', async () => {
    const { mallory } = world();
    const idle = [];
    for (let n = 0; n < limits.sessionsPerPeerMax + 8; n += 1) idle.push(await mallory.dialTls('alpha'));
    const result = await world().virshMigrate('beta');
    assert.equal(result.status, 0, result.stderr);
    await world().ticksOn('beta');
    await world().becomes('alpha', 'gone');
    for (const socket of idle) socket.destroy();
    await world().lab.on('beta', 'tvmmp', 'migrate', victim, 'alpha');
    await world().becomes('beta', 'gone');
  });
});
