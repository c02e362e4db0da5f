/** Hosts whose policy has rules about logs (SPEC 6.11): what travels, what is refused, and by which check. */
import assert from 'node:assert/strict';
import type { LogRules } from '../../../lib/appraisal/log-rules.ts';
import type { LogKind } from '../../../lib/evidence/logs-wanted.ts';
import type { Host } from '../../../lib/migration/host.ts';
import { statements } from '../../../lib/migration/hello.ts';
import { LogAppraisals } from '../../../lib/migration/log-appraisals.ts';
import { systemTimers } from '../../../lib/migration/timers.ts';
import { entryHash } from '../../../lib/proof/entry.ts';
import { decodeProof } from '../../../lib/proof/proof.ts';
import { prepareBatch } from '../../../lib/proof/signing.ts';
import type { Channel } from '../../../lib/protocol/channel.ts';
import { limits } from '../../../lib/limits.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import { Liar } from '../../simulation/liar.ts';
import { Stage } from '../../simulation/stage.ts';
import { BootEvidence } from '../../support/boot-evidence.ts';
import { Booted } from '../../support/booted.ts';
import { LogJudgesHere } from '../../support/log-judges.ts';
import type { WorldPolicy } from '../../support/proof-world.ts';

type Name = 'alpha' | 'beta';

/** The liar, once it has said hello: what it can do to alpha. */
interface Greeted {
  readonly liar: Liar;
  readonly channel: Channel;
  readonly tell: (log: LogKind, from: number, data: Uint8Array) => Promise<void>;
  /** Evidence over the PCRs that alpha wants. */
  readonly attest: () => Promise<void>;
}
const secureBoot = new BootEvidence('debian-secure-boot');
/** Everything that was recorded is good. */
const allRules: LogRules = { eventLog: secureBoot.eventLogRules(), ima: secureBoot.imaRules() };

