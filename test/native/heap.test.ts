import { strict as assert } from 'node:assert';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createPrivateKey, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, readSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadBridge, type OwnSealedKey } from '../../lib/native/bridge.ts';
import { libvirtdMissing, PrivateLibvirtd } from '../support/libvirtd.ts';
import { endProcess, TpmHost } from './tpm-host.ts';
import { skipWithout } from '../support/skip.ts';

const childPath = fileURLToPath(new URL('heap-child.ts', import.meta.url));

/** `own` as JSON, bytes in base64. */
function portable(own: OwnSealedKey): unknown {
  return JSON.parse(
    JSON.stringify(own, (_key, value: unknown) => {
      const buffer = value as { type?: string; data?: number[] } | null;
      if (buffer?.type === 'Buffer' && buffer.data !== undefined)
        return Buffer.from(buffer.data).toString('base64');
      return value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value;
    }),
  );
}

/** How often `needle` occurs in the writable memory of a process. */
function occurrences(pid: number, needle: Buffer): number {
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  let found = 0;
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
      const match = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line);
      if (match === null) continue;
      const [from, to] = [Number.parseInt(match[1]!, 16), Number.parseInt(match[2]!, 16)];
      for (let at = from; at < to; at += 1 << 20) {
        const chunk = Buffer.alloc(Math.min((1 << 20) + needle.length, to - at));
        let length = 0;
        try {
          length = readSync(memory, chunk, 0, chunk.length, at);
        } catch {
          continue; // a page that is not there
        }
        for (
          let hit = chunk.subarray(0, length).indexOf(needle);
          hit >= 0;
          hit = chunk.subarray(0, length).indexOf(needle, hit + 1)
        )
          found++;
      }
    }
  } finally {
    closeSync(memory);
  }
  return found;
}

describe('the vTPM passphrase in the agent process', function () {
  this.timeout(180_000);
  const secretUuid = randomUUID();
  let host: TpmHost;
  let daemon: PrivateLibvirtd;
  let child: ChildProcess | undefined;

  before(async function () {
    skipWithout(this, libvirtdMissing());
    host = await TpmHost.start();
    daemon = await PrivateLibvirtd.start();
  });
  after(async () => {
    await endProcess(child);
    await daemon.stop();
    await host.stop();
  });

  it('is in no heap snapshot, taken while operations run and after, and nowhere in its memory in the end', async () => {
    const virsh = (...args: string[]): string =>
      execFileSync('virsh', ['-q', '-c', daemon.uri, ...args]).toString();
    const xml = `<secret ephemeral='yes' private='no'><uuid>${secretUuid}</uuid><usage type='vtpm'><name>heap</name></usage></secret>`;
    writeFileSync(join(daemon.directory, 'secret.xml'), xml);
    virsh('secret-define', join(daemon.directory, 'secret.xml'));
    const context = Buffer.from('key-context');
    const blob = await loadBridge().createSealedKey({ recipientPublic: host.receivePublic, context });
    const keyFile = join(host.directory, 'escrow-key.pem');
    const passphraseFile = join(host.directory, 'escrow-passphrase');
    writeFileSync(passphraseFile, 'of the escrow key alone\n');
    const spki = await loadBridge().createEscrowKey({ keyFile, passphraseFile });
    const snapshots = [
      join(host.directory, 'during.heapsnapshot'),
      join(host.directory, 'after.heapsnapshot'),
    ] as const;
    const order = {
      own: portable(host.own(blob, context, host.approve())),
      libvirtUri: daemon.uri,
      secretUuid,
      escrow: { keyFile, passphraseFile, spki: Buffer.from(spki).toString('base64') },
      snapshots,
    };

    const running = spawn(process.execPath, ['--import', 'tsx', childPath], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    child = running;
    running.stdin.end(JSON.stringify(order));
    await Promise.race([
      once(running.stdout, 'data'),
      once(running, 'exit').then(() => {
        throw new Error('the child ended early');
      }),
    ]);

    const passphrase = Buffer.from(virsh('secret-get-value', secretUuid), 'base64');
    assert.match(passphrase.toString(), /^[0-9a-f]{64}$/);
    const raw = Buffer.from(passphrase.toString(), 'hex');
    const escrowKey = createPrivateKey({
      key: readFileSync(keyFile, 'utf8'),
      passphrase: 'of the escrow key alone',
    });
    const scalar = Buffer.from(escrowKey.export({ format: 'jwk' }).d!, 'base64url');
    for (const path of snapshots) {
      assert.ok(statSync(path).size > 1_000_000);
      const text = readFileSync(path);
      assert.ok(text.includes(secretUuid), 'the snapshot shows what the JavaScript heap holds');
      for (const form of [
        passphrase,
        Buffer.from(raw.toString('base64')),
        Buffer.from(raw.toString('hex', 0, 8)),
        Buffer.from(scalar.toString('base64')),
        Buffer.from('of the escrow key'),
      ])
        assert.ok(!text.includes(form));
    }
    assert.ok(running.pid !== undefined);
    assert.ok(occurrences(running.pid, Buffer.from(secretUuid)) > 0, 'the search sees the memory');
    assert.equal(occurrences(running.pid, raw), 0, 'raw key');
    assert.equal(occurrences(running.pid, passphrase), 0, 'passphrase');
    assert.equal(occurrences(running.pid, scalar), 0, 'escrow key');
    assert.equal(occurrences(running.pid, Buffer.from('of the escrow key alone')), 0, 'its passphrase');
  });
});
