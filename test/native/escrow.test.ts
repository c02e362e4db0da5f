import { strict as assert } from 'node:assert';
import {
  createDecipheriv,
  createECDH,
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
} from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TvmmpError } from '../../lib/errors.ts';
import type { ErrorCode } from '../../lib/errors.ts';
import { loadBridge } from '../../lib/native/bridge.ts';
import { TpmHost } from './tpm-host.ts';

const bridge = loadBridge();
const context = Buffer.from('key-context');
const escrowContext = Buffer.from('escrow-context of VM 1, epoch 1, host 1');
const destinationContext = Buffer.from('key-context of the rescuer');

async function refuses(promise: Promise<unknown>, code: ErrorCode, says = /./): Promise<void> {
  await assert.rejects(
    promise,
    (error) => error instanceof TvmmpError && error.code === code && says.test(error.message),
  );
}

/** What is in an envelope, opened here with another implementation of SPEC 5.3 and 15.2. */
function open(
  blob: Uint8Array,
  shared: Buffer,
  label: string,
  recipient: Uint8Array,
  aad: Uint8Array,
): Buffer {
  const sealed = Buffer.from(blob);
  const digest = createHash('sha256').update(recipient).digest();
  const information = Buffer.concat([Buffer.from(label), digest, sealed.subarray(1, 66)]);
  const kek = Buffer.from(hkdfSync('sha256', shared, '', information, 32));
  const cipher = createDecipheriv('aes-256-gcm', kek, sealed.subarray(66, 78));
  cipher.setAAD(aad).setAuthTag(sealed.subarray(110));
  return Buffer.concat([cipher.update(sealed.subarray(78, 110)), cipher.final()]);
}

