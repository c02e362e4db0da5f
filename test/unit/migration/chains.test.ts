/** How a host writes the chains of its VMs, and what it offers of them (SPEC 4, 4.1). */
import assert from 'node:assert/strict';
import { decodeProof } from '../../../lib/proof/proof.ts';
import { verifyProof } from '../../../lib/proof/verify.ts';
import { limits } from '../../../lib/limits.ts';
import type { Host } from '../../../lib/migration/host.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import { Stage } from '../../simulation/stage.ts';

describe('the chains that a host writes (SPEC 4)', () => {
  let stage: Stage;
  let vm: VmTruth;
  afterEach(() => {
    stage.close();
  });
  const open = async (beta: (host: Host) => Host = (host) => host): Promise<void> => {
    stage = await Stage.open({ beta });
    vm = await stage.vm(stage.alpha);
  };
  const verifies = (): void => {
    const proof = stage.alpha.agent!.services.chains.proof(vm.uuid);
    const judged = verifyProof(proof, { root: stage.world.authority.root });
    assert.equal(judged.outcome, 'verified', JSON.stringify(judged));
  };

  it('writes nothing while the platform is in no approved state', async () => {
    await open();
    const { chains } = stage.alpha.agent!.services;
    const before = stage.record(stage.alpha, vm);
    stage.alpha.boot('something else');
    await assert.rejects(stage.until(chains.append(vm.uuid, { kind: 'suspended' })), /in no approved state/);
    assert.deepEqual(stage.record(stage.alpha, vm), before);
    stage.alpha.boot('base');
    await stage.until(chains.append(vm.uuid, { kind: 'suspended' }));
    verifies();
  });

  it('writes one entry at a time, however many are asked for', async () => {
    await open();
    const { chains } = stage.alpha.agent!.services;
    const kinds = ['suspended', 'resumed', 'suspended', 'resumed'] as const;
    const { sequence } = stage.record(stage.alpha, vm);
    await stage.until(Promise.all(kinds.map((kind) => chains.append(vm.uuid, { kind }))));
    assert.equal(stage.record(stage.alpha, vm).sequence, sequence + kinds.length);
    verifies();
  });

  it('is begun once, and again only after its end', async () => {
    await open();
    const { chains } = stage.alpha.agent!.services;
    const { uuid, name, facts, vtpm, secret, sealed, context } = stage.record(stage.alpha, vm);
    const birth = { uuid, name, facts, vtpm, secret, sealed, context };
    await assert.rejects(stage.until(chains.create(birth)), /is protected already/);
    await stage.until(stage.alpha.machine.stop(uuid, 'shutdown'));
    await stage.pass(2_000);
    await stage.until(chains.append(uuid, { kind: 'destroyed' }, { state: 'destroyed' }));
    await stage.until(chains.create(birth));
    assert.equal(stage.record(stage.alpha, vm).sequence, 0);
  });

  /** Enough of a life that a checkpoint is signed before the VM leaves alpha; then it is at beta. */
  async function checkpointed(): Promise<void> {
    const { chains } = stage.alpha.agent!.services;
    for (let n = 0; n < limits.checkpointEntries / 2; n += 1) {
      await stage.until(stage.alpha.machine.suspend(vm.uuid));
      await stage.pass(100);
      await stage.until(stage.alpha.machine.resume(vm.uuid));
      await stage.pass(100);
    }
    assert.equal(decodeProof(chains.proofToOffer(vm.uuid)).summary, null);
    await stage.virsh(vm, stage.alpha, stage.beta);
  }

  it('offers from a checkpoint on that another host has signed, or from birth', async () => {
    await open();
    await checkpointed();
    const own = decodeProof(stage.alpha.agent!.services.chains.proofToOffer(vm.uuid));
    assert.equal(own.summary, null, 'alpha has signed the checkpoint');
    const other = decodeProof(stage.beta.agent!.services.chains.proofToOffer(vm.uuid));
    assert.notEqual(other.summary, null);
    assert.equal(other.entries.length < own.entries.length, true);
  });

  it('offers all that there is where every holder has to be as the policy asks', async () => {
    await open((host) => {
      const { policy, envelope } = host.policy();
      let asks = false;
      stageAsks = () => {
        asks = true;
      };
      const rulesOfHosts = { backward: { attributes: 'region == "eu"' } };
      return {
        ...host,
        policy: () => (asks ? { policy: { ...policy, rulesOfHosts }, envelope } : { policy, envelope }),
      };
    });
    await checkpointed();
    stageAsks();
    assert.equal(decodeProof(stage.beta.agent!.services.chains.proofToOffer(vm.uuid)).summary, null);
  });
  let stageAsks: () => void = () => undefined;
});