describe('between hosts whose policy has rules about logs (SPEC 6.11)', () => {
  let stage: Stage;
  let boots: Record<Name, Booted>;
  let inForce: WorldPolicy | null;

  /** Two hosts that booted as recorded, under a policy whose states are the recorded boots, with these rules. */
  async function open(rules: LogRules = allRules): Promise<void> {
    inForce = null;
    boots = { alpha: new Booted(), beta: new Booted() };
    const altered = (name: Name) => (host: Host) => ({
      ...host,
      policy: () => (inForce === null ? host.policy() : { policy: inForce.policy, envelope: inForce.text }),
      logFiles: {
        eventLog: () => boots[name].files.eventLog(),
        imaList: (from: number) => boots[name].files.imaList(from),
        imaLength: () => boots[name].files.imaLength(),
      },
    });
    stage = await Stage.open({ alpha: altered('alpha'), beta: altered('beta') });
    govern(rules);
  }

  /** Puts a policy with these rules in force. */
  function govern(rules: LogRules, version = 4): void {
    const states = ['debian-secure-boot', 'secure-boot-off'].map((name) => {
      const { pcrs } = new Booted(name);
      return { name, pcrs: new Map([0, 7].map((pcr) => [pcr, pcrs.get(pcr) ?? new Uint8Array(32)])) };
    });
    inForce = stage.world.signPolicy({ version, pcrs: [0, 7], states, rules });
    for (const name of ['alpha', 'beta'] as const) stage.world[name].tpm.pcrs = boots[name].pcrs;
  }

  /** `virsh migrate` of a VM that is protected at alpha. */
  async function migrated(vm: VmTruth, from: Name = 'alpha', to: Name = 'beta'): Promise<void> {
    for (const name of ['alpha', 'beta'] as const) stage.world[name].tpm.pcrs = boots[name].pcrs;
    await stage.virsh(vm, stage[from], stage[to]);
  }

  /** The same, refused. */
  async function refused(vm: VmTruth, from: Name = 'alpha', to: Name = 'beta'): Promise<void> {
    await assert.rejects(migrated(vm, from, to), /trust/);
    await stage.pass(60_000);
    holds(from, vm);
  }

  /** Bytes of its logs that a host has told, migration by migration. */
  function told(name: Name): readonly Record<LogKind, number>[] {
    return stage.logged
      .filter(({ host, text }) => host === stage[name].name && text.startsWith('told a peer'))
      .map(
        ({ text }) => (JSON.parse(text.slice(text.indexOf('{'))) as { bytes: Record<LogKind, number> }).bytes,
      );
  }

  function holds(name: Name, vm: VmTruth): void {
    assert.equal(stage.record(stage[name], vm).state, 'running');
  }

  afterEach(() => {
    stage.close();
    for (const name of ['alpha', 'beta'] as const) stage.world[name].tpm.resetCount = 1;
  });

  it('a VM moves, and both have told their logs', async () => {
    await open();
    const vm = await stage.vm(stage.alpha);
    await migrated(vm);
    holds('beta', vm);
    const whole = {
      'event-log': boots.alpha.eventLog?.byteLength,
      'ima-list': boots.alpha.ima?.byteLength,
    };
    assert.deepEqual([told('alpha'), told('beta')], [[whole], [whole]]);
  });

  it('the next time they tell what is new alone, whichever of them the VM leaves', async () => {
    await open();
    const vm = await stage.vm(stage.alpha);
    await migrated(vm);
    await migrated(vm, 'beta', 'alpha');
    const added = boots.beta.run('/tmp/later', 'more');
    await migrated(vm);
    holds('beta', vm);
    const nothing = { 'event-log': 0, 'ima-list': 0 };
    assert.deepEqual(told('alpha').slice(1), [nothing, nothing]);
    assert.deepEqual(told('beta').slice(1), [nothing, { 'event-log': 0, 'ima-list': added }]);
  });

  it('after a reset they tell all of it again, and under another policy too', async () => {
    await open();
    const vm = await stage.vm(stage.alpha);
    await migrated(vm);
    boots.alpha = new Booted();
    boots.alpha.run('/tmp/other', 'after the reset');
    stage.world.alpha.tpm.resetCount += 1;
    await migrated(vm, 'beta', 'alpha');
    holds('alpha', vm);
    const whole = {
      'event-log': boots.alpha.eventLog?.byteLength,
      'ima-list': boots.alpha.ima?.byteLength,
    };
    assert.deepEqual(told('alpha')[1], whole);
    govern(allRules, 5);
    await migrated(vm);
    holds('beta', vm);
    assert.deepEqual(told('alpha')[2], whole);
  });

  it('entries that come after the quote are left out, and told again the next time', async () => {
    await open();
    const vm = await stage.vm(stage.alpha);
    const { ima, pcrs } = boots.beta;
    const added = boots.beta.run('/usr/bin/later', 'nobody lists it');
    stage.world.alpha.tpm.pcrs = boots.alpha.pcrs;
    stage.world.beta.tpm.pcrs = pcrs;
    await stage.virsh(vm, stage.alpha, stage.beta);
    holds('beta', vm);
    assert.equal(told('beta')[0]?.['ima-list'], (ima?.byteLength ?? 0) + added);
    await refused(vm, 'beta', 'alpha');
    assert.equal(told('beta')[1]?.['ima-list'], added);
    assert.match(stage.refusal(stage.alpha), /ima-files: 1 others: \/usr\/bin\/later is not listed/);
  });

  it('a policy that has no such rules asks for nothing, and hellos are as they were', async () => {
    await open({});
    const vm = await stage.vm(stage.alpha);
    await migrated(vm);
    holds('beta', vm);
    assert.deepEqual([told('alpha'), told('beta')], [[], []]);
  });

  describe('a host is refused, by the check that says why, and the VM stays', () => {
    /** What makes beta another host, and the reason at alpha, which names the check first. */
    const cases: readonly (readonly [string, (beta: Booted) => unknown, RegExp])[] = [
      [
        'Secure Boot is off in its log',
        () => new Booted('secure-boot-off'),
        /secure-boot: off, expected Secure Boot on; also failed: .*set Secure Boot in the firmware/,
      ],
      [
        'its kernel was booted with another command line',
        (beta) => beta.measuring(otherCommandLine(beta)),
        /command-lines: "\/boot\/vmlinuz.* init=\/bin\/sh", expected a kernel command line of the policy; .*boot the peer with/,
      ],
      [
        'a file was changed under IMA',
        (beta) => beta.run('/usr/bin/qemu-system-x86_64', 'changed'),
        /ima-files: 1 others: \/usr\/bin\/qemu-system-x86_64 is not listed \(sha256:[0-9a-f]{16}\.\.\.\), expected files that are listed/,
      ],
      [
        'it tells no event log',
        (beta) => (beta.eventLog = null),
        /event-log: none, and the policy has rules about it, expected .*tvmmp doctor/,
      ],
      [
        'it tells no IMA list',
        (beta) => (beta.ima = null),
        /ima-list: none, and the policy has rules about it, expected/,
      ],
      [
        'its event log is cut short',
        (beta) => (beta.eventLog = beta.eventLog?.subarray(0, -7) ?? null),
        /event-log: event log: truncated: /,
      ],
      [
        'its IMA list is cut short within an entry',
        (beta) => (beta.ima = beta.ima?.subarray(0, -3) ?? null),
        /ima-list: IMA list: truncated: /,
      ],
      [
        'its IMA list lacks the last entry that the quote covers',
        (beta) => {
          const { ima } = beta;
          beta.run('/tmp/hidden', 'what nobody is to see');
          beta.ima = ima;
        },
        /pcr-values: other values: what was given leads to /,
      ],
      [
        'its event log lacks an event',
        (beta) => (beta.eventLog = beta.recorded.eventLogWithout(9)),
        /pcr-values: other values: what was given leads to /,
      ],
      [
        'its logs are those of another boot',
        (beta) => {
          const other = new Booted('secure-boot-off');
          beta.eventLog = other.eventLog;
          beta.ima = other.ima;
        },
        /pcr-values: other values: what was given leads to /,
      ],
      [
        'the type of an event in a PCR that matters was changed to one that nobody knows',
        (beta) => (beta.eventLog = beta.recorded.eventLogRetyped('SecureBoot', 0x80000abc)),
        /event-log-events: unknown-type: event \d+ \(PCR 7\): type 0x80000abc/,
      ],
    ];
    for (const [what, change, reason] of cases) {
      it(what, async () => {
        await open();
        const vm = await stage.vm(stage.alpha);
        const other = change(boots.beta);
        if (other instanceof Booted) boots.beta = other;
        await refused(vm);
        assert.match(stage.refusal(stage.alpha), reason);
      });
    }

    it('a source too, by its target', async () => {
      await open();
      const vm = await stage.vm(stage.alpha);
      boots.alpha.run('/usr/sbin/libvirtd', 'changed');
      await refused(vm);
      assert.match(stage.refusal(stage.beta), /ima-files: 1 others: \/usr\/sbin\/libvirtd is not listed/);
    });

    it('also after it was trusted, for what it has run since', async () => {
      await open();
      const vm = await stage.vm(stage.alpha);
      await migrated(vm);
      await migrated(vm, 'beta', 'alpha');
      boots.beta.run('/usr/bin/changed', 'since then');
      await refused(vm);
      assert.match(stage.refusal(stage.alpha), /ima-files: 1 others: \/usr\/bin\/changed is not listed/);
      await refused(vm);
      assert.equal(told('beta').at(-1)?.['ima-list'], 0, 'it is not told again');
      assert.match(stage.refusal(stage.alpha), /ima-files: 1 others: \/usr\/bin\/changed is not listed/);
    });
  });

  describe('a peer that lies about what it has told', () => {
    /** Alpha turns to the liar, which has said hello; then the liar speaks. */
    async function facing(speak: (to: Greeted) => Promise<void>, rules = allRules): Promise<void> {
      await open(rules);
      assert.ok(inForce !== null);
      const vm = await stage.vm(stage.alpha);
      const liar = new Liar(stage, stage.world.gamma, inForce);
      stage.world.gamma.tpm.pcrs = new Booted().pcrs;
      stage.alpha.depart(vm.uuid, stage.gamma).catch(() => undefined);
      const channel = await liar.accept();
      const peer = await liar.expect(channel, 'hello');
      const own = liar.hello('target', peer.session, peer.vm);
      await channel.send(own);
      const statement = statements(channel, own, peer).target;
      const tell = async (log: LogKind, from: number, data: Uint8Array): Promise<void> => {
        await channel.send({ kind: 'log', session: peer.session, log, from, data });
      };
      const attest = async (): Promise<void> => {
        const { tpm } = liar.host;
        const selection = [{ bank: 'sha256' as const, pcrs: peer.wanted?.pcrs ?? [0, 7] }];
        const batch = prepareBatch([], [statement]);
        const { attest: bytes, signature } = tpm.quote(batch.qualifyingData, selection);
        const path = batch.finish(bytes, signature).statementPaths[0] ?? [];
        const claim = { attest: bytes, signature, path, pcrs: tpm.claimedPcrs(selection) };
        await channel.send({ kind: 'evidence', session: peer.session, claim });
      };
      await speak({ liar, channel, tell, attest });
      await stage.pass(2_000);
      holds('alpha', vm);
    }

    const { eventLog, ima } = new Booted();
    assert.ok(eventLog !== null && ima !== null);

    it('gets an offer where it tells all, in whatever pieces', async () => {
      await facing(async ({ liar, channel, tell, attest }) => {
        for (let at = 0; at < eventLog.byteLength; at += 1_000)
          await tell('event-log', at, eventLog.subarray(at, at + 1_000));
        for (let at = 0; at < ima.byteLength; at += 7) await tell('ima-list', at, ima.subarray(at, at + 7));
        await attest();
        const { session, proof } = await liar.expect(channel, 'offer');
        const head = entryHash(decodeProof(proof).entries.at(-1)?.entry ?? new Uint8Array());
        await channel.send(liar.aborted({ session, head }));
      });
    });

    const refusals: readonly (readonly [string, (to: Greeted) => Promise<void>, RegExp])[] = [
      [
        'that it had told the beginning of its list before',
        async ({ tell, attest }) => {
          await tell('event-log', 0, eventLog);
          await tell('ima-list', 200, ima.subarray(200));
          await attest();
        },
        /ima-list: goes on at byte 200, and this host has 0 bytes of it/,
      ],
      [
        'that both were known',
        async ({ attest }) => attest(),
        /event-log: none, and the policy has rules about it/,
      ],
      [
        'with a hole in a log',
        async ({ tell, attest }) => {
          await tell('event-log', 0, eventLog.subarray(0, 1_000));
          await tell('event-log', 1_001, eventLog.subarray(1_001));
          await attest();
        },
        /event-log: goes on at byte 1001, where byte 1000 is due/,
      ],
      [
        'with logs that come after the quote',
        async ({ tell, attest }) => {
          await attest();
          await tell('event-log', 0, eventLog);
        },
        /event-log: none, and the policy has rules about it/,
      ],
      [
        'with a piece of nothing',
        ({ tell }) => tell('ima-list', 0, new Uint8Array()),
        /an empty piece of the ima-list/,
      ],
      [
        'and takes its time with them',
        async ({ tell, liar }) => {
          for (let n = 0; n < 5; n += 1) {
            await tell('event-log', n, eventLog.subarray(n, n + 1));
            await liar.stage.pass(9_000);
          }
        },
        /event-log: the peer did not send its logs in time/,
      ],
    ];
    for (const [what, speak, reason] of refusals) {
      it(`${what} is refused`, async () => {
        await facing(speak);
        assert.match(stage.refusal(stage.alpha), reason);
      });
    }

    it('is not believed by a policy that is not in force any more', async () => {
      await facing(async ({ tell, attest }) => {
        await tell('event-log', 0, eventLog);
        await tell('ima-list', 0, ima);
        govern({ ...allRules, eventLog: { ...allRules.eventLog, secureBoot: false } }, 5);
        await attest();
      });
      assert.match(stage.refusal(stage.alpha), /event-log: none, expected logs of this quote/);
    });

    it('is not listened to where nobody asked for logs', async () => {
      await facing(({ tell }) => tell('event-log', 0, eventLog), {});
      assert.match(stage.refusal(stage.alpha), /a log that nobody asked for/);
    });

    it('is not listened to without end', async () => {
      await open();
      const logs = new LogAppraisals({
        policy: () => ({ policy: inForce!.policy, envelope: inForce!.text }),
        logJudges: new LogJudgesHere(),
        timers: { ...systemTimers, elapsed: () => 0 },
      });
      const exchange = logs.begin('gamma', logs.wantedOf('gamma')!);
      const session = new Uint8Array(32);
      const data = new Uint8Array(limits.logPieceBytesMax);
      let told = 0;
      await assert.rejects(
        async () => {
          for (; ; told += data.byteLength)
            await exchange.received({ kind: 'log', session, log: 'ima-list', from: told, data }, session);
        },
        { code: 'limit-exceeded' },
      );
      assert.equal(told, limits.eventLogBytesMax + limits.imaListBytesMax);
    });
  });
});

/** The log of a boot whose kernel got one parameter more, with the digest of that. */
function otherCommandLine({ recorded }: Booted): Uint8Array {
  return recorded.eventLogRemeasured('kernel_cmdline: ', (text) => text.replace('\0', ' init=/bin/sh\0'));
}
