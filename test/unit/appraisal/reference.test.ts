/** Reference values from recorded boots: what is captured from one accepts it, and nothing that was changed. */
import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { appraiseEvidence } from '../../../lib/appraisal/evidence-appraisal.ts';
import type { EvidenceInput } from '../../../lib/appraisal/evidence-appraisal.ts';
import type { PolicyReason } from '../../../lib/appraisal/policy-error.ts';
import type { PolicyDraft } from '../../../lib/appraisal/policy.ts';
import { formatPolicyDraft, parsePolicyText } from '../../../lib/appraisal/policy.ts';
import { captureReference } from '../../../lib/appraisal/reference-capture.ts';
import type { CaptureInput, Captured } from '../../../lib/appraisal/reference-capture.ts';
import { fillPolicy, mergeReferences } from '../../../lib/appraisal/reference-merge.ts';
import {
  formatReference,
  parseReference,
  signReference,
  verifyReference,
} from '../../../lib/appraisal/reference.ts';
import type { Reference } from '../../../lib/appraisal/reference.ts';
import { BootEvidence } from '../../support/boot-evidence.ts';
import { failsWith } from '../../support/failures.ts';
import { makeTestAuthority } from '../../support/test-authority.ts';

const time = new Date('2026-11-23T17:00:00.000Z');
const good = new BootEvidence('debian-secure-boot');
const other = new BootEvidence('secure-boot-off');

function pcrsOf(boot: BootEvidence): ReadonlyMap<number, Uint8Array> {
  const { sha256 } = JSON.parse(readFileSync(boot.file('pcrs.json'), 'utf8')) as {
    sha256: Record<string, string>;
  };
  return new Map(
    Object.entries(sha256).map(([pcr, value]) => [Number(pcr), Uint8Array.from(Buffer.from(value, 'hex'))]),
  );
}

function capture(boot: BootEvidence, change: Partial<CaptureInput> = {}): Captured {
  const { eventLog, ima } = boot.input();
  return captureReference({
    pcrs: pcrsOf(boot),
    excluded: ['/tmp/*'],
    ...(eventLog === undefined ? {} : { eventLog }),
    ...(ima === undefined ? {} : { ima }),
    ...change,
  });
}

function referenceOf(boot: BootEvidence, name: string): Reference {
  const { eventLog, ima } = capture(boot);
  return {
    sources: [{ name, kind: 'host', time, versions: { kernel: '6.1.0' } }],
    states: [{ name, pcrs: pcrsOf(boot) }],
    ...(eventLog === undefined ? {} : { eventLog }),
    ...(ima === undefined ? {} : { ima }),
  };
}

/** A policy that rules everything that was captured, and lists nothing by itself. */
function policyFor(reference: Reference): PolicyDraft {
  const { secureBoot, keys = {}, ...lists } = reference.eventLog ?? {};
  const none = (names: object): object => Object.fromEntries(Object.keys(names).map((name) => [name, []]));
  const eventLog = { ...(secureBoot === undefined ? {} : { secureBoot }), keys: none(keys), ...none(lists) };
  const ima = { files: {}, excluded: ['/tmp/*'], allowViolations: true };
  const draft = { id: 'fleet', version: 1, pcrs: [0, 7], states: [], rules: { eventLog, ima } };
  const filled = fillPolicy(draft, reference);
  return parsePolicyText(formatPolicyDraft(filled));
}

function failed(
  boot: BootEvidence,
  policy: PolicyDraft,
  change: Partial<EvidenceInput> = {},
): readonly string[] {
  const { checks } = appraiseEvidence({ ...boot.input(), policy, ...change });
  return checks.filter(({ outcome }) => outcome === 'fail').map(({ name, found }) => `${name}: ${found}`);
}

const refusedBecause = (reason: PolicyReason, says: RegExp) => failsWith('policy-invalid', reason, says);

