import { strict as assert } from 'node:assert';
import { createDecipheriv, createECDH, createHash, generateKeyPairSync, hkdfSync } from 'node:crypto';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TvmmpError, type ErrorCode } from '../../lib/errors.ts';
import { loadBridge } from '../../lib/native/bridge.ts';
import { libvirtdMissing, PrivateLibvirtd } from '../support/libvirtd.ts';
import { TpmHost } from './tpm-host.ts';
import { skipWithout } from '../support/skip.ts';

const bridge = loadBridge();
const context = Buffer.from('key-context of VM 1, epoch 1');

/** Asserts that `promise` rejects with this code of the closed set. */
async function refuses(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  await assert.rejects(promise, (error) => error instanceof TvmmpError && error.code === code);
}

/** TPMT_PUBLIC of an ECC P-256 decryption key with a policy (TPM 2.0 Part 2, 12.2.4). */
function tpmtPublic(point: Uint8Array, attributes = 0x000200b2 & ~0x40): Buffer {
  const coordinate = (from: number): Buffer =>
    Buffer.concat([Buffer.from('0020', 'hex'), Buffer.from(point.subarray(from, from + 32))]);
  const head = Buffer.alloc(8);
  head.writeUInt16BE(0x0023, 0);
  head.writeUInt16BE(0x000b, 2);
  head.writeUInt32BE(attributes, 4);
  const policy = Buffer.concat([Buffer.from('0020', 'hex'), Buffer.alloc(32, 7)]);
  const parameters = Buffer.from('0010001000030010', 'hex');
  return Buffer.concat([head, policy, parameters, coordinate(1), coordinate(33)]);
}

describe('sealed key: its form (SPEC 5.3)', () => {
  it('is what the specification says, opened here with another implementation of it', async () => {
    const ecdh = createECDH('prime256v1');
    const recipientPublic = tpmtPublic(ecdh.generateKeys());
    const blob = Buffer.from(await bridge.createSealedKey({ recipientPublic, context }));
    assert.equal(blob.length, 126);
    assert.equal(blob[0], 1);
    const point = blob.subarray(1, 66);
    const information = Buffer.concat([
      Buffer.from('tvmmp/seal/1'),
      createHash('sha256').update(recipientPublic).digest(),
      point,
    ]);
    const kek = hkdfSync('sha256', ecdh.computeSecret(point), '', information, 32);
    const cipher = createDecipheriv('aes-256-gcm', Buffer.from(kek), blob.subarray(66, 78));
    cipher.setAAD(context).setAuthTag(blob.subarray(110));
    const raw = Buffer.concat([cipher.update(blob.subarray(78, 110)), cipher.final()]);
    assert.equal(raw.length, 32);
    assert.notDeepEqual(raw, Buffer.alloc(32));
  });

  it('seals another key, point and nonce each time', async () => {
    const recipientPublic = tpmtPublic(createECDH('prime256v1').generateKeys());
    const first = await bridge.createSealedKey({ recipientPublic, context });
    const second = await bridge.createSealedKey({ recipientPublic, context });
    for (const [from, to] of [
      [1, 66],
      [66, 78],
      [78, 110],
    ] as const)
      assert.notDeepEqual(first.subarray(from, to), second.subarray(from, to));
  });

  it('refuses a recipient that is not a TPM key held by a policy', async () => {
    const point = createECDH('prime256v1').generateKeys();
    const userWithAuth = 0x40;
    const restricted = 0x10000;
    const good = 0x00020032 | 0x80;
    await bridge.createSealedKey({ recipientPublic: tpmtPublic(point, good), context });
    const bad = [good | userWithAuth, good | restricted, good & ~0x02, good & ~0x20, good & ~0x20000];
    for (const attributes of bad) {
      const recipientPublic = tpmtPublic(point, attributes);
      await refuses(bridge.createSealedKey({ recipientPublic, context }), 'tpm-structure-invalid');
    }
  });

  it('refuses a recipient that is off the curve, cut short or followed by something', async () => {
    const good = tpmtPublic(createECDH('prime256v1').generateKeys());
    const offCurve = Buffer.from(good);
    offCurve.writeUInt8(offCurve.readUInt8(offCurve.length - 1) ^ 1, offCurve.length - 1);
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
      type: 'spki',
      format: 'der',
    });
    for (const recipientPublic of [
      offCurve,
      good.subarray(0, -1),
      Buffer.concat([good, Buffer.alloc(1)]),
      other,
    ])
      await refuses(bridge.createSealedKey({ recipientPublic, context }), 'tpm-structure-invalid');
  });

  it('throws a TypeError for an argument of another kind, before anything starts', () => {
    const wrong = { recipientPublic: 'text', context } as unknown as {
      recipientPublic: Uint8Array;
      context: Uint8Array;
    };
    assert.throws(() => bridge.createSealedKey(wrong), TypeError);
  });
});

