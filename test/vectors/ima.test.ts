import { strict as assert } from 'node:assert';
import { readFileSync, readdirSync } from 'node:fs';
import { ImaReplay } from '../../lib/evidence/ima-replay.ts';
import { logFaultOf } from '../../lib/evidence/log-fault.ts';
import { pcrValuesJson } from '../../lib/evidence/pcr-replay.ts';
import { imaCases } from '../support/ima-cases.ts';

interface Vector {
  readonly why: string;
  readonly expect: string | null;
  readonly list: string;
  readonly replayed?: Record<string, Record<string, string>>;
  readonly entries?: number;
  readonly violations?: number;
}

const directory = new URL('ima/', import.meta.url);
const vectors = readdirSync(directory).map((file): [string, Vector] => [
  file.replace('.json', ''),
  JSON.parse(readFileSync(new URL(file, directory), 'utf8')) as Vector,
]);
const bytesOf = (vector: Vector): Uint8Array => Uint8Array.from(Buffer.from(vector.list, 'base64'));

describe('test vectors of IMA lists', () => {
  for (const [name, vector] of vectors) {
    it(`${name}: ${vector.why}`, () => {
      let violations = 0;
      const read = () => {
        const replay = new ImaReplay(bytesOf(vector), ['sha1', 'sha256']);
        replay.finish((entry) => {
          if (entry.violation) violations += 1;
          return false;
        });
        return replay.position();
      };
      if (vector.expect !== null) {
        assert.throws(read, (error) => logFaultOf(error) === vector.expect);
        return;
      }
      const { pcrs, entries } = read();
      assert.deepEqual(pcrValuesJson(pcrs), vector.replayed);
      assert.deepEqual({ entries, violations }, { entries: vector.entries, violations: vector.violations });
    });

    if (vector.expect === null)
      it(`${name}, entry by entry and continued after each: the same`, () => {
        const bytes = bytesOf(vector);
        let from = undefined as ReturnType<ImaReplay['position']> | undefined;
        for (let entry = 0; entry < (vector.entries ?? 0); entry++) {
          const replay = new ImaReplay(bytes.subarray(from?.bytes ?? 0), ['sha1', 'sha256'], from);
          assert.equal(replay.step(1), true);
          from = replay.position();
          assert.equal(from.entries, entry + 1);
        }
        assert.equal(from?.bytes, bytes.byteLength);
        assert.deepEqual(pcrValuesJson(from.pcrs), vector.replayed);
      });
  }

  it('has a vector for every recipe, and no other', () => {
    assert.deepEqual(vectors.map(([name]) => name).sort(), imaCases.map(({ name }) => name).sort());
  });

  it('accepts no list that is cut off anywhere but between two entries', () => {
    const [, vector] = vectors.find(([name]) => name === 'ima-sig')!;
    const good = bytesOf(vector);
    let accepted = 0;
    for (let length = 1; length < good.byteLength; length++) {
      try {
        new ImaReplay(good.subarray(0, length), ['sha256']).finish();
        accepted += 1;
      } catch (error) {
        assert.notEqual(logFaultOf(error), undefined, String(error));
      }
    }
    assert.equal(accepted, (vector.entries ?? 0) - 1);
  });
});