describe('a vTPM key in escrow (SPEC 15)', function () {
  this.timeout(120_000);
  let directory: string;
  let host: TpmHost;
  let keyFile: string;
  let passphraseFile: string;
  let escrowPublic: Uint8Array;
  let blob: Uint8Array;
  let inEscrow: Uint8Array;
  let destination: { readonly wire: Buffer; readonly ecdh: ReturnType<typeof createECDH> };

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-escrow-'));
    keyFile = join(directory, 'escrow-key.pem');
    passphraseFile = join(directory, 'passphrase');
    writeFileSync(passphraseFile, 'correct horse\nbattery staple\n');
    escrowPublic = await bridge.createEscrowKey({ keyFile, passphraseFile });
    host = await TpmHost.start();
    blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
    const own = host.own(blob, context, host.approve());
    ({ blob: inEscrow } = await bridge.sealForEscrow({ own, escrowPublic, escrowContext }));
    const ecdh = createECDH('prime256v1');
    const point = ecdh.generateKeys();
    const wire = Buffer.from(host.receivePublic);
    point.copy(wire, wire.length - 66, 1, 33);
    point.copy(wire, wire.length - 32, 33, 65);
    destination = { wire, ecdh };
  });
  after(async () => {
    await host.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  const privateKey = () =>
    createPrivateKey({ key: readFileSync(keyFile, 'utf8'), passphrase: 'correct horse' });
  const reseal = (change: Partial<Parameters<typeof bridge.resealFromEscrow>[0]> = {}): Promise<Uint8Array> =>
    bridge.resealFromEscrow({
      ...{ keyFile, passphraseFile, escrowPublic, blob: inEscrow, escrowContext },
      destinationPublic: destination.wire,
      destinationContext,
      ...change,
    });
  /** What the escrow key opens. */
  const rawKey = (): Buffer => {
    const point = Buffer.from(inEscrow.subarray(1, 66));
    const jwk = {
      x: point.subarray(1, 33).toString('base64url'),
      y: point.subarray(33).toString('base64url'),
    };
    const publicKey = createPublicKey({ key: { kty: 'EC', crv: 'P-256', ...jwk }, format: 'jwk' });
    const shared = diffieHellman({ privateKey: privateKey(), publicKey });
    return open(inEscrow, shared, 'tvmmp/escrow-seal/1', escrowPublic, escrowContext);
  };

  it('is kept encrypted by its passphrase, for its owner alone, and its public half is told', () => {
    assert.match(readFileSync(keyFile, 'utf8'), /^-----BEGIN ENCRYPTED PRIVATE KEY-----\n/);
    assert.equal(statSync(keyFile).mode & 0o777, 0o600);
    const spki = createPublicKey(privateKey()).export({ format: 'der', type: 'spki' });
    assert.deepEqual(Buffer.from(escrowPublic), spki);
  });

  it('is not made over a file that is there, nor with an empty passphrase', async () => {
    const before = readFileSync(keyFile, 'utf8');
    await refuses(bridge.createEscrowKey({ keyFile }), 'authority-invalid', /File exists/);
    assert.equal(readFileSync(keyFile, 'utf8'), before);
    const empty = join(directory, 'empty');
    writeFileSync(empty, '\nnot the first line\n');
    const other = { keyFile: join(directory, 'other.pem'), passphraseFile: empty };
    await refuses(bridge.createEscrowKey(other), 'authority-invalid', /empty passphrase/);
  });

  it('is what the specification says, and the key that the host has', async () => {
    assert.equal(inEscrow.byteLength, 126);
    const raw = rawKey();
    assert.equal(raw.byteLength, 32);
    const resealed = await bridge.resealForDestination({
      own: host.own(blob, context, host.approve()),
      destinationPublic: destination.wire,
      destinationContext,
    });
    const shared = destination.ecdh.computeSecret(resealed.blob.subarray(1, 66));
    assert.deepEqual(open(resealed.blob, shared, 'tvmmp/seal/1', destination.wire, destinationContext), raw);
  });

  it('is sealed anew for another host, in its own context', async () => {
    const resealed = await reseal();
    const shared = destination.ecdh.computeSecret(resealed.subarray(1, 66));
    assert.deepEqual(open(resealed, shared, 'tvmmp/seal/1', destination.wire, destinationContext), rawKey());
  });

  it('does not open for another context, altered, or as what a host seals for a host', async () => {
    await refuses(reseal({ escrowContext: Buffer.from('of VM 2') }), 'seal-invalid', /does not open/);
    const altered = Uint8Array.from(inEscrow);
    altered[100]! ^= 1;
    await refuses(reseal({ blob: altered }), 'seal-invalid', /does not open/);
    await refuses(reseal({ blob: inEscrow.subarray(0, 125) }), 'seal-invalid', /126 bytes/);
    await refuses(reseal({ blob, escrowContext: context }), 'seal-invalid', /does not open/);
  });

  it('does not open with another passphrase, none, or another key', async () => {
    const wrong = join(directory, 'wrong');
    writeFileSync(wrong, 'battery staple\n');
    await refuses(reseal({ passphraseFile: wrong }), 'authority-invalid', /another passphrase/);
    const bare = {
      ...{ keyFile, escrowPublic, blob: inEscrow, escrowContext, destinationContext },
      destinationPublic: destination.wire,
    };
    await refuses(bridge.resealFromEscrow(bare), 'authority-invalid', /with one at all/);
    const other = join(directory, 'another-key.pem');
    await bridge.createEscrowKey({ keyFile: other, passphraseFile });
    await refuses(reseal({ keyFile: other }), 'authority-invalid', /not the key that hosts have sealed for/);
  });

  it('is sealed for a P-256 key only, in the one form that it has', async () => {
    const own = host.own(blob, context, host.approve());
    const spki = (curve: string): Buffer =>
      generateKeyPairSync('ec', { namedCurve: curve }).publicKey.export({ format: 'der', type: 'spki' });
    const good = spki('P-256');
    const bad = [
      spki('P-384'),
      good.subarray(0, -1),
      Buffer.concat([good, Buffer.alloc(1)]),
      Buffer.from('x'),
    ];
    for (const one of bad)
      await refuses(bridge.sealForEscrow({ own, escrowPublic: one, escrowContext }), 'policy-invalid');
  });

  it('is sealed only in a state that the authority has approved', async () => {
    const own = host.own(blob, context, host.approve());
    host.extendPcr();
    await refuses(bridge.sealForEscrow({ own, escrowPublic, escrowContext }), 'seal-refused');
  });
});
