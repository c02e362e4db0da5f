/** Trust over time (SPEC 16): a host that does not satisfy its own policy any more notices by itself, and stays out until it does again. */
import assert from 'node:assert/strict';
import type { QuarantineLeave } from '../../../lib/appraisal/quarantine-rule.ts';
import { hex } from '../../../lib/encoding/hex.ts';
import type { Host } from '../../../lib/migration/host.ts';
import { readQuarantine } from '../../../lib/migration/quarantine.ts';
import type { SelfAppraisalStatus } from '../../../lib/migration/self-appraisal.ts';
import { verifyProof } from '../../../lib/proof/verify.ts';
import type { VerifiedProof } from '../../../lib/proof/verify.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import type { SimulatedHost } from '../../simulation/host.ts';
import { revocationsOf } from '../../simulation/revocation.ts';
import { Stage } from '../../simulation/stage.ts';
import { BootEvidence } from '../../support/boot-evidence.ts';
import { Booted } from '../../support/booted.ts';
import type { WorldPolicy } from '../../support/proof-world.ts';

const secureBoot = new BootEvidence('debian-secure-boot');
const everySeconds = 300;

describe('a host that appraises itself (SPEC 16)', () => {
  let stage: Stage;
  let inForce: WorldPolicy | null;
  let policyVersion: number;
  const altered = (host: Host): Host => ({
    ...host,
    policy: () => (inForce === null ? host.policy() : { policy: inForce.policy, envelope: inForce.text }),
  });

  beforeEach(async () => {
    inForce = null;
    policyVersion = 3;
    stage = await Stage.open({ alpha: altered, beta: altered });
  });
  afterEach(() => {
    stage.close();
    stage.world.alpha.tpm.resetCount = 1;
  });

  /** Puts a policy in force that asks for appraisals over time, and lets both hosts make the first one. */
  async function rule(
    leave: QuarantineLeave = 'never',
    change: Parameters<typeof stage.world.signPolicy>[0] = {},
  ): Promise<void> {
    policyVersion += 1;
    inForce = stage.world.signPolicy({
      version: policyVersion,
      quarantine: { everySeconds, leave },
      ...change,
    });
    await stage.pass(20_000);
  }

  /** Kinds of the entries that the proof of a VM ends with, and what verifying it says. */
  function proof(host: SimulatedHost, vm: VmTruth): { kinds: readonly string[]; proof: VerifiedProof } {
    const { root } = stage.world.authority;
    const verified = verifyProof(host.agent!.services.chains.proof(vm.uuid), { root });
    assert.ok(verified.outcome === 'verified', JSON.stringify(verified));
    return { kinds: verified.entries.slice(2).map(({ entry }) => entry.kind), proof: verified };
  }

  const trust = (host: SimulatedHost): SelfAppraisalStatus => host.agent!.services.selfAppraisal.status();
  const failed = (host: SimulatedHost): readonly string[] | null => trust(host).quarantine?.failed ?? null;

  it('is asked for by the policy: without the member nothing is looked at', async () => {
    const { quotes } = stage.alpha.agent!.services;
    stage.alpha.boot('evil');
    await stage.pass(everySeconds * 1000);
    assert.deepEqual([quotes.count, trust(stage.alpha).rule, failed(stage.alpha)], [0, null, null]);
  });

  it('finds nothing while it is in an approved state, and looks again in the time that the policy gives', async () => {
    await rule();
    const made = (): number => stage.alpha.agent!.services.quotes.count;
    assert.equal(made(), 1);
    await stage.pass(everySeconds * 1000 * 4);
    assert.ok(made() >= 5 && made() <= 6, String(made()));
    assert.equal(failed(stage.alpha), null);
  });

  it('is quarantined without anybody migrating when its PCRs changed, and says why once', async () => {
    await rule();
    stage.alpha.boot('evil');
    await stage.pass(everySeconds * 1000 * 3);
    assert.deepEqual(failed(stage.alpha), ['pcr-state']);
    const [row, more] = stage.alpha.journal.refusals(2);
    assert.match(row?.reason ?? '', /^host-quarantined: pcr-state: /);
    assert.deepEqual([row?.operation, row?.vm, more], ['quarantine', null, undefined]);
    const { checks } = JSON.parse(row?.verdict ?? '') as { checks: { name: string; outcome: string }[] };
    assert.deepEqual(
      checks.filter(({ outcome }) => outcome === 'fail').map(({ name }) => name),
      ['pcr-state'],
    );
    assert.ok(stage.hasLogged(stage.alpha, /this host is quarantined/));
  });

  it('receives nothing while it is quarantined, whoever opens the session', async () => {
    await rule('trusted', { rulesOfHosts: { forward: { versions: { tvmmp: '9.0' } } } });
    assert.deepEqual(failed(stage.beta), ['rule-versions']);
    const vm = await stage.vm(stage.alpha);
    await stage.pass(10_000);
    await assert.rejects(
      stage.virsh(vm, stage.alpha, stage.beta),
      /host-quarantined: beta\.test does not satisfy its policy \(rule-versions\): it receives no VM/,
    );
    await assert.rejects(stage.until(stage.alpha.depart(vm.uuid, stage.beta)), /the target refused/);
    assert.match(stage.refusal(stage.beta), /^host-quarantined: /);
    assert.equal(stage.record(stage.alpha, vm).state, 'running');
  });

  it('does not stage what was offered before it was quarantined', async () => {
    await rule();
    const vm = await stage.vm(stage.alpha);
    const { services } = stage.beta.agent!;
    const { quotes } = services;
    const sign = quotes.sign.bind(quotes);
    // After its evidence is signed, and before the offer comes.
    quotes.sign = async (...asked) => {
      const signed = await sign(...asked);
      stage.beta.journal.putSetting(
        'quarantine',
        JSON.stringify({ since: 0, reason: 'x', failed: ['ima-files'], verdict: '' }),
      );
      return signed;
    };
    await assert.rejects(stage.virsh(vm, stage.alpha, stage.beta), /host-quarantined: beta\.test/);
    await stage.pass(60_000);
    assert.equal(stage.record(stage.alpha, vm).state, 'running');
  });

  it('keeps its VMs where the policy lets none leave', async () => {
    const vm = await stage.vm(stage.alpha);
    await rule('never', { rulesOfHosts: { forward: { states: ['update'] } } });
    assert.deepEqual(failed(stage.alpha), ['rule-states']);
    stage.beta.boot('update');
    await stage.pass(everySeconds * 1000);
    assert.equal(failed(stage.beta), null);
    await assert.rejects(
      stage.until(stage.alpha.depart(vm.uuid, stage.beta)),
      /host-quarantined: alpha\.test .* its policy lets no VM leave it: vm stays/,
    );
    assert.equal(stage.record(stage.alpha, vm).state, 'running');
  });

  it('lets them leave to a trusted host where the policy says so', async () => {
    const vm = await stage.vm(stage.alpha);
    await rule('trusted', { rulesOfHosts: { forward: { states: ['update'] } } });
    stage.beta.boot('update');
    await stage.pass(everySeconds * 1000);
    assert.deepEqual(failed(stage.alpha), ['rule-states']);
    await stage.virsh(vm, stage.alpha, stage.beta);
    assert.equal(stage.record(stage.beta, vm).state, 'running');
    assert.deepEqual(proof(stage.beta, vm).kinds, ['quarantined', 'departing', 'arrived']);
    assert.equal(proof(stage.beta, vm).proof.head.quarantined, false);
  });

  it('lets none leave before its proof says so', async () => {
    const vm = await stage.vm(stage.alpha);
    await rule('trusted');
    stage.alpha.agent!.services.selfAppraisal.onLooked = () => Promise.resolve();
    const note = { since: 0, reason: 'x', failed: ['ima-files'], verdict: '00'.repeat(32) };
    stage.alpha.journal.putSetting('quarantine', JSON.stringify(note));
    await assert.rejects(
      stage.until(stage.alpha.depart(vm.uuid, stage.beta)),
      /host-quarantined: the proof of vm does not say yet/,
    );
  });

  it('is still quarantined when its agent starts again, and comes out when its state is approved', async () => {
    await rule();
    stage.alpha.boot('evil');
    await stage.pass(everySeconds * 1000);
    const since = readQuarantine(stage.alpha)?.since;
    stage.alpha.killAgent();
    stage.alpha.startAgent();
    await stage.pass(2_000);
    assert.equal(trust(stage.alpha).quarantine?.since, since);
    stage.alpha.boot('base');
    await stage.pass(everySeconds * 1000);
    assert.equal(failed(stage.alpha), null);
    assert.ok(stage.hasLogged(stage.alpha, /no longer quarantined/));
  });

  it('says so in the proofs of its VMs, even from a state that nobody approved, and says when it is over', async () => {
    const vm = await stage.vm(stage.alpha);
    await rule();
    stage.alpha.boot('evil');
    await stage.pass(everySeconds * 1000);
    const { verdict } = readQuarantine(stage.alpha)!;
    const said = proof(stage.alpha, vm);
    assert.deepEqual([said.kinds, said.proof.head.quarantined], [['quarantined'], true]);
    const last = said.proof.entries.at(-1)!;
    assert.deepEqual([hex(last.entry.verdict!), last.pcrState], [verdict, null]);
    stage.alpha.boot('base');
    await stage.pass(everySeconds * 1000);
    const over = proof(stage.alpha, vm);
    assert.deepEqual([over.kinds, over.proof.head.quarantined], [['quarantined', 'released'], false]);
    await stage.virsh(vm, stage.alpha, stage.beta);
    assert.equal(stage.record(stage.beta, vm).state, 'running');
  });

  it('signs nothing where nobody would believe its signature', async () => {
    const vm = await stage.vm(stage.alpha);
    await rule();
    stage.alpha.revocations.learn(revocationsOf(stage.world, 1, [stage.world.alpha], stage.kernel.time));
    await stage.pass(everySeconds * 1000);
    assert.deepEqual(failed(stage.alpha), ['revocation']);
    assert.deepEqual(proof(stage.alpha, vm).kinds, []);
  });

  it('looks at once under a new policy', async () => {
    await rule();
    stage.alpha.boot('evil');
    await rule();
    assert.deepEqual(failed(stage.alpha), ['pcr-state']);
  });

  it('is no longer quarantined under a policy that does not ask', async () => {
    await rule();
    stage.alpha.boot('evil');
    await stage.pass(everySeconds * 1000);
    inForce = stage.world.signPolicy({ version: 5 });
    await stage.pass(10_000);
    assert.equal(readQuarantine(stage.alpha), null);
  });

  it('is not quarantined by a TPM that fails, and tries again sooner', async () => {
    await rule();
    stage.alpha.boot('evil');
    stage.alpha.tpm.failing = true;
    await stage.pass(everySeconds * 1000);
    assert.match(trust(stage.alpha).problem, /TPM_RC_FAILURE/);
    assert.equal(failed(stage.alpha), null);
    stage.alpha.tpm.failing = false;
    await stage.pass(everySeconds * 1000);
    assert.deepEqual([trust(stage.alpha).problem, failed(stage.alpha)], ['', ['pcr-state']]);
  });

  it('is not quarantined by what does not fail twice in a row', async () => {
    await rule();
    const { tpm } = stage.world.alpha;
    const { quotes } = stage.alpha.agent!.services;
    const before = quotes.count;
    stage.alpha.boot('evil');
    const sign = quotes.sign.bind(quotes);
    quotes.sign = async (...asked) => {
      const signed = await sign(...asked);
      stage.alpha.boot('base');
      return signed;
    };
    await stage.pass(everySeconds * 1000);
    assert.ok(quotes.count >= before + 2 && tpm.pcrs.size > 0);
    assert.equal(failed(stage.alpha), null);
  });

  describe('under rules about logs', () => {
    let booted: Booted;
    let other: Booted;
    let good: Parameters<typeof rule>[1];

    beforeEach(async () => {
      booted = new Booted();
      other = new Booted();
      stage.alpha.logs = booted.files;
      stage.beta.logs = other.files;
      for (const host of [stage.alpha, stage.beta]) {
        host.killAgent();
        host.startAgent();
      }
      await stage.pass(2_000);
      const pcrs = new Map([0, 7].map((pcr) => [pcr, booted.pcrs.get(pcr) ?? new Uint8Array(32)]));
      stage.world.alpha.tpm.pcrs = booted.pcrs;
      stage.world.beta.tpm.pcrs = other.pcrs;
      const rules = { eventLog: secureBoot.eventLogRules(), ima: secureBoot.imaRules() };
      good = { pcrs: [0, 7], states: [{ name: 'good', pcrs }], rules };
      await rule('never', good);
      assert.equal(failed(stage.alpha), null);
    });

    it('is quarantined as soon as a file ran that the policy does not know, long before the next appraisal is due', async () => {
      booted.run('/usr/bin/evil', 'evil');
      stage.world.alpha.tpm.pcrs = booted.pcrs;
      await stage.pass(20_000);
      assert.deepEqual(failed(stage.alpha), ['ima-files']);
      assert.match(trust(stage.alpha).quarantine?.reason ?? '', /\/usr\/bin\/evil is not listed/);
    });

    /** A file runs at alpha that the policy does not know. */
    async function tainted(): Promise<void> {
      booted.run('/usr/bin/evil', 'evil');
      stage.world.alpha.tpm.pcrs = booted.pcrs;
      await stage.pass(20_000);
      assert.deepEqual(failed(stage.alpha), ['ima-files']);
    }

    it('gives its VMs to a trusted host though files ran on it, where the policy lets them leave', async () => {
      await rule('trusted', good);
      const vm = await stage.vm(stage.alpha);
      await tainted();
      await stage.virsh(vm, stage.alpha, stage.beta);
      assert.equal(stage.record(stage.beta, vm).state, 'running');
      assert.deepEqual(proof(stage.beta, vm).kinds, ['quarantined', 'departing', 'arrived']);
    });

    it('does not where it hides that it is quarantined', async () => {
      await rule('trusted', good);
      const vm = await stage.vm(stage.alpha);
      stage.alpha.agent!.services.selfAppraisal.end();
      booted.run('/usr/bin/evil', 'evil');
      stage.world.alpha.tpm.pcrs = booted.pcrs;
      await assert.rejects(
        stage.virsh(vm, stage.alpha, stage.beta),
        /ima-files: .*\/usr\/bin\/evil is not listed/,
      );
      await stage.pass(60_000);
      assert.equal(stage.record(stage.alpha, vm).state, 'running');
    });

    it('does not where more than files is wrong: its list does not lead to its quote', async () => {
      await rule('trusted', good);
      const vm = await stage.vm(stage.alpha);
      await tainted();
      booted.ima = booted.ima?.subarray(0, -1) ?? null;
      await assert.rejects(stage.virsh(vm, stage.alpha, stage.beta), /ima-list|pcr-values/);
      await stage.pass(60_000);
      assert.equal(stage.record(stage.alpha, vm).state, 'running');
    });

    it('does not where it booted otherwise than the policy says', async () => {
      await rule('trusted', good);
      const vm = await stage.vm(stage.alpha);
      const line = (text: string): string => text.replace('\0', ' init=/bin/sh\0');
      booted.measuring(secureBoot.eventLogRemeasured('kernel_cmdline: ', line));
      stage.world.alpha.tpm.pcrs = booted.pcrs;
      stage.world.alpha.tpm.resetCount = 2;
      await stage.pass(everySeconds * 1000);
      assert.deepEqual(failed(stage.alpha), ['command-lines', 'ima-boot-aggregate']);
      await assert.rejects(stage.virsh(vm, stage.alpha, stage.beta), /command-lines: /);
      await stage.pass(60_000);
      assert.equal(stage.record(stage.alpha, vm).state, 'running');
    });

    it('does not receive any either', async () => {
      await rule('trusted', good);
      const vm = await stage.vm(stage.beta);
      await tainted();
      await assert.rejects(stage.virsh(vm, stage.beta, stage.alpha), /host-quarantined: alpha\.test/);
    });

    it('does not quote all the time where the list grows all the time', async () => {
      const { quotes } = stage.alpha.agent!.services;
      const before = quotes.count;
      for (let second = 0; second < 60; second += 1) {
        booted.run('/tmp/later', String(second));
        stage.world.alpha.tpm.pcrs = booted.pcrs;
        await stage.pass(1_000);
      }
      const made = quotes.count - before;
      assert.ok(made >= 3 && made <= 7, String(made));
    });
  });
});
