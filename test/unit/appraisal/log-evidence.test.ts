/** The logs of a peer, piece by piece (SPEC 6.11): what is kept of them, what is not taken, and the thread that does it. */
import assert from 'node:assert/strict';
import { LogEvidence } from '../../../lib/appraisal/log-evidence.ts';
import type { KnownLogs, LogFindings } from '../../../lib/appraisal/log-evidence.ts';
import { LogTable } from '../../../lib/appraisal/log-table.ts';
import type { QuoteToMatch } from '../../../lib/appraisal/log-table.ts';
import { LogThread } from '../../../lib/appraisal/log-thread.ts';
import { parsePolicyText } from '../../../lib/appraisal/policy.ts';
import { quoteOf } from '../../../lib/appraisal/quote.ts';
import { ruleSetOf } from '../../../lib/appraisal/quoted-logs.ts';
import type { LogKind } from '../../../lib/evidence/logs-wanted.ts';
import { ImaReplay } from '../../../lib/evidence/ima-replay.ts';
import { limits } from '../../../lib/limits.ts';
import { imaEntry, longImaList } from '../../support/ima-builder.ts';
import { makeWorld } from '../../support/proof-world.ts';
import type { World } from '../../support/proof-world.ts';

const pcrs = [0, 10];
const entries = 20_000;
const rules = { ima: { files: {}, excluded: ['/usr/lib/**'] } };

