import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import type { UntrustedImaEntry } from '../../../lib/evidence/ima-list.ts';
import { ImaReplay } from '../../../lib/evidence/ima-replay.ts';
import { logFaultOf } from '../../../lib/evidence/log-fault.ts';
import { pcrValuesJson } from '../../../lib/evidence/pcr-replay.ts';
import { limits } from '../../../lib/limits.ts';
import { imaCases } from '../../support/ima-cases.ts';
import { imaList, longImaList } from '../../support/ima-builder.ts';

const boots = new URL('../../vectors/boot/', import.meta.url);

function entriesOf(bytes: Uint8Array): UntrustedImaEntry[] {
  const entries: UntrustedImaEntry[] = [];
  new ImaReplay(bytes, ['sha1', 'sha256']).finish((entry) => {
    entries.push(entry);
    return false;
  });
  return entries;
}

describe('IMA lists', () => {
  for (const { name, why, expect, entries, violations, build } of imaCases) {
    it(`${expect === null ? 'reads' : `refuses as ${expect}`}: ${why} (${name})`, () => {
      if (expect !== null) {
        assert.throws(
          () => entriesOf(build()),
          (error) => {
            assert.equal(logFaultOf(error), expect);
            assert.match((error as Error).message, new RegExp(`^IMA list: ${expect}: `));
            return true;
          },
        );
        return;
      }
      const read = entriesOf(build());
      assert.equal(read.length, entries);
      assert.equal(read.filter(({ violation }) => violation).length, violations ?? 0);
    });
  }

  for (const boot of readdirSync(boots)) {
    it(`replays the list of the recorded boot ${boot} to what its TPM held`, () => {
      const replay = new ImaReplay(readFileSync(new URL(`${boot}/ima`, boots)), ['sha1', 'sha256']);
      replay.finish();
      const pcrs = JSON.parse(readFileSync(new URL(`${boot}/pcrs.json`, boots), 'utf8')) as Record<
        string,
        Record<string, string>
      >;
      assert.deepEqual(pcrValuesJson(replay.position().pcrs), {
        sha1: { '10': pcrs['sha1']?.['10'] },
        sha256: { '10': pcrs['sha256']?.['10'] },
      });
    });
  }

  it('reads what a real list says', () => {
    const [aggregate, kernel, shell] = entriesOf(readFileSync(new URL('debian-secure-boot/ima', boots)));
    assert.deepEqual([aggregate?.path, aggregate?.template], ['boot_aggregate', 'ima-sig']);
    assert.equal(kernel?.path, 'kernel_version');
    assert.match(Buffer.from(kernel.buffer ?? []).toString(), /^6\.1\.0-\d+-cloud-amd64$/);
    assert.deepEqual([shell?.path, shell?.violation, shell?.signature], ['/bin/busybox', false, null]);
    const raced = entriesOf(readFileSync(new URL('secure-boot-off/ima', boots))).filter(
      (one) => one.violation,
    );
    assert.deepEqual(
      raced.map(({ path, digest }) => [path, digest]),
      [['/tmp/raced', `sha256:${'0'.repeat(64)}`]],
    );
  });

  it('gives way to other work while it reads a long list', async () => {
    const replay = new ImaReplay(longImaList(5 * limits.imaStepEntries), ['sha256']);
    let turns = 0;
    let most = 0;
    let inTurn = 0;
    const done = new AbortController();
    const other = (async () => {
      while (!done.signal.aborted) {
        turns += 1;
        inTurn = 0;
        await setImmediate();
      }
    })();
    await replay.finishInSteps(() => {
      most = Math.max(most, ++inTurn);
      return false;
    });
    done.abort();
    await other;
    assert.ok(turns >= 5, `${turns} turns`);
    assert.ok(most <= 2 * limits.imaStepEntries, `${most} entries in one turn`);
  });

  it('stops where a visitor says so, and knows where it stands', () => {
    const bytes = imaList([{ path: '/a' }, { path: '/b' }, { path: '/c' }]);
    const replay = new ImaReplay(bytes, ['sha256']);
    replay.finish(({ path }) => path === '/b');
    const { entries, bytes: read } = replay.position();
    const rest = new ImaReplay(bytes.subarray(read), ['sha256'], replay.position());
    rest.finish();
    const whole = new ImaReplay(bytes, ['sha256']);
    whole.finish();
    assert.equal(entries, 2);
    assert.deepEqual(rest.position(), whole.position());
  });
});
