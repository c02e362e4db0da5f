import { strict as assert } from 'node:assert';
import { randomUUID } from 'node:crypto';
import { TvmmpError } from '../../../lib/errors.ts';
import { FfiHypervisor } from '../../../lib/libvirt/ffi/hypervisor.ts';
import { listSecrets, secretExists, undefineSecret } from '../../../lib/libvirt/secrets.ts';
import { loadLibvirtNative } from '../../../lib/native/libvirt.ts';
import { libvirtdMissing, PrivateLibvirtd } from '../../support/libvirtd.ts';
import { skipWithout } from '../../support/skip.ts';

const native = loadLibvirtNative();
const nowhere = 'qemu+unix:///system?socket=/nonexistent';

function failsWith(code: string, details: Record<string, unknown>, message?: RegExp) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof TvmmpError, String(error));
    assert.equal(error.code, code);
    for (const [key, value] of Object.entries(details)) assert.equal(error.details[key], value, key);
    if (message !== undefined) assert.match(error.message, message);
    return true;
  };
}

describe('calls about libvirt secrets', function () {
  this.timeout(60_000);
  let daemon: PrivateLibvirtd;
  before(async function () {
    skipWithout(this, libvirtdMissing());
    daemon = await PrivateLibvirtd.start();
  });
  after(async () => {
    await daemon.stop();
  });

  it('says that the connection is lost where no daemon is', async () => {
    const lost = failsWith(
      'libvirt-connection-lost',
      { call: 'virConnectOpen', libvirtCode: 38 },
      /^cannot reach libvirt: .*nonexistent/,
    );
    await assert.rejects(listSecrets(native, nowhere), lost);
    await assert.rejects(secretExists(native, nowhere, randomUUID()), lost);
    await assert.rejects(undefineSecret(native, nowhere, randomUUID()), lost);
  });

  it('does not take a UUID that is none, or a refused definition, for an absent secret', async () => {
    const lookup = { call: 'virSecretLookupByUUIDString', libvirtCode: 8 };
    await assert.rejects(
      secretExists(native, daemon.uri, 'no-uuid'),
      failsWith('libvirt-call-failed', lookup),
    );
    await assert.rejects(
      undefineSecret(native, daemon.uri, 'no-uuid'),
      failsWith('libvirt-call-failed', lookup),
    );
    const hypervisor = new FfiHypervisor(daemon.uri);
    const usage = { usageType: 'vtpm', usageName: 'taken', ephemeral: true, private: true } as const;
    const uuid = randomUUID();
    try {
      await hypervisor.defineSecret({ uuid, ...usage });
      const again = hypervisor.defineSecret({ uuid: randomUUID(), ...usage });
      const refused = failsWith('libvirt-call-failed', { call: 'virSecretDefineXML' }, /^(?!vir).*taken/);
      await assert.rejects(again, refused);
      assert.equal(await hypervisor.undefineSecret(uuid), true);
    } finally {
      await hypervisor.close();
    }
  });

  it('removes a secret once, however many ask at a time', async () => {
    const hypervisor = new FfiHypervisor(daemon.uri);
    const uuid = randomUUID();
    try {
      await hypervisor.defineSecret({
        uuid,
        usageType: 'vtpm',
        usageName: 'once',
        ephemeral: true,
        private: true,
      });
      const asked = await Promise.all(Array.from({ length: 8 }, () => hypervisor.undefineSecret(uuid)));
      assert.ok(asked.includes(true));
      assert.deepEqual(await hypervisor.secrets(), []);
    } finally {
      await hypervisor.close();
    }
  });

  it('refuses every call once the hypervisor is closed', async () => {
    const hypervisor = new FfiHypervisor(daemon.uri);
    await hypervisor.close();
    const closed = failsWith('libvirt-connection-lost', {});
    const secret = { uuid: randomUUID(), usageType: 'vtpm', usageName: 'late', ephemeral: true } as const;
    await assert.rejects(hypervisor.secrets(), closed);
    await assert.rejects(hypervisor.secretExists(secret.uuid), closed);
    await assert.rejects(hypervisor.defineSecret({ ...secret, private: true }), closed);
    await assert.rejects(hypervisor.undefineSecret(secret.uuid), closed);
  });

  it('throws a TypeError for other arguments', () => {
    const untyped = native as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
    for (const call of ['secretExists', 'defineSecret', 'undefineSecret']) {
      assert.throws(() => untyped[call]?.(daemon.uri), TypeError, call);
      assert.throws(() => untyped[call]?.(daemon.uri, 'a\0b'), TypeError, call);
    }
    assert.throws(() => untyped['listSecrets']?.(1), TypeError);
  });
});
