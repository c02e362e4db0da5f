import { strict as assert } from 'node:assert';
import type { RevocationsInForce } from '../../../lib/migration/host.ts';
import { ListExchange } from '../../../lib/migration/list-exchange.ts';
import type { Channel } from '../../../lib/protocol/channel.ts';
import type { Hello, Message } from '../../../lib/protocol/messages.ts';
import { ProtocolViolation } from '../../../lib/protocol/step.ts';
import { bytes, hello, session } from '../protocol/session-world.ts';

/** One end of a connection, with a list of this version (0: none). */
function end(version: number): {
  lists: ListExchange;
  learnt: string[];
  sent: Message[];
  send: () => Promise<void>;
} {
  const learnt: string[] = [];
  const sent: Message[] = [];
  const inForce = (): RevocationsInForce | null =>
    version === 0
      ? null
      : {
          list: { version, issuedAt: new Date(0), hosts: [], digest: bytes(32) },
          envelope: `list ${version}`,
        };
  const lists = new ListExchange({ revocations: inForce, learnRevocations: (list) => learnt.push(list) });
  const channel = { send: (message: Message) => Promise.resolve(void sent.push(message)) };
  return { lists, learnt, sent, send: () => lists.beforeSending(channel as unknown as Channel) };
}

const announcing = (version: string): Hello => ({
  ...hello('source'),
  versions: new Map([['revocations', version]]),
});

describe('the exchange of revocation lists on a connection (SPEC 1.3)', () => {
  it('brings ours, once, to a peer whose hello announces an older one', async () => {
    const { lists, sent, send } = end(3);
    await send();
    assert.deepEqual(sent, [], 'nothing before the hello');
    assert.equal(lists.received(announcing('2'), session), false, 'the state machine sees the hello');
    await send();
    await send();
    assert.deepEqual(sent, [{ kind: 'revocations', session, list: 'list 3' }]);
  });

  it('brings nothing to a peer that has it, has a newer one, or does not know of lists', async () => {
    for (const peer of [announcing('3'), announcing('4'), hello('source')]) {
      const { lists, sent, send } = end(3);
      lists.received(peer, session);
      await send();
      assert.deepEqual(sent, []);
    }
  });

  it('brings one that came to us after the hello: ours will announce it', async () => {
    let version = 2;
    const sent: Message[] = [];
    const lists = new ListExchange({
      revocations: () => ({
        list: { version, issuedAt: new Date(0), hosts: [], digest: bytes(32) },
        envelope: `list ${version}`,
      }),
      learnRevocations: () => undefined,
    });
    const channel = { send: (message: Message) => Promise.resolve(void sent.push(message)) };
    lists.received(announcing('2'), session);
    version = 3;
    await lists.beforeSending(channel as unknown as Channel);
    assert.deepEqual(sent, [{ kind: 'revocations', session, list: 'list 3' }]);
  });

  it('has nothing to bring where there is no list', async () => {
    const { lists, sent, send } = end(0);
    lists.received(announcing('0'), session);
    await send();
    assert.deepEqual(sent, []);
  });

  it('takes one list of the peer, of this session, and hides it from the state machine', () => {
    const { lists, learnt } = end(1);
    const message: Message = { kind: 'revocations', session, list: 'theirs' };
    assert.throws(() => lists.received({ ...message, session: bytes(32) }, session), ProtocolViolation);
    assert.equal(lists.received(message, session), true);
    assert.deepEqual(learnt, ['theirs']);
    assert.throws(() => lists.received(message, session), ProtocolViolation);
    assert.deepEqual(learnt, ['theirs']);
  });
});
