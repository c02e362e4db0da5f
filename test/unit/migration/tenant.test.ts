/** Where a tenant says which hosts may hold its VM (SPEC 10.5): the source refuses, the target refuses, each by itself. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { verifyTenantPolicy } from '../../../lib/appraisal/tenant-policy.ts';
import { verifyArrived } from '../../../lib/migration/arrival.ts';
import { bindTenant } from '../../../lib/migration/tenant.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import type { SimulatedHost } from '../../simulation/host.ts';
import { Liar } from '../../simulation/liar.ts';
import { migrate } from '../../simulation/migration.ts';
import { stageBeforeEach } from '../../simulation/stage.ts';
import type { Stage } from '../../simulation/stage.ts';
import { ChainBuilder, Tenant } from '../../support/proof-world.ts';
import type { WorldHost } from '../../support/proof-world.ts';

type Attributes = Readonly<Record<string, string | number>>;

describe('a VM with a tenant (SPEC 10.5)', () => {
  let stage: Stage;
  let tenant: Tenant;
  stageBeforeEach(async (opened) => {
    stage = opened;
    tenant = new Tenant();
    await renew(stage.alpha, { region: 'eu', level: 3 });
  });

  const enrolled = (host: SimulatedHost, attributes: Attributes): Promise<WorldHost> => {
    const { alpha, beta, gamma } = stage.world;
    const known = [alpha, beta, gamma].find(({ id }) => id.name === host.name)!;
    return stage.world.enrol(host.name, { tpm: known.tpm, attributes: new Map(Object.entries(attributes)) });
  };

  /** The host's certificate is renewed, with these attributes, and its agent started with it. */
  async function renew(host: SimulatedHost, attributes: Attributes): Promise<void> {
    const { id, certificate } = await enrolled(host, attributes);
    host.alter = (one) => ({ ...one, identity: { ...one.identity, id, akCertificate: certificate } });
    host.killAgent();
    host.startAgent();
    await stage.pass(1_000);
  }

  /** What the tenant signs about a VM. */
  const says = (vm: string, condition: string, version = 1) => {
    const envelope = tenant.policy(condition, version, { vm });
    return { envelope, keyDigest: verifyTenantPolicy(envelope).keyDigest };
  };

  const rented = (condition: string): Promise<VmTruth> =>
    stage.vm(stage.alpha, { tenant: (uuid) => says(uuid, condition) });

  it('goes where its tenant lets it', async () => {
    await renew(stage.beta, { region: 'eu', level: 2 });
    const vm = await rented('region == "eu"');
    await stage.virsh(vm, stage.alpha, stage.beta);
    assert.equal(stage.record(stage.beta, vm).state, 'running');
    assert.equal(stage.record(stage.alpha, vm).state, 'gone');
  });

  it('is offered to no target that its tenant does not let hold it', async () => {
    const vm = await rented('region == "eu"');
    const liar = new Liar(stage, await enrolled(stage.gamma, { region: 'us', level: 2 }));
    stage.alpha.depart(vm.uuid, stage.gamma).catch(() => undefined);
    await liar.expect(await liar.greeted(), 'refused');
    assert.match(
      stage.refusal(stage.alpha),
      /tenant-policy: gamma\.test must not hold this VM: the tenant asks for region == "eu"/,
    );
    assert.equal(stage.record(stage.alpha, vm).state, 'running');
  });

  it('is not offered where its tenant has changed its mind since the target was appraised', async () => {
    const vm = await rented('level >= 2');
    const { alpha } = stage;
    const { services } = alpha.agent!;
    const liar = new Liar(stage, await enrolled(stage.gamma, { region: 'us', level: 2 }));
    alpha.depart(vm.uuid, stage.gamma).catch(() => undefined);
    const channel = await liar.greeted();
    const appraised = (): boolean => stage.logged.some(({ text }) => text.includes('"state":"signing"'));
    for (let step = 0; !appraised(); step += 1) {
      assert.ok(step < 100_000, 'it was not appraised');
      await stage.pass(0.01);
    }
    const { envelope } = says(vm.uuid, 'region == "eu"', 2);
    const bound = bindTenant(services, stage.record(alpha, vm), envelope);
    await liar.expect(channel, 'refused');
    await stage.until(bound);
    assert.match(stage.refusal(alpha), /tenant-policy: gamma\.test must not hold this VM/);
    assert.equal(stage.record(alpha, vm).state, 'running');
  });

  it('has not arrived while the certificate of the host that it came to was renewed without what its tenant asks for', async () => {
    const { alpha, beta } = stage;
    await renew(beta, { region: 'eu', level: 2 });
    const vm = await rented('region == "eu"');
    const move = migrate(stage.network, alpha.machine, vm.uuid, beta.machine);
    for (let step = 0; beta.machine.domains.get(vm.uuid)?.running == null; step += 1) {
      assert.ok(step < 100_000, 'it did not come');
      await stage.pass(0.1);
    }
    await renew(beta, { region: 'us', level: 2 });
    await stage.until(move);
    await stage.pass(20_000);
    assert.equal(beta.machine.need(vm.uuid).running?.state, 'running');
    const [session] = beta.journal.unfinishedSessions('target');
    assert.match(session?.problem ?? '', /tenant-policy: beta\.test must not hold this VM/);
    assert.equal(stage.record(beta, vm).epoch, 0);
    assert.notEqual(stage.record(alpha, vm).sealed, null);
    await renew(beta, { region: 'eu', level: 1 });
    await stage.pass(20_000);
    assert.deepEqual([stage.record(beta, vm).epoch, stage.record(beta, vm).state], [1, 'running']);
    assert.equal(stage.record(alpha, vm).sealed, null);
  });

  it('is not destroyed at its source for an arrived that its tenant does not let count', async () => {
    const { alpha } = stage;
    const vm = await rented('region == "eu"');
    const liar = new Liar(stage, await enrolled(stage.gamma, { region: 'eu', level: 2 }));
    const other = await enrolled(stage.gamma, { region: 'us', level: 2 });
    const { services, sessions } = alpha.agent!;
    void sessions.leave(stage.record(alpha, vm), stage.gamma.address);
    const offered = await liar.offered();
    const good = liar.arrived(offered);
    const renewed = liar.arrived(offered, { host: other.id });
    const [, ...signers] = renewed.certificates;
    const chain = services.chains.state(vm.uuid)!;
    assert.throws(
      () => verifyArrived(services, chain, { ...renewed, certificates: [other.certificate, ...signers] }),
      /arrived does not verify: tenant: the tenant asks for region == "eu"/,
    );
    assert.equal(verifyArrived(services, chain, good).head.epoch, 1);
  });

  it('is staged at no target that its tenant does not let hold it, whatever its source thinks', async () => {
    const { beta, world } = stage;
    const liar = new Liar(stage, await enrolled(stage.gamma, { region: 'eu', level: 2 }));
    /** The answer to an honest offer of a VM that is bound to its tenant's policy. */
    const answer = async () => {
      const chain = new ChainBuilder(world);
      chain.holder = liar.host;
      chain.vm = randomUUID();
      chain.live('created').bound(says(chain.vm, 'region == "eu"').envelope).live('started');
      const attested = await liar.attested(beta, { chain });
      return liar.offer(attested, liar.depart(attested).bytes());
    };
    await renew(beta, { region: 'us', level: 3 });
    assert.equal((await answer()).kind, 'aborted');
    await stage.pass(1_000);
    assert.match(
      stage.refusal(beta),
      /tenant-policy: beta\.test must not hold this VM: the tenant asks for region == "eu"/,
    );
    await renew(beta, { region: 'eu', level: 1 });
    assert.equal((await answer()).kind, 'staged');
  });
});
