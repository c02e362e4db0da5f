/** Another vTPM, under the very key of the VM, in the place of its own (SPEC 4.5): real swtpm, real endorsement keys. */
import assert from 'node:assert/strict';
import { chmodSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Journal } from '../../lib/ledger/journal.ts';
import { TvmmpError } from '../../lib/errors.ts';
import { VtpmIdentities } from '../../lib/migration/vtpm-identity.ts';
import type { Host } from '../../lib/migration/host.ts';
import { loadBridge } from '../../lib/native/bridge.ts';
import type { OwnSealedKey } from '../../lib/native/bridge.ts';
import { nameOf } from '../../lib/tpm/public-area.ts';
import { rootMissing, skipWithout } from '../support/skip.ts';
import { vmRecord } from '../support/vm-record.ts';
import { TpmHost } from './tpm-host.ts';

const context = Buffer.from('the key of one VM');

describe('the vTPM that came with a VM, read from what swtpm has', function () {
  this.timeout(60_000);
  const bridge = loadBridge();
  let host: TpmHost;
  let root: string;
  let own: OwnSealedKey;
  let journal: Journal;

  before(async function () {
    skipWithout(this, rootMissing());
    host = await TpmHost.start();
  });
  after(() => host.stop());
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'tvmmp-came-'));
    chmodSync(root, 0o711);
    const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
    own = host.own(blob, context, host.approve());
    journal = new Journal(':memory:');
  });
  afterEach(() => {
    journal.close();
    rmSync(root, { recursive: true, force: true });
  });

  const directoryOf = (name: string): string => join(root, name, 'tpm2');

  /** A vTPM under the key of the VM; the name of its endorsement key. */
  async function manufacture(name: string): Promise<Uint8Array> {
    const stateDir = directoryOf(name);
    await bridge.manufactureVtpm({ stateDir, vmId: `vm:${name}`, own, qemuConf: join(root, 'no-qemu.conf') });
    return nameOf((await bridge.vtpmEndorsementKey({ stateDir, own })).publicArea);
  }

  /** What the agent of the host that the VM came to finds, after two looks. */
  async function found(vtpm: Uint8Array): Promise<ReturnType<VtpmIdentities['status']>> {
    const vm = vmRecord({ holder: 'beta', epoch: 1, vtpm, sealed: own.blob, context: own.context });
    journal.putVm(vm);
    const nobody = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
    const parts = {
      journal,
      bridge,
      identity: { id: { name: 'beta' } },
      policy: () => ({ policy: { id: 'fleet', version: 1 } }),
      files: { vtpmStateDirectory: () => directoryOf('came') },
      hypervisor: {
        domain: () => Promise.reject(new TvmmpError('domain-not-found', 'it is off')),
      },
      log: nobody,
      now: () => 1_000,
    };
    const withKey = <T>(_: unknown, use: (own: OwnSealedKey) => Promise<T>): Promise<T> => use(own);
    const identities = new VtpmIdentities(parts as unknown as Host, { withKey }, () => false);
    await identities.look();
    await identities.look();
    return identities.status();
  }

  it('is known again as the one that the proof names', async () => {
    const named = await manufacture('came');
    assert.deepEqual(await found(named), { unread: [], exchanged: [] });
  });

  it('is found out where the state directory was exchanged for that of another vTPM under the same key', async () => {
    const named = await manufacture('came');
    const brought = await manufacture('brought');
    rmSync(directoryOf('came'), { recursive: true });
    cpSync(directoryOf('brought'), directoryOf('came'), { recursive: true });
    const { unread, exchanged } = await found(named);
    assert.deepEqual(unread, []);
    const problem = exchanged[0]?.problem ?? '';
    for (const name of [named, brought])
      assert.ok(problem.includes(Buffer.from(name).toString('hex')), problem);
    assert.match(problem, /^vtpm-exchanged: /);
    const [refusal] = journal.refusals(1);
    assert.equal(refusal?.operation, 'vtpm');
  });
});
