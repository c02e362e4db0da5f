/** One VM, one holder: copies that are started, and peers that lie about where the VM is. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeEntry, entryHash } from '../../lib/proof/entry.ts';
import { decodeProof } from '../../lib/proof/proof.ts';
import type { TlsChannel } from '../../lib/agent/tls-channel.ts';
import type { Disclaimed } from '../../lib/proof/disclaimer.ts';
import type { Aborted, Message } from '../../lib/protocol/messages.ts';
import { attackLab, victim } from '../support/attacker-lab.ts';
import { expectMessage, fresh, targetStatement } from '../support/attacker.ts';
import { AttackerChain } from '../support/attacker-chain.ts';
import { arrivedAfter } from '../support/forged-arrival.ts';

describe('attacks: copies and false arrivals', function () {
  this.timeout(180_000);
  const world = attackLab();

  /** vTPM state and definition of the victim, taken while it runs on alpha. */
  async function takeCopy(): Promise<string> {
    const kept = mkdtempSync(join(world().relayDirectory, 'kept-'));
    cpSync(world().vtpm('alpha'), join(kept, 'vtpm'), { recursive: true });
    writeFileSync(
      join(kept, 'victim.xml'),
      await world().lab.on('alpha', 'virsh', '-q', 'dumpxml', '--inactive', victim),
    );
    return kept;
  }

  async function startCopy(host: string, kept: string): Promise<string> {
    cpSync(join(kept, 'vtpm'), world().vtpm(host), { recursive: true });
    await world().lab.on(host, 'virsh', '-q', 'define', join(kept, 'victim.xml'));
    try {
      const { status, stderr } = await world().exec(host, 'virsh', '-q', 'start', victim);
      assert.equal(status, 1, 'the copy started');
      return stderr;
    } finally {
      await world().exec(host, 'virsh', '-q', 'undefine', '--keep-tpm', victim);
      rmSync(world().vtpm(host), { recursive: true, force: true });
    }
  }

  it('refuses to start what was left behind at the old host', async () => {
    const kept = await takeCopy();
    const moved = await world().virshMigrate('beta');
    assert.equal(moved.status, 0, moved.stderr);
    await world().becomes('alpha', 'gone');
    assert.equal(existsSync(world().vtpm('alpha')), false);
    const said = await startCopy('alpha', kept);
    assert.match(
      said,
      /tvmmp: refused: victim is held by beta since epoch \d+: what is left here is an old copy/,
    );
    await world().ticksOn('beta');
    await world().comeHome();
  });

  it('gives the old host no say once the VM has moved', async () => {
    const xml = await world().lab.on('alpha', 'virsh', '-q', 'dumpxml', '--security-info', victim);
    const moved = await world().virshMigrate('beta');
    assert.equal(moved.status, 0, moved.stderr);
    await world().becomes('alpha', 'gone');
    for (const words of [
      ['migrate', victim, 'beta'],
      ['vm', 'unprotect', victim],
      ['vm', 'adopt', victim, '--i-accept-rollback'],
    ]) {
      const { status, stderr } = await world().exec('alpha', 'tvmmp', ...words);
      assert.notEqual(status, 0, words.join(' '));
      assert.match(
        stderr,
        /does not run on this host|victim is held by beta|failed to get domain|domain-not-found|not found/i,
      );
    }
    for (const operation of ['prepare', 'restore']) {
      const { status, stderr } = await world().hook('alpha', operation, xml);
      assert.equal(status, 1);
      assert.match(stderr, /tvmmp: refused: victim is held by beta since epoch \d+/);
    }
    await world().ticksOn('beta');
    await world().comeHome();
  });

  it('refuses to start a copy at a third enrolled host, whose agent runs or does not', async () => {
    const kept = await takeCopy();
    assert.match(await startCopy('mallory', kept), /tvmmp: refused: /);
    await world().withHonestMallory(async () => {
      const said = await startCopy('mallory', kept);
      assert.match(said, /tvmmp: refused: victim is (protected, and this host has never held it|held by)/);
    });
    await world().ticksOn('alpha');
  });

  it('destroys nothing because a target says that the VM arrived while it runs here', async () => {
    const { mallory } = world();
    const from = world().log('alpha').length;
    const asked = world().tvmmpMigrate();
    const { channel, session, head, proof } = await stagedAtMallory();
    await channel.send(await falseArrival(proof));
    await world().logged('alpha', /the target says that VM \S+ arrived, and libvirt runs it here/, from);
    channel.close();
    assert.equal((await world().lab.on('alpha', 'virsh', 'domstate', victim)).trim(), 'running');
    assert.ok(existsSync(world().vtpm('alpha')), 'the vTPM state is gone');
    await world().ticksOn('alpha');
    // alpha asks the target to give the VM up, and keeps it; its key is still there: the VM moves on with it.
    const later = await mallory.accept();
    await expectMessage(later, 'abort');
    await later.send(await mallory.disclaim({ session, head }));
    assert.notEqual((await asked).status, 0);
    later.close();
    await world().becomes('alpha', 'running');
    await world().ticksOn('alpha');
    await world().roundTrip();
    await world().ticksOn('alpha');
  });

  it('takes the word of the very target, about this very departure, signed by its TPM, and no other for aborted', async () => {
    const { mallory } = world();
    const asked = world().tvmmpMigrate();
    const { channel, session, head } = await stagedAtMallory();
    const about = { session, head };
    // Who has mallory's TLS key, which is all that these answers come with, has the network too: it may ask other hosts.
    const genuine = await mallory.disclaim(about);
    const { signature } = genuine.disclaimer;
    const unsigned = { ...genuine.disclaimer, signature: signature.map((byte, at) => byte ^ Number(at > 8)) };
    const answers: readonly (readonly [Aborted, RegExp])[] = [
      [{ ...genuine, disclaimer: unsigned }, /aborted does not verify: quote-signature/],
      [await aboutAnother({ ...about, session: fresh() }, about), /aborted does not verify: quote-binding/],
      [await aboutAnother({ ...about, head: fresh() }, about), /aborted does not verify: quote-binding/],
      [
        await disclaimedByBeta(about),
        /aborted does not verify: holder: beta disclaims what departed to mallory/,
      ],
    ];
    let asking = channel;
    for (const [answer, reason] of answers) {
      const from = world().log('alpha').length;
      assert.deepEqual(await expectMessage(asking, 'abort'), { kind: 'abort', ...about });
      await asking.send(answer);
      await world().logged('alpha', reason, from);
      asking.close();
      await world().becomes('alpha', 'departing');
      asking = await mallory.accept();
    }
    await expectMessage(asking, 'abort');
    await asking.send({ kind: 'refused', session, hint: null });
    await asking.send(genuine);
    assert.notEqual((await asked).status, 0);
    asking.close();
    await world().becomes('alpha', 'running');
    await world().ticksOn('alpha');
  });

  for (const kind of ['arrived', 'abort', 'aborted', 'query', 'staged', 'departed'] as const) {
    it(`does not take ${kind} from a host whose session it is not`, async () => {
      const session = await someSessionWithBeta();
      const chain = new AttackerChain(world().mallory);
      await chain.add('created');
      const entry = chain.entries[0]!;
      const messages: Record<typeof kind, Message> = {
        arrived: { kind: 'arrived', session, entry, certificates: [], policies: [] },
        departed: { kind: 'departed', session, entry, certificates: [], policies: [] },
        staged: { kind: 'staged', session, head: fresh() },
        abort: { kind: 'abort', session, head: fresh() },
        aborted: await world().mallory.disclaim({ session, head: fresh() }),
        query: { kind: 'query', session, head: fresh() },
      };
      const from = world().log('alpha').length;
      const channel = await world().mallory.connect('alpha');
      await channel.send(messages[kind]);
      await assert.rejects(channel.receive(60_000), /is gone/);
      await world().logged('alpha', /mallory speaks of a session that is not its own/, from);
      await world().ticksOn('alpha');
    });
  }

  /** alpha offers its VM to mallory, which says *staged*; libvirt is refused by mallory's hook: so its outcome is soon clear. */
  async function stagedAtMallory(): Promise<Disclaimed & { channel: TlsChannel; proof: Uint8Array }> {
    const { mallory } = world();
    const channel = await mallory.accept();
    const theirs = await expectMessage(channel, 'hello');
    const { session } = theirs;
    const own = mallory.hello('target', session, theirs.vm);
    await channel.send(own);
    const claim = await mallory.claim(targetStatement(channel, own, theirs));
    await channel.send({ kind: 'evidence', session, claim });
    const { proof } = await expectMessage(channel, 'offer');
    const head = entryHash(decodeProof(proof).entries.at(-1)!.entry);
    await channel.send({ kind: 'staged', session, head });
    return { channel, session, head, proof };
  }

  /** A genuine disclaimer of something else, in a message of this session. */
  async function aboutAnother(other: Disclaimed, { session }: Disclaimed): Promise<Aborted> {
    return { ...(await world().mallory.disclaim(other)), session };
  }

  /** beta, which never heard of the session, disclaims it to whoever asks, and means it. */
  async function disclaimedByBeta({ session, head }: Disclaimed): Promise<Aborted> {
    const channel = await world().mallory.connect('beta');
    try {
      await channel.send({ kind: 'abort', session, head });
      return await expectMessage(channel, 'aborted');
    } finally {
      channel.close();
    }
  }

  /** *arrived*, signed by mallory's TPM for the VM that alpha offered, although nothing moved. */
  async function falseArrival(proof: Uint8Array): Promise<Message> {
    const { mallory } = world();
    const { id, version, digest } = mallory.policy.policy;
    const policy = { id, version, digest };
    const arrived = arrivedAfter(proof, mallory.identity.id, { verdict: fresh(), policy, time: Date.now() });
    const { entries } = await mallory.sign([arrived]);
    return {
      kind: 'arrived',
      session: decodeEntry(arrived).session!,
      entry: entries[0]!,
      certificates: [mallory.identity.akCertificate, ...mallory.identity.signerCertificates],
      policies: [mallory.policy.envelope],
    };
  }

  /** The id of a session of alpha with beta. */
  async function someSessionWithBeta(): Promise<Uint8Array> {
    const find = async (): Promise<{ id: string } | undefined> => {
      const text = await world().lab.on('alpha', 'tvmmp', 'migration', 'list', '--json');
      return (JSON.parse(text) as { id: string; peer: string }[]).find(({ peer }) => peer === 'beta');
    };
    if ((await find()) === undefined) await world().roundTrip();
    return new Uint8Array(Buffer.from((await find())!.id, 'hex'));
  }
});
