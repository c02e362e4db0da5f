import assert from 'node:assert/strict';
import { encode } from '../../../lib/encoding/cbor.ts';
import { limits } from '../../../lib/limits.ts';
import { decodeMessage, encodeMessage } from '../../../lib/protocol/codec.ts';
import type { Message } from '../../../lib/protocol/messages.ts';
import { abort, aborted, bytes, evidence, hello, offer, query, session } from './session-world.ts';

const entry = { entry: bytes(100), path: [], attest: bytes(100), signature: bytes(72) };
const messages: readonly Message[] = [
  hello('source'),
  hello('target'),
  {
    ...hello('source'),
    wanted: {
      pcrs: [0, 7, 10],
      kinds: ['event-log', 'ima-list'],
      known: { resetCount: 7, restartCount: 0, eventLog: bytes(32), imaBytes: 4_000 },
    },
  },
  { ...hello('target'), wanted: { pcrs: [10], kinds: ['ima-list'], known: null } },
  evidence,
  offer,
  { kind: 'staged', session, head: bytes(32) },
  { kind: 'arrived', session, entry, certificates: [bytes(10)], policies: ['{}'] },
  { kind: 'departed', session, entry, certificates: [], policies: [] },
  abort,
  query,
  { ...aborted, certificates: [bytes(10)], policies: ['{}'] },
  { kind: 'revocations', session, list: '{}' },
  { kind: 'log', session, log: 'ima-list', from: 9, data: bytes(100) },
  { kind: 'refused', session, hint: null },
  { kind: 'refused', session, hint: 'no-tls' },
];

describe('messages on the wire (SPEC 6)', () => {
  for (const message of messages) {
    it(`${message.kind} survives the round trip, and no truncation of it is accepted`, () => {
      const wire = encodeMessage(message);
      assert.deepEqual(decodeMessage(wire), message);
      for (let length = 0; length < wire.length; length += 1) {
        assert.throws(() => decodeMessage(wire.subarray(0, length)));
      }
      assert.throws(() => decodeMessage(Buffer.concat([wire, Buffer.of(0)])), { code: 'encoding-invalid' });
    });
  }

  it('refuses unknown kinds, other versions and wrong shapes', () => {
    for (const value of [
      ['greeting', session],
      [],
      'hello',
      ['abort'],
      ['abort', session],
      ['abort', session, session, 1],
      ['aborted', session],
      ['__proto__', session],
    ]) {
      assert.throws(() => decodeMessage(encode(value)), { code: 'encoding-invalid' });
    }
    const wire = Buffer.from(encodeMessage(hello('source')));
    wire[wire.indexOf(Buffer.from('hello')) + 5] = 2;
    assert.throws(() => decodeMessage(wire), { code: 'encoding-invalid' });
  });

  it('bounds what a stranger may send before anything is appraised', () => {
    const large = encode(['hello', ...Array.from({ length: 8 }, () => bytes(limits.helloBytesMax / 4))]);
    assert.throws(() => decodeMessage(large), { code: 'limit-exceeded' });
  });
});
