import { strict as assert } from 'node:assert';
import { H, sha256 } from '../../../lib/encoding/hash.ts';
import {
  evidenceStatement,
  evidenceTranscript,
  greetingTranscript,
} from '../../../lib/evidence/statement.ts';
import type { GreetingTranscript } from '../../../lib/evidence/statement.ts';

const bytes = (text: string): Uint8Array => sha256(Buffer.from(text));
const seen: GreetingTranscript = {
  exporter: bytes('exporter'),
  targetTlsCertificate: bytes('target certificate'),
  sourceTlsCertificate: bytes('source certificate'),
  sourceHello: bytes('source hello'),
  targetHello: bytes('target hello'),
};

describe('evidence statements', () => {
  it('are what SPEC 6.2 to 6.4 write', () => {
    const { exporter, targetTlsCertificate, sourceTlsCertificate, sourceHello, targetHello } = seen;
    const t1 = H(
      'tvmmp/transcript/1',
      exporter,
      targetTlsCertificate,
      sourceTlsCertificate,
      sourceHello,
      targetHello,
    );
    assert.deepEqual(greetingTranscript(seen), t1);
    const t2 = H('tvmmp/transcript/2', t1, bytes('evidence'));
    assert.deepEqual(evidenceTranscript(t1, bytes('evidence')), t2);
    assert.deepEqual(evidenceStatement('target', t1), H('tvmmp/evidence/1', 1, t1));
    assert.deepEqual(evidenceStatement('source', t2), H('tvmmp/evidence/1', 0, t2));
  });

  it('change with everything that the transcript covers', () => {
    const t1 = Buffer.from(greetingTranscript(seen)).toString('hex');
    for (const member of Object.keys(seen)) {
      const other = greetingTranscript({ ...seen, [member]: bytes('other') });
      assert.notEqual(Buffer.from(other).toString('hex'), t1, member);
    }
    const exchanged = { ...seen, sourceHello: seen.targetHello, targetHello: seen.sourceHello };
    assert.notEqual(Buffer.from(greetingTranscript(exchanged)).toString('hex'), t1);
  });
});