describe('reference values (SPEC 10.4)', () => {
  it('captured from a recorded boot make a policy that accepts that boot', () => {
    for (const boot of [good, other]) {
      const reference = referenceOf(boot, 'alpha');
      const parts = Object.keys(reference.eventLog ?? {});
      // The other boot has no boot loader that measures command lines.
      const lines = boot === good ? ['commandLines'] : [];
      for (const part of ['secureBoot', 'keys', 'firmware', 'images', 'bootFiles', ...lines])
        assert.ok(parts.includes(part), `${part}: ${parts.join(' ')}`);
      assert.ok(Object.keys(reference.ima?.files ?? {}).length > 5);
      assert.deepEqual(failed(boot, policyFor(reference)), []);
    }
  });

  it('of one boot refuse another, by what differs', () => {
    const refused = failed(other, policyFor(referenceOf(good, 'alpha')));
    assert.ok(
      refused.some((text) => text.startsWith('secure-boot: off')),
      refused.join('\n'),
    );
    assert.ok(
      refused.some((text) => text.startsWith('pcr-state: another one')),
      refused.join('\n'),
    );
  });

  it('without one file, or with another digest of it, refuse the host by its name', () => {
    const reference = referenceOf(good, 'alpha');
    const files = Object.entries(reference.ima?.files ?? {});
    const [path = ''] = files.find(([name]) => name.startsWith('/')) ?? [];
    const without = Object.fromEntries(files.filter(([name]) => name !== path));
    const changed = { ...without, [path]: [`sha256:${'00'.repeat(32)}`] };
    const found = (to: typeof without): readonly string[] =>
      failed(good, policyFor({ ...reference, ima: { files: to } }));
    assert.match(found(without).join(), new RegExp(`^ima-files: 1 others: ${path} is not listed`));
    assert.match(
      found(changed).join(),
      new RegExp(`^ima-files: 1 others: ${path} has another digest than listed`),
    );
  });

  it('are not captured from logs that do not lead to the PCRs', () => {
    const pcrs = new Map(pcrsOf(good)).set(4, new Uint8Array(32));
    assert.throws(() => capture(good, { pcrs }), refusedBecause('conflict', /does not lead to PCR 4/));
    const ima = new Map(pcrsOf(good)).set(10, new Uint8Array(32).fill(1));
    assert.throws(() => capture(good, { pcrs: ima }), refusedBecause('conflict', /does not lead to PCR 10/));
    assert.throws(
      () => capture(good, { eventLog: good.eventLogWithout(5) }),
      refusedBecause('conflict', /PCR \d+/),
    );
    assert.throws(() => capture(good, { ima: good.imaWithout(3) }), refusedBecause('conflict', /PCR 10/));
  });

  it('leave out entries that came after the PCRs were read, and paths that are excluded', () => {
    const { ima = new Uint8Array() } = good.input();
    const longer = Buffer.concat([ima, good.laterImaEntry('/opt/later', 'x')]);
    const files = capture(good, { ima: longer }).ima?.files ?? {};
    assert.ok(!('/opt/later' in files));
    assert.ok(Object.keys(files).every((path) => !path.startsWith('/tmp/')));
    assert.deepEqual(capture(good, { excluded: ['**'] }).ima?.files, {});
  });

  it('leave out what a rule could not believe, and say so', () => {
    const { eventLog, notes } = capture(good, {
      eventLog: good.eventLogRetyped('SecureBoot', 0x80000abc),
    });
    assert.equal(eventLog?.secureBoot, undefined);
    assert.equal(eventLog?.keys, undefined);
    assert.ok(
      notes.some((note) => note.startsWith('secureBoot, keys left out: ')),
      notes.join(),
    );
  });

  it('of old and new versions side by side accept both, and nothing else', () => {
    const old = referenceOf(good, 'alpha');
    const path = '/usr/bin/x';
    const update: Reference = {
      sources: [{ name: 'x 2', kind: 'files', time, versions: {} }],
      states: [],
      ima: { files: { [path]: [`sha256:${'11'.repeat(32)}`] } },
    };
    const before = { ...update, ima: { files: { [path]: [`sha256:${'22'.repeat(32)}`] } } };
    const merged = mergeReferences([old, before, update, update]);
    assert.deepEqual(merged.ima?.files[path], [`sha256:${'22'.repeat(32)}`, `sha256:${'11'.repeat(32)}`]);
    assert.deepEqual(failed(good, policyFor(merged)), []);
    assert.equal(merged.sources.length, 4);
  });

  it('merged allow any key that one allows, and forbid only what all forbid', () => {
    const [a, b, c] = ['aa', 'bb', 'cc'].map((byte) => byte.repeat(32));
    const of = (db: string, dbx: readonly string[]): Reference => ({
      sources: [{ name: 'h', kind: 'host', time, versions: {} }],
      states: [],
      eventLog: { keys: { db: [db], dbx } },
    });
    const merged = mergeReferences([of(a!, [a!, b!]), of(b!, [b!, c!])]);
    assert.deepEqual(merged.eventLog?.keys, { db: [a, b], dbx: [b] });
  });

  it('that contradict each other are refused', () => {
    const [a, b] = [referenceOf(good, 'alpha'), referenceOf(other, 'alpha')];
    assert.throws(() => mergeReferences([a, b]), refusedBecause('conflict', /Secure Boot/));
    const states = { ...b, eventLog: {}, ima: { files: {} } };
    assert.throws(
      () => mergeReferences([a, states]),
      refusedBecause('conflict', /two states are called "alpha"/),
    );
    assert.deepEqual(mergeReferences([a, a]).states.length, 1);
    const draft = { id: 'f', version: 1, pcrs: [11], states: [] };
    const short = { ...a, states: [{ name: 'alpha', pcrs: new Map([[0, new Uint8Array(32)]]) }] };
    assert.throws(() => fillPolicy(draft, short), refusedBecause('conflict', /has no PCR 11/));
  });

  it('put values into those rules alone that a policy has', () => {
    const reference = referenceOf(good, 'alpha');
    const draft = { id: 'fleet', version: 1, pcrs: [0], states: [] };
    assert.equal(fillPolicy(draft, reference).rules, undefined);
    const ruled = fillPolicy({ ...draft, rules: { eventLog: { images: [] } } }, reference);
    assert.deepEqual(ruled.rules, { eventLog: { images: reference.eventLog?.images } });
    assert.deepEqual(
      ruled.states.map(({ pcrs }) => [...pcrs.keys()]),
      [[0]],
    );
  });

  it('are read as they were written, signed or not, and refused with the place of a mistake', async () => {
    const reference = referenceOf(good, 'alpha');
    assert.deepEqual(parseReference(formatReference(reference)), reference);
    const [ours, theirs] = [await makeTestAuthority(), await makeTestAuthority()];
    const trust = { root: ours.root, signers: [ours.policySigner], at: new Date('2027-01-01') };
    const signed = signReference(reference, ours.policyKeys);
    assert.deepEqual(verifyReference(signed, trust), reference);
    assert.deepEqual(parseReference(signed), reference);
    const foreign = signReference(reference, theirs.policyKeys);
    assert.throws(() => verifyReference(foreign, trust), refusedBecause('bad-signature', /policy key/));
    const text = formatReference(reference);
    for (const [wrong, pointer] of [
      [text.replace('"host"', '"guess"'), '/sources/0/kind'],
      [text.replace('"sources"', '"source"'), '/source'],
      [text.replace(/sha256:[0-9a-f]{64}/, 'sha256:00'), '/ima/files/'],
    ] as const)
      assert.throws(() => parseReference(wrong), refusedBecause('malformed', new RegExp(` ${pointer}`)));
  });
});
