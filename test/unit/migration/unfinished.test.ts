/** What is done again, or left alone, where a session could not go on at the time (SPEC 6.8, 6.10): shipped agents, one thing amiss. */
import assert from 'node:assert/strict';
import { domainXml } from '../../simulation/domain.ts';
import { Liar } from '../../simulation/liar.ts';
import { migrate } from '../../simulation/migration.ts';
import { factsHash, stageBeforeEach } from '../../simulation/stage.ts';
import type { Stage } from '../../simulation/stage.ts';

describe('a session that could not go on at the time', () => {
  let stage: Stage;
  let liar: Liar;
  stageBeforeEach((opened) => {
    stage = opened;
    liar = new Liar(stage);
  });

  it('stays as it is where it was committed and a restart cannot take it up, and is disclaimed to nobody', async () => {
    const { beta } = stage;
    const attested = await liar.attested(beta);
    const { session, chain } = attested;
    assert.equal((await liar.offer(attested, liar.depart(attested).bytes())).kind, 'staged');
    beta.killAgent();
    // Its journal says that the VM arrived, and has no entry that does: nobody can say any more what became of it.
    beta.journal.changeSession(session, { state: 'arrived' }, 0);
    beta.startAgent();
    await stage.pass(2_000);
    for (const kind of ['abort', 'query'] as const) {
      const channel = await liar.connect(beta);
      await channel.send({ kind, session, head: chain.head });
      await assert.rejects(stage.until(channel.receive(20_000)), /gone/);
    }
    const record = beta.journal.session(session);
    assert.equal(record?.state, 'arrived');
    assert.equal(record.problem, 'internal: nothing more is known of what is arrived');
    assert.notEqual(
      stage.record(beta, { uuid: chain.vm, name: 'vm', latest: 0, doubled: new Set<string>() }).sealed,
      null,
    );
  });

  it('ends with departed where a proof has brought it meanwhile: the VM has gone back, and come again', async () => {
    const { alpha, beta, network } = stage;
    const vm = await stage.vm(alpha);
    for (const [from, to] of [
      [alpha, beta],
      [beta, alpha],
      [alpha, beta],
    ] as const) {
      const moved = migrate(network, from.machine, vm.uuid, to.machine);
      moved.catch(() => undefined);
      for (let step = 0; step < 1_000; step += 1) {
        network.losesNext = 'departed';
        await stage.pass(5);
      }
      await moved;
    }
    const states = (): readonly string[] => beta.journal.sessions(vm.uuid).map(({ state }) => state);
    assert.ok(states().includes('arrived'));
    network.losesNext = null;
    await stage.pass(60_000);
    assert.deepEqual(states(), ['done', 'departed', 'done']);
    assert.equal(beta.journal.departures(vm.uuid).length, 3);
  });

  it('leaves nothing behind: the key of a VM that was refused while libvirt was away is cleared away without a restart', async () => {
    const { beta } = stage;
    const { agent, machine } = beta;
    assert.ok(agent !== null);
    const chain = liar.chain();
    const vm = { uuid: chain.vm, name: 'vm', latest: 0, doubled: new Set<string>() };
    const xml = domainXml(vm);
    chain.facts = factsHash(xml);
    const secret = '8f0c9b1e-4d0e-4a86-9a43-6d6b0f5c7c11';
    const coming = agent.sessions.come(
      vm.uuid,
      { name: vm.name, facts: chain.facts, secret },
      'gamma.test:16515',
    );
    coming.catch(() => undefined);
    const answered = liar.answerAsSource(await liar.accept(), chain);
    answered.catch(() => undefined);
    for (let step = 0; beta.journal.permit(vm.uuid) === null; step += 1) {
      assert.ok(step < 100_000, 'it was not staged');
      await stage.pass(0.1);
    }
    machine.stopLibvirtd();
    await stage.pass(20_000);
    assert.equal(beta.journal.sessions(vm.uuid)[0]?.state, 'refused');
    assert.equal(stage.record(beta, vm).state, 'staged');
    machine.startLibvirtd();
    await stage.pass(90_000);
    assert.equal(beta.agent, agent, 'it is the same agent');
    const { state, sealed } = stage.record(beta, vm);
    assert.deepEqual([state, sealed], ['gone', null]);
    assert.equal(beta.journal.permit(vm.uuid), null);
  });

  it('says abort over the connection that it has, once a full disk lets it', async () => {
    const { alpha } = stage;
    const vm = await stage.vm(alpha);
    alpha.depart(vm.uuid, stage.gamma).catch(() => undefined);
    const { channel, session } = await liar.offered();
    alpha.disk.full = true;
    for (let waited = 0; !stage.hasLogged(alpha, /a step of a session failed/); waited += 1) {
      assert.ok(waited < 600, 'it did not try');
      await stage.pass(100);
    }
    assert.equal(alpha.journal.session(session)?.state, 'offered');
    alpha.disk.full = false;
    const { head } = await liar.expect(channel, 'abort');
    await channel.send(liar.aborted({ session, head }));
    await stage.pass(2_000);
    assert.equal(stage.record(alpha, vm).state, 'running');
  });

  it('ends where it was staged and then refused, which a full disk kept out of the journal: libvirt is asked what came of it', async () => {
    const { beta } = stage;
    const chain = liar.chain();
    const vm = { uuid: chain.vm, name: 'vm', latest: 0, doubled: new Set<string>() };
    chain.facts = factsHash(domainXml(vm));
    const secret = '8f0c9b1e-4d0e-4a86-9a43-6d6b0f5c7c11';
    const incoming = { name: vm.name, facts: chain.facts, secret };
    const coming = beta.agent?.sessions.come(vm.uuid, incoming, 'gamma.test:16515');
    coming?.catch(() => undefined);
    const channel = await liar.accept();
    beta.tpm.delayMs = 8_000;
    const answered = liar.answerAsSource(channel, chain).catch(() => null);
    await stage.pass(1);
    const session = beta.journal.sessions(vm.uuid)[0]?.id ?? new Uint8Array();
    for (let waited = 0; beta.journal.session(session)?.state !== 'staged'; waited += 1) {
      assert.ok(waited < 10_000, 'it was not staged');
      await stage.pass(1);
    }
    beta.tpm.failing = true;
    beta.disk.full = true;
    await stage.pass(30_000);
    assert.equal(stage.hasLogged(beta, /a refusal could not be written down/), true);
    assert.equal(beta.journal.session(session)?.state, 'staged');
    Object.assign(beta.tpm, { failing: false, delayMs: 5 });
    beta.disk.full = false;
    // Its source says nothing any more.
    await stage.pass(300_000);
    assert.equal(beta.journal.session(session)?.state, 'aborted');
    assert.deepEqual(beta.journal.unfinishedSessions(), []);
    assert.deepEqual(
      [beta.journal.permit(chain.vm), beta.journal.vm(chain.vm)?.sealed ?? null],
      [null, null],
    );
    await answered;
  });
});
