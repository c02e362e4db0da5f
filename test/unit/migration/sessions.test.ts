/** Whose sessions are whose, how many there are, and what late messages are answered with (SPEC 6.1, 6.8, 11). */
import assert from 'node:assert/strict';
import { limits } from '../../../lib/limits.ts';
import type { Channel } from '../../../lib/protocol/channel.ts';
import type { Message } from '../../../lib/protocol/messages.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import { Liar } from '../../simulation/liar.ts';
import { stageBeforeEach } from '../../simulation/stage.ts';
import type { Stage } from '../../simulation/stage.ts';
import { freshSession } from '../../support/proof-world.ts';

describe('sessions of a host (SPEC 6.1)', () => {
  let stage: Stage;
  let liar: Liar;
  let vm: VmTruth;
  stageBeforeEach(async (opened) => {
    stage = opened;
    liar = new Liar(stage);
    vm = await stage.vm(stage.alpha);
  });

  const gone = (channel: Channel): Promise<void> =>
    assert.rejects(stage.until(channel.receive(60_000)), /gone/);

  it('are good once: an id that was used before is refused', async () => {
    const first = await liar.attested(stage.beta);
    assert.equal((await liar.offer(first, liar.depart(first).bytes())).kind, 'staged');
    await first.channel.send({ kind: 'abort', session: first.session, head: first.chain.head });
    await liar.expect(first.channel, 'aborted');
    const channel = await liar.connect(stage.beta);
    await channel.send(liar.hello('source', first.session, liar.chain().vm));
    await gone(channel);
    assert.equal(stage.hasLogged(stage.beta, /a session id that was used before/), true);
  });

  for (const kind of ['arrived', 'departed', 'staged', 'abort', 'aborted', 'query', 'refused'] as const) {
    it(`are their own peers’ alone: ${kind} from another host is not heard`, async () => {
      const moving = stage.alpha.agent!.sessions.leave(stage.record(stage.alpha, vm), stage.beta.address);
      const honest = await stage.until(moving);
      await stage.until(honest.released);
      const { session } = honest;
      const entry = liar.chain().entries[0]!;
      const messages: Record<typeof kind, Message> = {
        arrived: { kind: 'arrived', session, entry, certificates: [], policies: [] },
        departed: { kind: 'departed', session, entry, certificates: [], policies: [] },
        staged: { kind: 'staged', session, head: new Uint8Array(32) },
        abort: { kind: 'abort', session, head: session },
        aborted: liar.aborted({ session, head: session }),
        query: { kind: 'query', session, head: session },
        refused: { kind: 'refused', session, hint: null },
      };
      for (const host of [stage.alpha, stage.beta]) {
        const before = host.journal.session(session);
        const channel = await liar.connect(host);
        await channel.send(messages[kind]);
        await gone(channel);
        await stage.pass(100);
        assert.ok(stage.hasLogged(host, /gamma\.test speaks of a session that is not its own/), host.name);
        assert.equal(host.journal.session(session)?.state, before?.state);
      }
    });
  }

  it('in the making are bounded for one peer', async () => {
    const channels: Channel[] = [];
    for (let n = 0; n < limits.sessionsPerPeerMax; n += 1) {
      const channel = await liar.connect(stage.beta);
      await channel.send(liar.hello('source', freshSession(), liar.chain().vm));
      channels.push(channel);
    }
    for (const channel of channels) await liar.expect(channel, 'hello');
    const more = await liar.connect(stage.beta);
    await gone(more);
    assert.equal(stage.hasLogged(stage.beta, /gamma\.test has 32 sessions in the making/), true);
    await stage.virsh(vm, stage.alpha, stage.beta);
    assert.equal(stage.record(stage.beta, vm).state, 'running', 'others are not kept out');
  });

  it('that have not said what they want are counted too', async () => {
    for (let n = 0; n < limits.sessionsPerPeerMax; n += 1) await liar.connect(stage.beta);
    await gone(await liar.connect(stage.beta));
    assert.equal(stage.hasLogged(stage.beta, /gamma\.test has 32 sessions in the making/), true);
  });

  it('in the making are bounded for all peers together', async () => {
    const [one, two, three] = ['delta.test', 'epsilon.test', 'zeta.test'] as const;
    for (const name of [one, two])
      for (let n = 0; n < limits.sessionsMax / 2; n += 1) await liar.connect(stage.beta, name);
    await gone(await liar.connect(stage.beta, three));
    assert.equal(stage.hasLogged(stage.beta, /zeta\.test has 0 sessions in the making/), true);
  });

  it('come from one peer at a bounded pace, which others do not feel and which time makes good', async () => {
    const knock = async (): Promise<Channel> => {
      const channel = await liar.connect(stage.beta);
      await channel.send(liar.hello('source', freshSession(), liar.chain().vm));
      return channel;
    };
    const tooMuch = /gamma\.test begins more sessions than one peer may/;
    const known = stage.beta.journal.sessions().length;
    // Time passes meanwhile, and makes room for some more.
    const asked = { count: 0, max: 4 * limits.sessionsPerPeerBurst };
    for (; asked.count < asked.max && !stage.hasLogged(stage.beta, tooMuch); asked.count += 1)
      (await knock()).close();
    assert.equal(stage.hasLogged(stage.beta, tooMuch), true);
    assert.ok(asked.count >= limits.sessionsPerPeerBurst, `refused after ${asked.count}`);
    assert.ok(stage.beta.journal.sessions().length < known + asked.count, 'one that came too early was kept');
    await stage.virsh(vm, stage.alpha, stage.beta);
    assert.equal(stage.record(stage.beta, vm).state, 'running', 'others are not kept out');
    await stage.pass(60_000);
    await liar.expect(await knock(), 'hello');
  });

  it('that nobody here knows are answered with aborted, once their id is used up', async () => {
    const session = freshSession();
    for (const kind of ['query', 'abort'] as const) {
      const channel = await liar.connect(stage.beta);
      await channel.send({ kind, session, head: session });
      await liar.expect(channel, 'aborted');
    }
    const channel = await liar.connect(stage.beta);
    await channel.send(liar.hello('source', session, liar.chain().vm));
    await gone(channel);
    assert.equal(stage.hasLogged(stage.beta, /a session id that was used before/), true);
  });

  it('that nobody here knows are not answered to anything else', async () => {
    for (const kind of ['aborted', 'refused', 'staged'] as const) {
      const session = freshSession();
      const channel = await liar.connect(stage.beta);
      await channel.send(
        kind === 'staged'
          ? { kind, session, head: session }
          : kind === 'refused'
            ? { kind, session, hint: null }
            : liar.aborted({ session, head: session }),
      );
      await gone(channel);
      assert.equal(stage.beta.journal.session(session), null);
    }
  });
});
