import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { servePeers } from '../../../lib/agent/peer-server.ts';
import { openChannel } from '../../../lib/agent/tls-channel.ts';
import type { TlsChannel, TlsIdentity } from '../../../lib/agent/tls-channel.ts';
import { certificateToPem } from '../../../lib/certificates/pem.ts';
import type { Log } from '../../../lib/migration/host.ts';
import { makeTestAuthority, testKeyPair } from '../../support/test-authority.ts';
import type { TestAuthority } from '../../support/test-authority.ts';

const nothing = (): void => undefined;
const log: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing };
/** Linux, /proc/net/tcp: the timer of the connection is the one of its keepalive probes. */
const keepaliveTimer = '02';

async function identityOf(authority: TestAuthority, name: string): Promise<TlsIdentity> {
  const { publicKey, privateKey } = testKeyPair();
  return {
    certificate: certificateToPem(await authority.agentCertificate(name, publicKey)),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    root: authority.root,
    rootPem: certificateToPem(authority.root.der),
  };
}

/** Timers of the connections from or to a local port, as the kernel shows them. */
function timersOf(port: number): readonly string[] {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return ['/proc/net/tcp', '/proc/net/tcp6']
    .flatMap((file) => readFileSync(file, 'utf8').split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter(
      ([, local = '', remote = '', state]) =>
        state === '01' && (local.endsWith(wanted) || remote.endsWith(wanted)),
    )
    .map(([, , , , , timer = '']) => timer.slice(0, 2));
}

describe('a connection between agents', () => {
  it('is probed from both ends while it is idle, so that a peer that went without a word is noticed', async () => {
    const authority = await makeTestAuthority();
    const [alpha, beta] = [
      await identityOf(authority, 'alpha.test'),
      await identityOf(authority, 'beta.test'),
    ];
    const accepted: TlsChannel[] = [];
    const server = await servePeers(
      { address: '127.0.0.1', port: 0 },
      () => beta,
      (channel) => Promise.resolve(void accepted.push(channel)),
      log,
    );
    const { port } = server.address() as AddressInfo;
    try {
      const channel = await openChannel(`127.0.0.1:${port}`, alpha, 10_000);
      try {
        await channel.send({ kind: 'refused', session: new Uint8Array(32), hint: null });
        while (accepted.length === 0) await new Promise((resolve) => setImmediate(resolve));
        await accepted[0]?.receive(10_000);
        // What was sent has to be acknowledged first: until then the timer is that of sending it again.
        let timers = timersOf(port);
        for (let tries = 0; tries < 500 && timers.some((timer) => timer === '01'); tries += 1) {
          await new Promise((resolve) => setTimeout(resolve, 10));
          timers = timersOf(port);
        }
        assert.deepEqual(timers, [keepaliveTimer, keepaliveTimer]);
      } finally {
        channel.close();
      }
    } finally {
      for (const channel of accepted) channel.close();
      server.close();
    }
  });
});
