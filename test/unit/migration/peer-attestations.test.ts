/** Hosts that attest themselves to others over time (SPEC 16.4): who failed is remembered, whatever it shows later in a session. */
import assert from 'node:assert/strict';
import type { QuarantineLeave } from '../../../lib/appraisal/quarantine-rule.ts';
import type { Host } from '../../../lib/migration/host.ts';
import { peerStandings } from '../../../lib/migration/peer-standing.ts';
import type { PeerStanding } from '../../../lib/migration/peer-standing.ts';
import { PeerAttestations } from '../../../lib/migration/peer-attestations.ts';
import type { AttestedTo } from '../../../lib/migration/peer-attestations.ts';
import type { SimulatedHost } from '../../simulation/host.ts';
import { revocationsOf } from '../../simulation/revocation.ts';
import { Stage } from '../../simulation/stage.ts';
import { BootEvidence } from '../../support/boot-evidence.ts';
import { Booted } from '../../support/booted.ts';
import type { WorldPolicy } from '../../support/proof-world.ts';

const everySeconds = 300;
const later = everySeconds * 1000;
const secureBoot = new BootEvidence('debian-secure-boot');

describe('a host that attests itself to its peers (SPEC 16.4)', () => {
  let stage: Stage;
  let inForce: WorldPolicy;
  let policyVersion: number;

  /** Beta attests itself to alpha. */
  async function open(leave: QuarantineLeave = 'never'): Promise<void> {
    policyVersion = 3;
    const governed = (host: Host): Host => ({
      ...host,
      policy: () => ({ policy: inForce.policy, envelope: inForce.text }),
    });
    const attesting = (host: Host): Host => ({
      ...governed(host),
      settings: { ...host.settings, peers: [stage.alpha.address] },
    });
    const start = Stage.open();
    stage = await start;
    rule(leave);
    stage.alpha.alter = governed;
    stage.beta.alter = attesting;
    for (const host of [stage.alpha, stage.beta]) {
      host.killAgent();
      host.startAgent();
    }
    await stage.pass(20_000);
  }

  function rule(leave: QuarantineLeave, change: Parameters<typeof stage.world.signPolicy>[0] = {}): void {
    policyVersion += 1;
    const quarantine = { everySeconds, leave };
    inForce = stage.world.signPolicy({ version: policyVersion, quarantine, ...change });
  }

  afterEach(() => {
    stage.close();
    stage.world.beta.tpm.resetCount = 1;
  });

  const standing = (at: SimulatedHost): PeerStanding | undefined => peerStandings(at)[0];
  const told = (): AttestedTo | undefined => stage.beta.agent!.services.peerAttestations.status()[0];

  /** Its agent does neither look at itself any more nor tell its peers: root has taken that out. */
  function silence(host: SimulatedHost): void {
    host.agent!.services.selfAppraisal.end();
    host.journal.putSetting('quarantine', 'null');
  }

  it('is accepted, and both know', async () => {
    await open();
    assert.equal(standing(stage.alpha)?.outcome, 'accepted');
    assert.deepEqual(
      { ...told(), time: null },
      { address: stage.alpha.address, peer: 'alpha.test', outcome: 'accepted', time: null, problem: '' },
    );
    assert.deepEqual(stage.alpha.journal.refusals(1), []);
  });

  it('is refused for what its peer finds, which is written down there with the verdict', async () => {
    await open();
    stage.beta.boot('evil');
    await stage.pass(later);
    const { outcome, failed } = standing(stage.alpha)!;
    assert.deepEqual([outcome, failed, told()?.outcome], ['refused', ['pcr-state'], 'refused']);
    const [row] = stage.alpha.journal.refusals(1);
    assert.match(row?.reason ?? '', /^host-quarantined: beta\.test: pcr-state: /);
    assert.deepEqual([row?.operation, row?.peer], ['attestation', 'beta.test']);
    assert.ok(row?.verdict != null);
    assert.ok(stage.hasLogged(stage.beta, /a peer refuses this host/));
  });

  it('gets no VM from a peer that refused it, though it boots well for the session and hides its quarantine', async () => {
    await open();
    const vm = await stage.vm(stage.alpha);
    stage.beta.boot('evil');
    await stage.pass(later);
    stage.beta.boot('base');
    silence(stage.beta);
    await assert.rejects(
      stage.until(stage.alpha.depart(vm.uuid, stage.beta)),
      /host-quarantined: beta\.test attested itself here, and was refused since .* \(pcr-state\): it receives no VM/,
    );
    await assert.rejects(stage.virsh(vm, stage.alpha, stage.beta), /does not trust/);
    assert.equal(stage.record(stage.alpha, vm).state, 'running');
  });

  it('keeps its VMs, too, where their proofs do not say that it is quarantined', async () => {
    await open('trusted');
    const vm = await stage.vm(stage.beta);
    stage.beta.agent!.services.selfAppraisal.onLooked = (count) => {
      stage.beta.agent!.services.peerAttestations.attest(count);
      return Promise.resolve();
    };
    stage.beta.boot('evil');
    await stage.pass(later);
    stage.beta.boot('base');
    silence(stage.beta);
    await assert.rejects(
      stage.virsh(vm, stage.beta, stage.alpha),
      /host-quarantined: beta\.test .* does not say/,
    );
    await stage.pass(60_000);
    assert.equal(stage.record(stage.beta, vm).state, 'running');
  });

  it('gives its VMs to a peer that refused it where the policy lets them leave and their proofs say so', async () => {
    await open('trusted');
    const vm = await stage.vm(stage.beta);
    rule('trusted', { rulesOfHosts: { forward: { states: ['update'] } } });
    stage.alpha.boot('update');
    await stage.pass(later);
    assert.equal(standing(stage.alpha)?.outcome, 'refused');
    await stage.virsh(vm, stage.beta, stage.alpha);
    assert.equal(stage.record(stage.alpha, vm).state, 'running');
  });

  it('does not get rid of them where the policy of the peer lets none leave', async () => {
    await open('trusted');
    const vm = await stage.vm(stage.beta);
    rule('trusted', { rulesOfHosts: { forward: { states: ['update'] } } });
    stage.alpha.boot('update');
    await stage.pass(later);
    const lenient = inForce;
    const { host } = stage.beta.agent!.services;
    Object.assign(host, { policy: () => ({ policy: lenient.policy, envelope: lenient.text }) });
    rule('never', { rulesOfHosts: { forward: { states: ['update'] } } });
    await assert.rejects(stage.virsh(vm, stage.beta, stage.alpha), /our policy lets no VM leave such a host/);
    await stage.pass(60_000);
    assert.equal(stage.record(stage.beta, vm).state, 'running');
  });

  it('is refused by an agent that was started again meanwhile, until it attests itself well', async () => {
    await open();
    const vm = await stage.vm(stage.alpha);
    stage.beta.boot('evil');
    await stage.pass(later);
    stage.alpha.killAgent();
    stage.alpha.startAgent();
    await stage.pass(20_000);
    assert.equal(standing(stage.alpha)?.outcome, 'refused');
    stage.beta.boot('base');
    stage.beta.killAgent();
    stage.beta.startAgent();
    await stage.pass(20_000);
    assert.equal(standing(stage.alpha)?.outcome, 'accepted');
    assert.ok(stage.hasLogged(stage.alpha, /has attested itself well again/));
    await stage.virsh(vm, stage.alpha, stage.beta);
    assert.equal(stage.record(stage.beta, vm).state, 'running');
  });

  it('is not spoken ill of by evidence that is not its TPM’s', async () => {
    await open();
    const { quotes } = stage.beta.agent!.services;
    const sign = quotes.sign.bind(quotes);
    quotes.sign = async (...asked) => {
      const signed = await sign(...asked);
      return {
        ...signed,
        signature: Uint8Array.from(signed.signature, (byte, at) => (at > 60 ? byte ^ 1 : byte)),
      };
    };
    await stage.pass(later);
    assert.equal(told()?.outcome, 'refused');
    assert.equal(standing(stage.alpha)?.outcome, 'accepted');
  });

  it('tries again where a peer does not answer, and then less and less often', async () => {
    await open();
    stage.alpha.killAgent();
    const begun = stage.logged.length;
    await stage.pass(later * 4);
    assert.notEqual(told()?.problem, '');
    const tries = stage.logged
      .slice(begun)
      .filter(({ text }) => text.startsWith('this host could not attest'));
    assert.ok(tries.length >= 4 && tries.length <= 12, String(tries.length));
    stage.alpha.startAgent();
    // Its longest pause, and the next time that it looks at the clock.
    await stage.pass(later + 20_000);
    assert.deepEqual([told()?.problem, told()?.outcome], ['', 'accepted']);
  });

  it('is heard once at a time', async () => {
    await open();
    const { peerAttestations } = stage.beta.agent!.services;
    const { alpha } = stage;
    const begun = stage.logged.length;
    // Two at the same moment: another look comes to the same conclusion.
    const other = new PeerAttestations(stage.beta.agent!.services);
    other.attest(7);
    peerAttestations.attest(7);
    await stage.pass(5_000);
    const refused = stage.logged
      .slice(begun)
      .filter(
        (line) => line.host === alpha.name && /limit-exceeded|attests itself, and others do/.test(line.text),
      );
    assert.equal(refused.length, 1);
    assert.equal([other.status()[0], told()].filter((one) => one?.problem === '').length, 1);
  });

  it('brings a revocation list that its peer does not have, and is refused when it is in it', async () => {
    await open();
    const { beta } = stage.world;
    stage.beta.revocations.learn(revocationsOf(stage.world, 1, [beta], stage.kernel.time));
    await stage.pass(later);
    assert.deepEqual(standing(stage.alpha)?.failed, ['revocation']);
  });

  it('tells its logs where its peer asks for them, and is refused for a file that ran there', async () => {
    await open();
    const booted = new Booted();
    stage.alpha.boot('base');
    stage.beta.logs = booted.files;
    stage.beta.killAgent();
    const pcrs = new Map([0, 7].map((pcr) => [pcr, booted.pcrs.get(pcr) ?? new Uint8Array(32)]));
    const rules = { eventLog: secureBoot.eventLogRules(), ima: secureBoot.imaRules() };
    rule('never', { pcrs: [0, 7], states: [{ name: 'good', pcrs }], rules });
    stage.world.beta.tpm.pcrs = booted.pcrs;
    stage.beta.startAgent();
    await stage.pass(20_000);
    assert.deepEqual([standing(stage.alpha)?.outcome, standing(stage.alpha)?.failed], ['accepted', []]);
    booted.run('/usr/bin/evil', 'evil');
    stage.world.beta.tpm.pcrs = booted.pcrs;
    await stage.pass(20_000);
    assert.deepEqual(standing(stage.alpha)?.failed, ['ima-files']);
  });

  describe('that falls silent', () => {
    const silent = (): readonly string[] => [...stage.alpha.agent!.services.silentPeers.status()];
    const said = (): boolean => stage.hasLogged(stage.alpha, /has fallen silent .*beta\.test/);

    it('is said to be so after three periods, and not before; and nothing is taken away from it', async () => {
      await open();
      await stage.pass(4 * later);
      assert.deepEqual([silent(), said()], [[], false]);
      silence(stage.beta);
      await stage.pass(1.9 * later);
      assert.deepEqual([silent(), said()], [[], false]);
      await stage.pass(1.2 * later);
      assert.deepEqual([silent(), said()], [['beta.test'], true]);
      assert.equal(standing(stage.alpha)?.outcome, 'accepted');
      const vm = await stage.vm(stage.alpha);
      await stage.virsh(vm, stage.alpha, stage.beta);
      assert.equal(stage.record(stage.beta, vm).holder, 'beta.test');
    });

    it('is not any more once it attests itself again', async () => {
      await open();
      stage.beta.killAgent();
      await stage.pass(4 * later);
      assert.deepEqual(silent(), ['beta.test']);
      stage.beta.startAgent();
      await stage.pass(30_000);
      assert.deepEqual(silent(), []);
      assert.ok(stage.hasLogged(stage.alpha, /was silent attests itself again/));
    });

    it('is given its time anew by a peer whose agent was down, and by one with another policy', async () => {
      await open();
      silence(stage.beta);
      stage.alpha.killAgent();
      await stage.pass(4 * later);
      stage.alpha.startAgent();
      await stage.pass(1.9 * later);
      assert.deepEqual(silent(), []);
      rule('never');
      await stage.pass(1.9 * later);
      assert.deepEqual(silent(), []);
      await stage.pass(1.2 * later);
      assert.deepEqual(silent(), ['beta.test']);
    });

    it('is expected no more once it is revoked', async () => {
      await open();
      silence(stage.beta);
      await stage.pass(4 * later);
      assert.deepEqual(silent(), ['beta.test']);
      stage.alpha.revocations.learn(revocationsOf(stage.world, 1, [stage.world.beta], stage.kernel.time));
      await stage.pass(20_000);
      assert.deepEqual(silent(), []);
    });
  });
});
