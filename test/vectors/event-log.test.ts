import { strict as assert } from 'node:assert';
import { readFileSync, readdirSync } from 'node:fs';
import { eventLogFindings } from '../../lib/appraisal/event-log-findings.ts';
import { secureBootOf } from '../../lib/appraisal/secure-boot.ts';
import { parseEventLog } from '../../lib/evidence/event-log.ts';
import { replayEventLog } from '../../lib/evidence/event-log-replay.ts';
import { logFaultOf } from '../../lib/evidence/log-fault.ts';
import { pcrValuesJson } from '../../lib/evidence/pcr-replay.ts';
import { eventLogCases } from '../support/event-log-cases.ts';

interface Vector {
  readonly why: string;
  readonly expect: string | null;
  readonly log: string;
  readonly replayed?: Record<string, Record<string, string>>;
  readonly secureBoot?: boolean | null;
  readonly findings?: readonly string[];
}

const directory = new URL('event-log/', import.meta.url);
const vectors = readdirSync(directory).map((file): [string, Vector] => [
  file.replace('.json', ''),
  JSON.parse(readFileSync(new URL(file, directory), 'utf8')) as Vector,
]);

describe('test vectors of event logs', () => {
  for (const [name, vector] of vectors) {
    it(`${name}: ${vector.why}`, () => {
      const bytes = Uint8Array.from(Buffer.from(vector.log, 'base64'));
      const read = () => {
        const log = parseEventLog(bytes);
        return { log, replayed: replayEventLog(log) };
      };
      if (vector.expect !== null) {
        assert.throws(read, (error) => logFaultOf(error) === vector.expect);
        return;
      }
      const { log, replayed } = read();
      assert.deepEqual(pcrValuesJson(replayed), vector.replayed);
      assert.equal(secureBootOf(log).enabled, vector.secureBoot);
      assert.deepEqual(
        eventLogFindings(log).map((finding) => finding.name),
        vector.findings,
      );
    });
  }

  it('has a vector for every recipe, and no other', () => {
    assert.deepEqual(vectors.map(([name]) => name).sort(), eventLogCases.map(({ name }) => name).sort());
  });

  it('accepts no good log that is cut off anywhere but between two events', () => {
    const good = Uint8Array.from(Buffer.from(vectors.find(([name]) => name === 'good')![1].log, 'base64'));
    const whole = parseEventLog(good).events.length;
    let accepted = 0;
    for (let length = 0; length < good.byteLength; length++) {
      try {
        parseEventLog(good.subarray(0, length));
        accepted += 1;
      } catch (error) {
        assert.notEqual(logFaultOf(error), undefined, String(error));
      }
    }
    assert.equal(accepted, whole - 1);
  });
});
