/** The vTPM that came with a VM is read by itself (SPEC 4.5): one that the proof does not name runs on, and goes no further. */
import assert from 'node:assert/strict';
import { migrationMethods } from '../../../lib/agent/migration-methods.ts';
import { adopt } from '../../../lib/migration/adoption.ts';
import { Attestations } from '../../../lib/migration/attestation.ts';
import type { VtpmIdentityStatus } from '../../../lib/migration/vtpm-identity.ts';
import { TvmmpError } from '../../../lib/errors.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import type { SimulatedHost } from '../../simulation/host.ts';
import { stageBeforeEach } from '../../simulation/stage.ts';
import type { Stage } from '../../simulation/stage.ts';

type From = 'seed' | 'place';

describe('the vTPM that came with a VM (SPEC 4.5)', () => {
  let stage: Stage;
  let vm: VmTruth;
  /** What each look at a vTPM shows at beta; null: it fails. The simulated endorsement key is the receive key of the host of birth. */
  let shown: Record<From, Uint8Array | null>;
  let reads: From[];

  stageBeforeEach(async (opened) => {
    stage = opened;
    const own = stage.world.alpha.tpm.receivePublic;
    shown = { seed: own, place: own };
    reads = [];
    stage.beta.killAgent();
    stage.beta.alter = (one) => ({
      ...one,
      bridge: {
        ...one.bridge,
        vtpmEndorsementKey: async (options) => {
          const from = options.from ?? 'place';
          reads.push(from);
          const publicArea = shown[from];
          if (publicArea === null) throw new TvmmpError('vtpm-read-failed', 'no swtpm');
          return { ...(await one.bridge.vtpmEndorsementKey(options)), publicArea };
        },
      },
    });
    stage.beta.startAgent();
    await stage.pass(1_000);
    vm = await stage.vm(stage.alpha);
  });

  const other = (): Uint8Array => stage.world.gamma.tpm.receivePublic;
  const status = (host: SimulatedHost = stage.beta): VtpmIdentityStatus =>
    host.agent!.services.vtpmIdentities.status();
  /** It goes to beta, where the next looks pass. */
  async function came(): Promise<void> {
    await stage.virsh(vm, stage.alpha, stage.beta);
    await stage.pass(30_000);
  }
  const startAtBeta = (): Promise<unknown> => stage.until(stage.beta.machine.start(vm.uuid));
  async function stopAtBeta(): Promise<void> {
    await stage.until(stage.beta.machine.stop(vm.uuid, 'shutdown'));
    await stage.pass(2_000);
  }
  const isExchanged =
    /vtpm-exchanged: vm came with another vTPM \(endorsement key 000b\w{64}\) than its proof/;

  it('is read once, from its seed, after it has come, and not where it was born', async () => {
    await stage.pass(60_000);
    assert.deepEqual([reads, status(stage.alpha)], [[], { unread: [], exchanged: [] }]);
    await came();
    assert.deepEqual([reads, status()], [['seed'], { unread: [], exchanged: [] }]);
    await stage.pass(120_000);
    assert.deepEqual(reads, ['seed']);
    assert.equal(stage.beta.journal.refusals(1).length, 0);
  });

  it('is told of as another one than the proof names, with the host that it came from, and runs on', async () => {
    shown = { seed: other(), place: other() };
    await came();
    assert.match(status().exchanged[0]?.problem ?? '', isExchanged);
    assert.equal(stage.beta.machine.need(vm.uuid).running?.state, 'running');
    const [refusal] = stage.beta.journal.refusals(1);
    assert.deepEqual([refusal?.operation, refusal?.peer, refusal?.vm], ['vtpm', 'alpha.test', vm.uuid]);
    const { checks } = JSON.parse(refusal?.verdict ?? '') as { checks: { name: string; outcome: string }[] };
    assert.deepEqual(
      checks.map(({ name, outcome }) => [name, outcome]),
      [['vtpm-identity', 'fail']],
    );
    const { services, sessions } = stage.beta.agent!;
    const show = migrationMethods(services, sessions)['migration.show']!;
    const shownSession = (await show({ session: vm.uuid }, () => undefined)) as Record<string, unknown>;
    assert.match(String(shownSession['problem']), isExchanged);
    assert.equal(shownSession['waitsFor'], 'administrator');
  });

  it('goes nowhere, is attested to nobody and does not start again where it is another one than the proof names', async () => {
    shown = { seed: other(), place: other() };
    await came();
    await assert.rejects(stage.until(stage.beta.depart(vm.uuid, stage.alpha)), isExchanged);
    const attestations = new Attestations(stage.beta.agent!.services);
    await assert.rejects(
      stage.until(attestations.attest(stage.record(stage.beta, vm), new Uint8Array(32))),
      isExchanged,
    );
    await stopAtBeta();
    await assert.rejects(startAtBeta(), isExchanged);
    stage.beta.killAgent();
    stage.beta.startAgent();
    await stage.pass(2_000);
    await assert.rejects(startAtBeta(), isExchanged);
    assert.match(status().exchanged[0]?.problem ?? '', isExchanged);
  });

  it('is another one where only what lies in the place of its endorsement key has the right name, and not its seed', async () => {
    shown = { seed: other(), place: stage.world.alpha.tpm.receivePublic };
    await came();
    assert.equal(status().exchanged.length, 1);
  });

  it('is read anew when it has come again, as another one', async () => {
    await came();
    await stage.virsh(vm, stage.beta, stage.alpha);
    shown = { seed: other(), place: other() };
    await came();
    assert.equal(status().exchanged.length, 1);
  });

  it('is taken up again by an administrator who has put the right one back, and is read anew', async () => {
    shown = { seed: other(), place: other() };
    await came();
    await stopAtBeta();
    shown = { seed: stage.world.alpha.tpm.receivePublic, place: stage.world.alpha.tpm.receivePublic };
    stage.beta.machine.vtpms.get(vm.uuid)!.version = 1_000;
    vm.latest = 1_000;
    await stage.until(adopt(stage.beta.agent!.services, stage.record(stage.beta, vm)));
    await startAtBeta();
    reads = [];
    await stage.pass(30_000);
    assert.deepEqual([reads, status()], [['seed'], { unread: [], exchanged: [] }]);
    await stage.virsh(vm, stage.beta, stage.alpha);
    assert.equal(stage.record(stage.alpha, vm).holder, 'alpha.test');
  });

  it('that cannot be read is said so, tried again, and keeps nobody from moving or starting', async () => {
    shown = { seed: null, place: null };
    await came();
    assert.deepEqual(status().unread, [{ vm: vm.uuid, problem: 'no swtpm' }]);
    await stopAtBeta();
    await startAtBeta();
    shown = { seed: stage.world.alpha.tpm.receivePublic, place: null };
    await stage.pass(30_000);
    assert.deepEqual(status(), { unread: [], exchanged: [] });
  });

  it('is not read while it leaves, nor is a VM said to be another one that has left meanwhile', async () => {
    await came();
    shown = { seed: other(), place: other() };
    await stage.virsh(vm, stage.beta, stage.alpha);
    await stage.pass(60_000);
    assert.deepEqual([reads, status()], [['seed'], { unread: [], exchanged: [] }]);
  });
});