describe('sealed key: opened by a TPM into libvirt', function () {
  this.timeout(120_000);
  const secretUuid = randomUUID();
  let host: TpmHost;
  let other: TpmHost;
  let daemon: PrivateLibvirtd;

  before(async function () {
    skipWithout(this, libvirtdMissing());
    host = await TpmHost.start();
    other = await TpmHost.start(host.signer);
    daemon = await PrivateLibvirtd.start();
  });
  after(async () => {
    await daemon.stop();
    await host.stop();
    await other.stop();
  });
  beforeEach(() => {
    // Not private, so that the test can see what the bridge has put there.
    const xml = `<secret ephemeral='yes' private='no'><uuid>${secretUuid}</uuid><usage type='vtpm'><name>test</name></usage></secret>`;
    writeFileSync(join(daemon.directory, 'secret.xml'), xml);
    virsh('secret-define', join(daemon.directory, 'secret.xml'));
  });
  afterEach(() => {
    virsh('secret-undefine', secretUuid);
  });

  function virsh(...args: string[]): string {
    return execFileSync('virsh', ['-q', '-c', daemon.uri, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    }).toString();
  }
  const secretValue = (): string => Buffer.from(virsh('secret-get-value', secretUuid), 'base64').toString();
  const assertNotSet = (): void => {
    assert.throws(secretValue, /does not have a value/);
  };
  const target = (): { libvirtUri: string; secretUuid: string } => ({ libvirtUri: daemon.uri, secretUuid });

  it('sets 64 lower-case hexadecimal characters with four TPM commands, the same each time', async () => {
    const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
    const own = host.own(blob, context, host.approve());
    assert.deepEqual(await bridge.unsealIntoLibvirt({ ...own, ...target() }), { tpmCommands: 4 });
    const first = secretValue();
    assert.match(first, /^[0-9a-f]{64}$/);
    await bridge.unsealIntoLibvirt({ ...own, ...target() });
    assert.equal(secretValue(), first);
  });

  it('carries the same key to another host, with four TPM commands on each', async () => {
    const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
    const own = host.own(blob, context, host.approve());
    await bridge.unsealIntoLibvirt({ ...own, ...target() });
    const here = secretValue();
    const destinationContext = Buffer.from('key-context of VM 1, epoch 2');
    const resealed = await bridge.resealForDestination({
      own,
      destinationPublic: other.receivePublic,
      destinationContext,
    });
    assert.equal(resealed.tpmCommands, 4);
    virsh('secret-set-value', secretUuid, Buffer.from('something else').toString('base64'));
    const there = other.own(resealed.blob, destinationContext, other.approve());
    assert.deepEqual(await bridge.unsealIntoLibvirt({ ...there, ...target() }), { tpmCommands: 4 });
    assert.equal(secretValue(), here);
    await refuses(
      bridge.unsealIntoLibvirt({
        ...host.own(resealed.blob, destinationContext, host.approve()),
        ...target(),
      }),
      'seal-invalid',
    );
  });

  it('does not open in another context', async () => {
    const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
    const own = host.own(blob, Buffer.from('key-context of VM 2'), host.approve());
    await refuses(bridge.unsealIntoLibvirt({ ...own, ...target() }), 'seal-invalid');
    assertNotSet();
  });

  it('does not open when any of its parts is altered', async () => {
    const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
    const approval = host.approve();
    for (const at of [0, 1, 2, 40, 65, 66, 77, 78, 109, 110, 125]) {
      const altered = Uint8Array.from(blob, (byte, index) => (index === at ? byte ^ 1 : byte));
      await refuses(
        bridge.unsealIntoLibvirt({ ...host.own(altered, context, approval), ...target() }),
        'seal-invalid',
      );
    }
    for (const length of [0, 1, 125])
      await refuses(
        bridge.unsealIntoLibvirt({ ...host.own(blob.subarray(0, length), context, approval), ...target() }),
        'seal-invalid',
      );
    assertNotSet();
  });

  it('does not open with an approval of another signer, reference or TPM', async () => {
    const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
    const approval = host.approve();
    const stranger = await TpmHost.start();
    try {
      const wrong = [
        stranger.approve(),
        other.approve(),
        { ...approval, policyRef: Buffer.from('another reference') },
        { ...approval, approvedPolicy: Buffer.alloc(32) },
      ];
      for (const each of wrong)
        await refuses(
          bridge.unsealIntoLibvirt({ ...host.own(blob, context, each), ...target() }),
          'seal-refused',
        );
    } finally {
      await stranger.stop();
    }
    assertNotSet();
  });

  it('does not open once a PCR has changed, until the authority approves the new state', async () => {
    const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
    const approval = host.approve();
    host.extendPcr();
    await refuses(
      bridge.unsealIntoLibvirt({ ...host.own(blob, context, approval), ...target() }),
      'seal-refused',
    );
    await refuses(
      bridge.resealForDestination({
        own: host.own(blob, context, approval),
        destinationPublic: other.receivePublic,
        destinationContext: context,
      }),
      'seal-refused',
    );
    assertNotSet();
    await bridge.unsealIntoLibvirt({ ...host.own(blob, context, host.approve()), ...target() });
    assert.match(secretValue(), /^[0-9a-f]{64}$/);
  });

  it('leaves no session behind in the TPM, however it ends', async () => {
    const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
    const approval = host.approve();
    const good = host.own(blob, context, approval);
    const bad = host.own(blob, context, { ...approval, approvedPolicy: Buffer.alloc(32) });
    for (let i = 0; i < 5; i++) {
      await bridge.unsealIntoLibvirt({ ...good, ...target() });
      await refuses(bridge.unsealIntoLibvirt({ ...bad, ...target() }), 'seal-refused');
    }
    assert.equal(host.tpm2('getcap', 'handles-loaded-session').toString(), '');
    assert.equal(host.tpm2('getcap', 'handles-transient').toString(), '');
  });

  it('takes turns at the TPM when many ask at once for keys of several envelopes', async () => {
    const approval = host.approve();
    const blobs = await Promise.all(
      Array.from({ length: 16 }, () =>
        bridge.createSealedKey({ recipientPublic: host.receivePublic, context }),
      ),
    );
    const costs = await Promise.all(
      blobs.map((blob) => bridge.unsealIntoLibvirt({ ...host.own(blob, context, approval), ...target() })),
    );
    assert.deepEqual(new Set(costs.map((cost) => cost.tpmCommands)), new Set([4]));
  });

  /** Keys under one envelope, as a host's are at rest, each with its value in libvirt. */
  async function gathered(count: number) {
    const approval = host.approve();
    const contexts = Array.from({ length: count }, (_, index) => Buffer.from(`key-context of VM ${index}`));
    const apart = await Promise.all(
      contexts.map((each) => bridge.createSealedKey({ recipientPublic: host.receivePublic, context: each })),
    );
    const values: string[] = [];
    for (const [index, blob] of apart.entries()) {
      await bridge.unsealIntoLibvirt({ ...host.own(blob, contexts[index]!, approval), ...target() });
      values.push(secretValue());
    }
    const { blobs, tpmCommands } = await bridge.gatherSealedKeys({
      own: host.own(apart[0]!, contexts[0]!, approval),
      others: apart.slice(1).map((blob, index) => ({ blob, context: contexts[index + 1]! })),
    });
    assert.equal(tpmCommands, 4 * count);
    return { approval, contexts, values, blobs: [apart[0]!, ...blobs] };
  }
  const pointOf = (blob: Uint8Array): string => Buffer.from(blob.subarray(1, 66)).toString('hex');

  it('gathers keys under one envelope, each the same key in its own context alone', async () => {
    const { approval, contexts, values, blobs } = await gathered(4);
    assert.equal(new Set(blobs.map(pointOf)).size, 1);
    assert.equal(new Set(blobs.map((blob) => Buffer.from(blob.subarray(66, 78)).toString('hex'))).size, 4);
    for (const [index, blob] of blobs.entries()) {
      await bridge.unsealIntoLibvirt({ ...host.own(blob, contexts[index]!, approval), ...target() });
      assert.equal(secretValue(), values[index]);
      const elsewhere = contexts[(index + 1) % contexts.length]!;
      await refuses(
        bridge.unsealIntoLibvirt({ ...host.own(blob, elsewhere, approval), ...target() }),
        'seal-invalid',
      );
    }
  });

  it('gathers nothing where one of the keys does not open, or the state is not approved', async () => {
    const { approval, contexts, blobs } = await gathered(2);
    const own = host.own(blobs[0]!, contexts[0]!, approval);
    await refuses(
      bridge.gatherSealedKeys({ own, others: [{ blob: blobs[1]!, context: contexts[0]! }] }),
      'seal-invalid',
    );
    host.extendPcr();
    await refuses(
      bridge.gatherSealedKeys({ own, others: [{ blob: blobs[1]!, context: contexts[1]! }] }),
      'seal-refused',
    );
  });

  it('opens keys that wait together and are under one envelope by one use of the TPM, and seals them so again', async () => {
    const { approval, contexts, values, blobs } = await gathered(8);
    const all = await Promise.all(
      blobs.map((blob, index) =>
        bridge.resealForDestination({
          own: host.own(blob, contexts[index]!, approval),
          destinationPublic: other.receivePublic,
          destinationContext: contexts[index]!,
        }),
      ),
    );
    // The first may have begun before the others were there; whoever waited shares.
    const commands = all.reduce((sum, { tpmCommands }) => sum + tpmCommands, 0);
    assert.ok(commands === 4 || commands === 8, `${commands} commands`);
    assert.ok(new Set(all.map(({ blob }) => pointOf(blob))).size <= commands / 4);
    const there = other.approve();
    for (const [index, { blob }] of all.entries()) {
      await bridge.unsealIntoLibvirt({ ...other.own(blob, contexts[index]!, there), ...target() });
      assert.equal(secretValue(), values[index]);
    }
  });

  it('lets one of the keys that are opened together be wrong, and opens the others', async () => {
    const { approval, contexts, blobs } = await gathered(4);
    const results = await Promise.allSettled(
      blobs.map((blob, index) =>
        bridge.resealForDestination({
          own: host.own(blob, contexts[index === 2 ? 0 : index]!, approval),
          destinationPublic: other.receivePublic,
          destinationContext: context,
        }),
      ),
    );
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
    );
  });

  it('refuses all of the keys that are opened together once a PCR has changed', async () => {
    const { approval, contexts, blobs } = await gathered(4);
    host.extendPcr();
    const results = await Promise.all(
      blobs.map((blob, index) =>
        refuses(
          bridge.unsealIntoLibvirt({ ...host.own(blob, contexts[index]!, approval), ...target() }),
          'seal-refused',
        ),
      ),
    );
    assert.equal(results.length, 4);
  });

  describe('held', () => {
    const heldMs = 60_000;

    it('opens keys under the envelope without a command for whoever names the hold, until it is released', async () => {
      const { approval, contexts, values, blobs } = await gathered(3);
      const owns = blobs.map((blob, index) => host.own(blob, contexts[index]!, approval));
      const { hold, tpmCommands } = await bridge.holdKeys({ own: owns[0]!, lifeMs: heldMs });
      assert.equal(tpmCommands, 4);
      for (const [index, own] of owns.entries()) {
        assert.deepEqual(await bridge.unsealIntoLibvirt({ ...own, hold, ...target() }), { tpmCommands: 0 });
        assert.equal(secretValue(), values[index]);
      }
      assert.deepEqual(await bridge.unsealIntoLibvirt({ ...owns[1]!, ...target() }), { tpmCommands: 4 });
      bridge.releaseKeys({ hold });
      bridge.releaseKeys({ hold });
      assert.deepEqual(await bridge.unsealIntoLibvirt({ ...owns[1]!, hold, ...target() }), {
        tpmCommands: 4,
      });
    });

    it('seals what it opens under one envelope for a destination, which opens it by one use', async () => {
      const { approval, contexts, blobs } = await gathered(3);
      const own = (index: number) => host.own(blobs[index]!, contexts[index]!, approval);
      const { hold } = await bridge.holdKeys({ own: own(0), lifeMs: heldMs });
      const points = new Set<string>();
      for (const index of [0, 1, 2]) {
        const { blob, tpmCommands } = await bridge.resealForDestination({
          own: { ...own(index), hold },
          destinationPublic: other.receivePublic,
          destinationContext: context,
        });
        assert.equal(tpmCommands, 0);
        points.add(pointOf(blob));
      }
      assert.equal(points.size, 1);
      bridge.releaseKeys({ hold });
    });

    it('is of no use for a key of another envelope, in another context, under another approval, or once it is over', async () => {
      const { approval, contexts, blobs } = await gathered(2);
      const own = host.own(blobs[0]!, contexts[0]!, approval);
      const { hold } = await bridge.holdKeys({ own, lifeMs: heldMs });
      const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
      const stranger = host.own(blob, context, approval);
      assert.deepEqual(await bridge.unsealIntoLibvirt({ ...stranger, hold, ...target() }), {
        tpmCommands: 4,
      });
      const elsewhere = host.own(blobs[1]!, contexts[0]!, approval);
      await refuses(bridge.unsealIntoLibvirt({ ...elsewhere, hold, ...target() }), 'seal-invalid');
      const wrong = { ...own, approval: { ...approval, approvedPolicy: Buffer.alloc(32) } };
      await refuses(bridge.unsealIntoLibvirt({ ...wrong, hold, ...target() }), 'seal-refused');
      bridge.releaseKeys({ hold });
      const { hold: over } = await bridge.holdKeys({ own, lifeMs: 0 });
      assert.notEqual(over, hold);
      assert.deepEqual(await bridge.unsealIntoLibvirt({ ...own, hold: over, ...target() }), {
        tpmCommands: 4,
      });
    });

    it('begins only where the TPM and the key allow it', async () => {
      const { approval, contexts, blobs } = await gathered(2);
      const elsewhere = host.own(blobs[1]!, contexts[0]!, approval);
      await refuses(bridge.holdKeys({ own: elsewhere, lifeMs: heldMs }), 'seal-invalid');
      host.extendPcr();
      const own = host.own(blobs[0]!, contexts[0]!, approval);
      await refuses(bridge.holdKeys({ own, lifeMs: heldMs }), 'seal-refused');
    });
  });

  describe('prepared', () => {
    afterEach(async () => {
      await bridge.unprepareReceiveKey();
      assert.equal(host.tpm2('getcap', 'handles-loaded-session').toString(), '');
    });

    it('opens with one TPM command, once for each preparation', async () => {
      const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
      const own = host.own(blob, context, host.approve());
      for (let i = 0; i < 3; i++) {
        assert.deepEqual(await bridge.prepareReceiveKey(own), { tpmCommands: 3 });
        assert.deepEqual(await bridge.prepareReceiveKey(own), { tpmCommands: 0 });
        assert.deepEqual(await bridge.unsealIntoLibvirt({ ...own, ...target() }), { tpmCommands: 1 });
      }
      assert.match(secretValue(), /^[0-9a-f]{64}$/);
      assert.deepEqual(await bridge.unsealIntoLibvirt({ ...own, ...target() }), { tpmCommands: 4 });
    });

    it('does not open once a PCR has changed after it was prepared', async () => {
      const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
      const own = host.own(blob, context, host.approve());
      await bridge.prepareReceiveKey(own);
      host.extendPcr();
      await refuses(bridge.unsealIntoLibvirt({ ...own, ...target() }), 'seal-refused');
      assertNotSet();
    });

    it('is of no use to another approval, and refused in a state that is not approved', async () => {
      const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
      const approval = host.approve();
      const own = host.own(blob, context, approval);
      await bridge.prepareReceiveKey(own);
      const wrong = host.own(blob, context, { ...approval, approvedPolicy: Buffer.alloc(32) });
      await refuses(bridge.unsealIntoLibvirt({ ...wrong, ...target() }), 'seal-refused');
      await refuses(bridge.prepareReceiveKey(wrong), 'seal-refused');
      assertNotSet();
    });

    it('ends what another process left behind in the TPM', async () => {
      const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
      const own = host.own(blob, context, host.approve());
      const program =
        'const { own } = JSON.parse(process.argv[1], (_, v) => (v?.type === "Buffer" ? Buffer.from(v.data) : v));' +
        'const { loadBridge } = await import(process.argv[2]);' +
        'await loadBridge().prepareReceiveKey(own); process.kill(process.pid, "SIGKILL");';
      const module = new URL('../../lib/native/bridge.ts', import.meta.url).href;
      const bytes = JSON.stringify({ own }, (_, value: unknown) =>
        value instanceof Uint8Array ? Buffer.from(value) : value,
      );
      const left = spawnSync(process.execPath, [
        '--import',
        'tsx',
        '--input-type=module',
        '-e',
        program,
        bytes,
        module,
      ]);
      assert.equal(left.signal, 'SIGKILL', left.stderr.toString());
      assert.notEqual(host.tpm2('getcap', 'handles-loaded-session').toString(), '');
      // A process looks for them when it first prepares; this one has.
      const again = spawnSync(process.execPath, [
        ...['--import', 'tsx', '--input-type=module', '-e'],
        ...[
          program.replace('process.kill(process.pid, "SIGKILL")', 'await loadBridge().unprepareReceiveKey()'),
          bytes,
          module,
        ],
      ]);
      assert.equal(again.status, 0, again.stderr.toString());
    });
  });

  it('says what is wrong with libvirt, in its own numbers', async () => {
    const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
    const own = host.own(blob, context, host.approve());
    const noSecret = 66; // VIR_ERR_NO_SECRET
    await assert.rejects(
      bridge.unsealIntoLibvirt({ ...own, libvirtUri: daemon.uri, secretUuid: randomUUID() }),
      (error) =>
        error instanceof TvmmpError &&
        error.code === 'libvirt-call-failed' &&
        error.details['libvirtCode'] === noSecret,
    );
  });

  it('says that the TPM cannot be reached', async () => {
    const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
    const own = { ...host.own(blob, context, host.approve()), tcti: 'swtpm:path=/nonexistent/tpm.sock' };
    await refuses(bridge.unsealIntoLibvirt({ ...own, ...target() }), 'tpm-unreachable');
  });
});
