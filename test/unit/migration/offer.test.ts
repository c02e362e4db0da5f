/** What a target looks at before it stages a VM (SPEC 6.7): an enrolled and approved source that lies in one thing at a time. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { sha256 } from '../../../lib/encoding/hash.ts';
import { entryHash } from '../../../lib/proof/entry.ts';
import type { Message } from '../../../lib/protocol/messages.ts';
import { domainXml } from '../../simulation/domain.ts';
import { Liar } from '../../simulation/liar.ts';
import type { Attested } from '../../simulation/liar.ts';
import { factsHash, Stage } from '../../simulation/stage.ts';
import type { WorldHost, WorldPolicy } from '../../support/proof-world.ts';
import { ChainBuilder, freshSession, worldStart } from '../../support/proof-world.ts';

describe('an offer to a target (SPEC 6.7)', () => {
  let stage: Stage;
  let liar: Liar;
  beforeEach(async () => {
    stage = await Stage.open();
    liar = new Liar(stage);
  });
  afterEach(() => {
    stage.close();
  });

  async function refused(answer: Promise<Message>): Promise<string> {
    assert.equal((await answer).kind, 'aborted', 'after an offer it says so by its signature (SPEC 6.10)');
    await stage.pass(1_000);
    return stage.refusal(stage.beta);
  }

  async function honest(attested: Attested): Promise<Message> {
    return liar.offer(attested, liar.depart(attested).bytes());
  }

  it('is taken where it is honest: the offer that all others are a change of', async () => {
    assert.equal((await honest(await liar.attested(stage.beta))).kind, 'staged');
  });

  it('is refused for a VM that the target holds itself', async () => {
    const vm = await stage.vm(stage.beta);
    const chain = liar.chain(vm.uuid);
    assert.match(
      await refused(honest(await liar.attested(stage.beta, { chain }))),
      /this host has VM vm already \(running\): one VM, one holder/,
    );
  });

  it('is refused while the target has not finished giving the VM away', async () => {
    const chain = liar.chain();
    const times = { started: 0, updated: 0 };
    const session = { id: freshSession(), vm: chain.vm, peer: 'alpha.test', address: '', ...times };
    stage.beta.journal.openSession({ ...session, role: 'source', state: 'open' });
    for (const state of ['offered', 'aborting', 'destroying'] as const) {
      stage.beta.journal.changeSession(session.id, { state }, 0);
      const attested = await liar.attested(stage.beta, { chain: liar.chain(chain.vm) });
      assert.match(await refused(honest(attested)), /has not finished giving this VM away yet/, state);
    }
  });

  it('is refused with a fork of a chain that the target has seen', async () => {
    const chain = liar.chain();
    const first = await liar.attested(stage.beta, { chain });
    assert.equal((await honest(first)).kind, 'staged');
    await first.channel.send({ kind: 'abort', session: first.session, head: chain.head });
    await liar.expect(first.channel, 'aborted');
    chain.entries.pop();
    chain.head = entryHash(chain.entries.at(-1)!.entry);
    chain.sequence -= 1;
    assert.match(
      await refused(honest(await liar.attested(stage.beta, { chain }))),
      /proof: known-head: another entry 2 of this VM is known here: the chain was forked/,
    );
  });

  it('is refused with the good proof of another VM', async () => {
    const attested = await liar.attested(stage.beta);
    const other = { ...attested, chain: liar.chain() };
    assert.match(await refused(honest(other)), /proof: vm: /);
  });

  it('is refused with a proof that does not end with departing', async () => {
    const attested = await liar.attested(stage.beta);
    assert.match(
      await refused(liar.offer(attested, attested.chain.bytes())),
      /proof: life-cycle: its last entry is not departing/,
    );
  });

  it('is refused with a proof that hands the VM over in another session', async () => {
    const attested = await liar.attested(stage.beta);
    const chain = liar.depart(attested, { session: freshSession() });
    assert.match(
      await refused(liar.offer(attested, chain.bytes())),
      /proof: session: departing is of another session/,
    );
  });

  it('is refused with a proof that hands the VM to another host, or to another key of that name', async () => {
    for (const change of [
      { ...stage.world.alpha.id },
      { name: 'beta.test', akName: Uint8Array.from([0, 11, ...sha256()]), certificate: sha256() },
    ]) {
      const attested = await liar.attested(stage.beta);
      const chain = liar.depart(attested, { peer: change });
      assert.match(
        await refused(liar.offer(attested, chain.bytes())),
        /proof: holder: departing is to \S+, not to this host/,
      );
    }
  });

  it('is refused with a proof of a VM that another host holds', async () => {
    const chain = new ChainBuilder(stage.world);
    chain.vm = randomUUID();
    chain.live('created', 'started');
    assert.match(
      await refused(honest(await liar.attested(stage.beta, { chain }))),
      /proof: holder: alpha\.test holds the VM, and gamma\.test offers it/,
    );
  });

  it('is refused from a source whose policy is older than its VM’s proof requires', async () => {
    const { id, version } = stage.world.policy.id;
    const attested = await liar.attested(stage.beta, {
      hello: { policy: { id, version: version - 1, digest: sha256() } },
    });
    assert.match(await refused(honest(attested)), /source gamma\.test is not trusted: policy-version: /);
  });

  it('is refused where the VM’s proof is under a newer policy than the target has', async () => {
    const newer = stage.world.signPolicy({ version: 4 });
    const chain = liar.chain();
    chain.policy = newer;
    const attested = await liar.attested(stage.beta, { chain, hello: { policy: newer.id } });
    assert.match(
      await refused(honest(attested)),
      /policy-version: the VM's proof is under policy lab v4, this host has lab v3/,
    );
  });

  describe('by a policy that asks of every host that has held the VM', () => {
    let policy: WorldPolicy;
    let inEurope: (host: WorldHost) => Promise<WorldHost>;
    beforeEach(async () => {
      stage.close();
      const { world } = stage;
      policy = world.signPolicy({ version: 4, rulesOfHosts: { backward: { attributes: 'region == "eu"' } } });
      stage = await Stage.open({
        beta: (host) => ({ ...host, policy: () => ({ policy: policy.policy, envelope: policy.text }) }),
      });
      inEurope = async ({ id, tpm }) => {
        const { akName, receiveKeyName, akKey } = tpm;
        const attributes = new Map([['region', 'eu']]);
        const named = { name: id.name, akName, receiveKeyName, attributes };
        const certificate = await world.authority.hostCertificate(named, akKey);
        return { id: { ...id, certificate: sha256(certificate) }, tpm, certificate };
      };
      liar = new Liar(stage, await inEurope(world.gamma), policy);
    });

    /** A VM that these hosts have held one after another. */
    const heldBy = (...hosts: readonly WorldHost[]): ChainBuilder => {
      const chain = new ChainBuilder(stage.world);
      Object.assign(chain, { vm: randomUUID(), holder: hosts[0], policy });
      chain.live('created', 'started');
      for (const host of hosts.slice(1)) chain.migrate(host);
      return chain;
    };

    it('is taken where all of them are as it asks', async () => {
      const chain = heldBy(await inEurope(stage.world.alpha), liar.host);
      assert.equal((await honest(await liar.attested(stage.beta, { chain }))).kind, 'staged');
    });

    it('is refused where a host that has held the VM is not as backward asks', async () => {
      const chain = heldBy(stage.world.alpha, liar.host);
      assert.match(
        await refused(honest(await liar.attested(stage.beta, { chain }))),
        /proof: rule-attributes: alpha\.test held the VM in epoch 0 and is not region == "eu"/,
      );
    });

    it('is refused with a proof from a checkpoint on where every holder has to be as backward asks', async () => {
      const chain = heldBy(stage.world.alpha, await inEurope(stage.world.beta));
      const { sequence } = chain;
      chain.checkpoint().migrate(liar.host);
      const attested = await liar.attested(stage.beta, { chain });
      liar.depart(attested);
      assert.match(
        await refused(liar.offer(attested, chain.from(sequence))),
        /proof: checkpoint: it begins with a checkpoint/,
      );
    });
  });

  it('is refused with a proof from a checkpoint on that the source itself has signed', async () => {
    const chain = liar.chain();
    const { sequence } = chain;
    chain.checkpoint();
    const attested = await liar.attested(stage.beta, { chain });
    liar.depart(attested);
    assert.match(
      await refused(liar.offer(attested, chain.from(sequence))),
      /proof: checkpoint: gamma\.test offers the VM/,
    );
  });

  it('is refused where a revoked key has signed in its proof', async () => {
    stage.close();
    const { world } = stage;
    const [host, since, reason] = ['alpha.test', new Date(worldStart), 'stolen'];
    const revoked = { host, akName: world.alpha.id.akName, since, reason };
    const list = { version: 1, issuedAt: since, hosts: [revoked], digest: sha256() };
    stage = await Stage.open({
      beta: (own) => ({ ...own, revocations: () => ({ list, envelope: 'list 1' }) }),
    });
    liar = new Liar(stage);
    const chain = new ChainBuilder(world);
    chain.vm = randomUUID();
    chain.live('created', 'started').migrate(liar.host);
    const attested = await liar.attested(stage.beta, { chain });
    assert.match(await refused(honest(attested)), /proof: revocation: .*alpha\.test/);
  });

  it('is refused where this host has vTPM state of that UUID that nobody knows of', async () => {
    const attested = await liar.attested(stage.beta);
    stage.beta.machine.vtpms.set(attested.chain.vm, { version: 1, key: 'somebody else’s' });
    assert.match(await refused(honest(attested)), /this host has vTPM state of another VM with the UUID of/);
    assert.equal(stage.beta.machine.vtpms.get(attested.chain.vm)?.key, 'somebody else’s');
  });

  it('leaves nothing at the target once it is aborted', async () => {
    const attested = await liar.attested(stage.beta);
    assert.equal((await honest(attested)).kind, 'staged');
    assert.notEqual(stage.beta.journal.permit(attested.chain.vm), null);
    await attested.channel.send({ kind: 'abort', session: attested.session, head: attested.chain.head });
    await liar.expect(attested.channel, 'aborted');
    assert.equal(stage.beta.journal.permit(attested.chain.vm), null);
    assert.equal(stage.beta.journal.vm(attested.chain.vm)?.sealed, null);
  });

  it('is refused where libvirt was given another definition than departing promises', async () => {
    const chain = liar.chain();
    const vm = { uuid: chain.vm, name: 'vm' };
    const xml = domainXml(vm)
      .replace(
        '<metadata/>',
        '<metadata><tvmmp:vm xmlns:tvmmp="https://tvmmp.org/xmlns/vm/1.0" agent="gamma.test:16515"/></metadata>',
      )
      .replace("version='2.0'/>", `version='2.0'><encryption secret='${chain.vm}'/></backend>`);
    const secondDisk = xml.replace('/disks/vm.img', '/disks/other.img');
    assert.notDeepEqual(factsHash(xml), factsHash(secondDisk));
    chain.facts = factsHash(xml);
    const call = { name: 'vm', operation: 'migrate', subOperation: 'begin', extra: '', xml: secondDisk };
    const asked = stage.beta.machine.hooks!.handler(call);
    asked.catch(() => undefined);
    const channel = await liar.accept();
    const answer = await liar.answerAsSource(channel, chain);
    assert.equal(answer.kind, 'aborted');
    await assert.rejects(stage.until(asked), /facts: the domain XML is not that of the VM/);
  });
});