describe('the logs of a peer', function () {
  // Long lists.
  this.timeout(60_000);
  let world: World;
  let envelope: string;
  /** As a kernel shows it: boot_aggregate, then files. */
  let list: Uint8Array;
  /** Of its beginning, in whole entries. */
  let shortBytes: number;

  before(async () => {
    world = await makeWorld();
    const states = [{ name: 'zeros', pcrs: new Map([[0, new Uint8Array(32)]]) }];
    envelope = world.signPolicy({ pcrs: [0], states, rules }).text;
    list = Buffer.concat([imaEntry({ path: 'boot_aggregate', contents: '' }), longImaList(entries)]);
    const replay = new ImaReplay(list, ['sha256']);
    replay.step(30);
    shortBytes = replay.offset;
  });

  /** A quote in boot `resetCount` of what a list leads to. */
  function quoted(of: Uint8Array, resetCount = 1): QuoteToMatch {
    const replay = new ImaReplay(of, ['sha256']);
    replay.finish();
    const { tpm } = world.beta;
    tpm.pcrs = new Map([[10, replay.value('sha256', 10) ?? new Uint8Array(32)]]);
    tpm.resetCount = resetCount;
    const { attest } = tpm.quote(new Uint8Array(32), [{ bank: 'sha256', pcrs }]);
    return { attest, hash: 'sha256', told: new Map() };
  }

  /** Adds a log in pieces of a size that ends no entry. */
  function addAll(
    to: Pick<LogEvidence, 'add'>,
    log: LogKind,
    bytes: Uint8Array,
    from = 0,
    size = 100_003,
  ): void {
    for (let at = 0; at < bytes.byteLength; at += size) to.add(log, from + at, bytes.subarray(at, at + size));
  }

  function evidence(known: KnownLogs | null = null): LogEvidence {
    const text = JSON.parse(
      Buffer.from((JSON.parse(envelope) as { payload: string }).payload, 'base64').toString(),
    ) as Record<string, unknown>;
    const { id, version, pcrs: selected, states, ima } = text as Record<string, never[]>;
    const plain = (states as { name: string; pcrs: unknown }[]).map(({ name, pcrs: of }) => ({
      name,
      pcrs: of,
    }));
    const draft = { format: 'tvmmp-policy/1', id, version, pcrs: selected, states: plain, ima };
    const policy = parsePolicyText(JSON.stringify(draft));
    return new LogEvidence(policy, ruleSetOf(policy.rules?.ima), known);
  }

  function finish(of: LogEvidence, { attest, hash }: QuoteToMatch): LogFindings {
    const quote = quoteOf(attest);
    assert.ok(quote.type === 'quote');
    return of.finish({ attest: quote, hash, pcrs }, new Map());
  }

  function failure({ checks }: LogFindings): string {
    const first = checks.find(({ outcome }) => outcome === 'fail');
    return first === undefined ? '' : `${first.name}: ${first.found}`;
  }

  function passed(findings: LogFindings | null): KnownLogs {
    const said = findings?.checks ?? [];
    assert.deepEqual(
      said.filter(({ outcome }) => outcome === 'fail').map(({ name, found }) => `${name} ${found}`),
      [],
    );
    assert.equal(findings?.state, 'zeros');
    assert.ok(findings.known !== null);
    return findings.known;
  }

  it('are judged as they come, and nothing is kept of a long list but its end', () => {
    const held: number[] = [];
    const one = evidence();
    addAll({ add: (...piece) => held.push((one.add(...piece), one.heldBytes)) }, 'ima-list', list);
    assert.ok(list.byteLength > limits.logTailBytesMax + 1024 * 1024 + 200_000);
    assert.ok(Math.max(...held) < limits.logTailBytesMax + 1024 * 1024 + 100_003);
    const known = passed(finish(one, quoted(list)));
    assert.deepEqual(
      [known.ima?.position.entries, known.ima?.position.bytes],
      [entries + 1, list.byteLength],
    );
    assert.equal(one.heldBytes, 0);
  });

  it('go on where they were left, with the judgement of what came before', () => {
    const first = evidence();
    const bad = Buffer.concat([list, imaEntry({ path: '/opt/other', contents: 'x' })]);
    addAll(first, 'ima-list', bad);
    const seen = finish(first, quoted(bad));
    assert.match(failure(seen), /^ima-files: 1 others: \/opt\/other is not listed/);
    const more = imaEntry({ path: '/usr/lib/more', contents: 'y' });
    const next = evidence(seen.known);
    next.add('ima-list', bad.byteLength, more);
    assert.match(
      failure(finish(next, quoted(Buffer.concat([bad, more])))),
      /^ima-files: 1 others: \/opt\/other/,
    );
  });

  it('are taken from the thread as from here, plain values alone between them', async () => {
    const thread = new LogThread();
    try {
      const table = new LogTable();
      const quote = quoted(list);
      table.open(1, envelope, null);
      addAll(
        {
          add: (...piece) => {
            table.add(1, ...piece);
          },
        },
        'ima-list',
        list,
      );
      const here = table.finish(1, quote);
      await thread.open(7, envelope, null);
      const calls: Promise<void>[] = [];
      addAll({ add: (...piece) => calls.push(thread.add(7, ...piece)) }, 'ima-list', list);
      await Promise.all(calls);
      const there = await thread.finish(7, quote);
      assert.deepEqual(there, here);
      await thread.open(8, envelope, passed(there));
      passed(await thread.finish(8, quote));
      await thread.open(9, envelope, null);
      await thread.drop(9);
      assert.equal(await thread.finish(9, quote), null);
    } finally {
      await thread.close();
    }
  });

  it('may be longer than what the quote covers, but by no more than the end that is kept', () => {
    const much = longImaList(10_000);
    const one = evidence();
    addAll(one, 'ima-list', Buffer.concat([list, imaEntry({ path: '/opt/later', contents: '' })]));
    assert.equal(passed(finish(one, quoted(list))).ima?.position.bytes, list.byteLength);
    const far = evidence();
    assert.ok(much.byteLength > limits.logTailBytesMax);
    addAll(far, 'ima-list', Buffer.concat([list, much, much]));
    assert.match(failure(finish(far, quoted(list))), /^pcr-values: other values/);
  });

  describe('are not taken', () => {
    const short = (): Uint8Array => list.subarray(0, shortBytes);

    it('where the peer says that it has told the beginning, and has not', () => {
      const one = evidence();
      one.add('ima-list', 2_000, short());
      assert.equal(
        failure(finish(one, quoted(list))),
        'ima-list: goes on at byte 2000, and this host has 0 bytes of it',
      );
      const known = evidence();
      addAll(known, 'ima-list', short());
      const other = evidence(passed(finish(known, quoted(short()))));
      other.add('ima-list', 2_000, short());
      assert.match(
        failure(finish(other, quoted(list))),
        /^ima-list: goes on at byte 2000, and this host has \d{4} bytes of it/,
      );
    });

    it('with a gap, or a piece twice', () => {
      for (const at of [0, 90, 101]) {
        const one = evidence();
        one.add('ima-list', 0, short().subarray(0, 100));
        one.add('ima-list', at, short().subarray(100));
        assert.equal(
          failure(finish(one, quoted(short()))),
          `ima-list: goes on at byte ${at}, where byte 100 is due`,
        );
      }
    });

    it('as a continuation of another boot, or left out in one', () => {
      const first = evidence();
      addAll(first, 'ima-list', short());
      const known = passed(finish(first, quoted(short())));
      for (const more of [[], [imaEntry({ path: '/usr/lib/x', contents: '' })]]) {
        const next = evidence(known);
        for (const piece of more) next.add('ima-list', short().byteLength, piece);
        const whole = Buffer.concat([short(), ...more]);
        assert.equal(
          failure(finish(next, quoted(whole, 2))),
          'ima-list: it goes on from a list of boot 1.0, the quote of boot 2.0',
        );
      }
      const anew = evidence(known);
      anew.add('ima-list', 0, short());
      passed(finish(anew, quoted(short(), 2)));
    });

    it('as rubbish without an end, of which nothing is kept', () => {
      const one = evidence();
      const zeros = new Uint8Array(limits.logPieceBytesMax);
      for (let at = 0; at < 16 * zeros.byteLength; at += zeros.byteLength) {
        one.add('ima-list', at, zeros);
        assert.ok(one.heldBytes <= limits.logTailBytesMax + 1024 * 1024 + zeros.byteLength);
      }
      assert.equal(one.heldBytes, 0);
      assert.match(failure(finish(one, quoted(short()))), /^ima-list: IMA list: template-unknown: /);
    });

    it('as an event log above its bound, or after the list', () => {
      const one = evidence();
      addAll(one, 'event-log', new Uint8Array(limits.eventLogBytesMax + 1));
      assert.equal(one.heldBytes, 0);
      assert.match(failure(finish(one, quoted(short()))), /^event-log: too-large: more than 4194304 bytes/);
      const late = evidence();
      addAll(late, 'ima-list', short());
      late.add('event-log', 0, Uint8Array.of(0));
      assert.equal(failure(finish(late, quoted(short()))), 'event-log: comes after the IMA list');
    });

    it('where logs of others fill the room that there is, and after those are done they are', () => {
      const table = new LogTable();
      const piece = new Uint8Array(limits.logPieceBytesMax);
      const each = 15;
      const count = Math.ceil(limits.logsHeldBytesMax / (each * piece.byteLength));
      for (let id = 0; id < count; id++) {
        table.open(id, envelope, null);
        for (let n = 0; n < each; n++) table.add(id, 'event-log', n * piece.byteLength, piece);
      }
      const quote = quoted(short());
      const failed = table.finish(count - 1, quote);
      assert.match(
        failed === null ? '' : failure(failed),
        /^event-log: this host is busy with logs of other hosts/,
      );
      for (let id = 0; id < count - 1; id++) table.drop(id);
      table.open(count, envelope, null);
      table.add(count, 'ima-list', 0, short());
      passed(table.finish(count, quote));
    });
  });
});
