/** The agent's configuration, as far as no other test needs it. */
import assert from 'node:assert/strict';
import { parseConfig } from '../../../lib/agent/config.ts';

describe('the peers of an agent’s configuration (SPEC 16.4)', () => {
  it('are none unless it says so', () => {
    assert.deepEqual(parseConfig('{}').peers, []);
    const peers = ['beta.example.org:16515', '[2001:db8::7]:16515'];
    assert.deepEqual(parseConfig(JSON.stringify({ peers })).peers, peers);
  });

  it('are addresses, each once, and not too many', () => {
    const many = Array.from({ length: 17 }, (_, index) => `host${index}:16515`);
    for (const peers of ['beta:16515', ['beta'], [7], ['a b:1'], ['beta:1', 'beta:1'], many, [':1']])
      assert.throws(() => parseConfig(JSON.stringify({ peers })), {
        code: 'config-invalid',
        message: /^peers must be/,
      });
  });
});
