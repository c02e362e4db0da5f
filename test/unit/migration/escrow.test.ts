import { strict as assert } from 'node:assert';
import { spkiDigest, spkiOf } from '../../../lib/certificates/public-key.ts';
import { base64 } from '../../../lib/encoding/base64.ts';
import { escrowContext, escrowCopy } from '../../../lib/migration/escrow.ts';
import type { Host, PolicyInForce } from '../../../lib/migration/host.ts';
import { unprotect } from '../../../lib/migration/protection.ts';
import { bindTenant } from '../../../lib/migration/tenant.ts';
import type { TenantRequest } from '../../../lib/migration/tenant.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import type { SimulatedHost } from '../../simulation/host.ts';
import { Stage } from '../../simulation/stage.ts';
import { Tenant } from '../../support/proof-world.ts';
import { testKeyPair } from '../../support/test-authority.ts';

const key = spkiOf(testKeyPair().publicKey);

describe('keys in escrow (SPEC 15)', function () {
  this.timeout(60_000);
  let stage: Stage;
  let policy: PolicyInForce | null;

  beforeEach(async () => {
    policy = null;
    const alter = (host: Host): Host => ({
      ...host,
      policy: () => policy ?? host.policy(),
      bridge: { ...host.bridge, convertVtpmState: () => Promise.resolve({ tpmCommands: 4 }) },
    });
    const inEurope = (host: Host): Host => ({
      ...alter(host),
      identity: { ...host.identity, id: european.id, akCertificate: european.certificate },
    });
    stage = await Stage.open({ beta: alter });
    const attributes = new Map([['region', 'eu']]);
    const european = await stage.world.enrol('alpha.test', { tpm: stage.world.alpha.tpm, attributes });
    stage.alpha.alter = inEurope;
    stage.alpha.killAgent();
    stage.alpha.startAgent();
    await stage.pass(1_000);
  });
  afterEach(() => {
    stage.close();
  });

  /** Version 4 of the policy, with escrow for this key, or without. */
  const install = (escrow: Uint8Array | null, version = 4): void => {
    const signed = stage.world.signPolicy({
      version,
      ...(escrow === null ? {} : { escrow: { key: base64(escrow) } }),
    });
    policy = { policy: signed.policy, envelope: signed.text };
  };
  const services = (host: SimulatedHost) => host.agent!.services;
  const look = (host: SimulatedHost): Promise<void> => stage.until(services(host).escrow.look());
  const copyOf = (host: SimulatedHost, vm: VmTruth) => escrowCopy(host.journal, vm.uuid);
  const contextOf = (host: SimulatedHost, vm: VmTruth, epoch: number, of = key): Uint8Array =>
    escrowContext({ vm: vm.uuid, epoch, holder: host.enrolled.id.akName, key: of });
  /** That the escrow key opens the copy, and finds the key that the host has. */
  const opens = (host: SimulatedHost, vm: VmTruth, epoch: number, of = key): void => {
    const copy = copyOf(host, vm);
    assert.ok(copy !== null);
    assert.deepEqual(copy.context, contextOf(host, vm, epoch, of));
    const { sealed, context } = stage.record(host, vm);
    const receive = services(host).host.identity.receiveKeyName;
    assert.equal(
      stage.seals.openFor(of, copy.sealed, copy.context),
      stage.seals.openFor(receive, sealed!, context!),
    );
  };

  it('are not there unless the policy has escrow', async () => {
    const vm = await stage.vm(stage.alpha);
    await look(stage.alpha);
    assert.equal(copyOf(stage.alpha, vm), null);
    assert.equal(services(stage.alpha).escrow.status(), null);
  });

  it('are there when a VM is protected, bound to VM, epoch, host and key', async () => {
    install(key);
    const vm = await stage.vm(stage.alpha, { started: false });
    opens(stage.alpha, vm, 0);
    assert.deepEqual(services(stage.alpha).escrow.status(), [vm.uuid]);
  });

  it('come with a policy, are sealed anew for another key, and go with the policy', async () => {
    const vm = await stage.vm(stage.alpha);
    install(key);
    await look(stage.alpha);
    opens(stage.alpha, vm, 0);
    const before = copyOf(stage.alpha, vm);
    await look(stage.alpha);
    assert.deepEqual(copyOf(stage.alpha, vm), before);
    const other = spkiOf(testKeyPair().publicKey);
    install(other, 5);
    await look(stage.alpha);
    opens(stage.alpha, vm, 0, other);
    install(null, 6);
    await look(stage.alpha);
    assert.equal(copyOf(stage.alpha, vm), null);
  });

  it('are made where a VM arrives, and gone where it left', async () => {
    install(key);
    const vm = await stage.vm(stage.alpha);
    await stage.virsh(vm, stage.alpha, stage.beta);
    assert.equal(stage.record(stage.beta, vm).state, 'running');
    opens(stage.beta, vm, 1);
    assert.equal(copyOf(stage.alpha, vm), null);
    await look(stage.alpha);
    assert.equal(copyOf(stage.alpha, vm), null);
  });

  it('are gone when protection ends', async () => {
    install(key);
    const vm = await stage.vm(stage.alpha, { started: false });
    opens(stage.alpha, vm, 0);
    await stage.until(unprotect(services(stage.alpha), vm.uuid));
    assert.equal(stage.record(stage.alpha, vm).state, 'destroyed');
    assert.equal(copyOf(stage.alpha, vm), null);
  });

  it('are kept of no VM whose tenant forbids it, from its policy on, whatever the policy of the hosts says', async () => {
    install(key);
    const owner = new Tenant();
    const says = (vm: string, version: number, escrow?: 'no'): TenantRequest => ({
      envelope: owner.policy('region == "eu"', version, { vm, ...(escrow === undefined ? {} : { escrow }) }),
      keyDigest: spkiDigest(owner.keys.publicKey),
    });
    const born = await stage.vm(stage.alpha, { tenant: (vm) => says(vm, 1, 'no') });
    await look(stage.alpha);
    assert.equal(stage.record(stage.alpha, born).state, 'running');
    assert.equal(copyOf(stage.alpha, born), null);
    const bind = (version: number, escrow?: 'no'): Promise<unknown> => {
      const { envelope } = says(born.uuid, version, escrow);
      return stage.until(bindTenant(services(stage.alpha), stage.record(stage.alpha, born), envelope));
    };
    await bind(2);
    opens(stage.alpha, born, 0);
    await bind(3, 'no');
    assert.equal(copyOf(stage.alpha, born), null);
  });

  it('are asked for again when the TPM was away', async () => {
    const vm = await stage.vm(stage.alpha);
    install(key);
    stage.alpha.tpm.failing = true;
    await look(stage.alpha);
    assert.equal(copyOf(stage.alpha, vm), null);
    assert.ok(stage.hasLogged(stage.alpha, /not in escrow yet/));
    stage.alpha.tpm.failing = false;
    await look(stage.alpha);
    opens(stage.alpha, vm, 0);
  });
});
