/** tvmmp policy test and diff on files: recorded measurements, drafts and signed policies. */
import { strict as assert } from 'node:assert';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LogRules } from '../../../lib/appraisal/log-rules.ts';
import { formatPolicyDraft } from '../../../lib/appraisal/policy.ts';
import { BootEvidence } from '../../support/boot-evidence.ts';
import { makeTestAuthority } from '../../support/test-authority.ts';
import { json, tvmmp } from './run-cli.ts';

describe('tvmmp policy test', () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-policy-test-'));
  });
  after(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  const write = (name: string, value: unknown): string => {
    const file = join(directory, name);
    writeFileSync(file, typeof value === 'string' ? value : JSON.stringify(value));
    return file;
  };
  const pcrs = (fourth: string): object => ({ sha256: { 0: '00'.repeat(32), 4: fourth.repeat(32) } });
  const draft = (change: object = {}): string =>
    write('draft.json', {
      format: 'tvmmp-policy/1',
      id: 'fleet',
      version: 2,
      pcrs: { sha256: [0, 4] },
      states: [
        { name: 'old', pcrs: pcrs('44') },
        { name: 'new', pcrs: pcrs('55') },
      ],
      ...change,
    });

  it('says which state recorded measurements are in, and which none', async () => {
    const good = write('good.json', { name: 'alpha', pcrs: pcrs('55') });
    const bad = write('bad.json', { name: 'beta', pcrs: pcrs('66') });
    const accepted = await tvmmp(['policy', 'test', draft(), '--state', good]);
    assert.deepEqual([accepted.code, accepted.stderr], [0, '']);
    assert.equal(accepted.stdout, 'pass  alpha: pcr-state: state new\n');
    const both = await tvmmp(['policy', 'test', draft(), '--state', good, '--state', bad]);
    assert.equal(both.code, 1);
    assert.match(
      both.stdout,
      /^fail {2}beta: pcr-state: differs from (?:old|new) in PCR 4, expected one of 2 approved states$/m,
    );
    assert.match(both.stderr, /fleet version 2 would refuse: beta \(pcr-state\) \(refused\)/);
  });

  it('refuses measurements that lack a PCR of the policy', async () => {
    const short = write('short.json', { name: 'alpha', pcrs: { sha256: { 0: '00'.repeat(32) } } });
    const run = await tvmmp(['policy', 'test', draft(), '--state', short]);
    assert.equal(run.code, 2);
    assert.match(run.stderr, /the state alpha has no PCR 4/);
  });

  it('takes a signed policy as well as a draft, and diff finds no difference between the two', async () => {
    const authority = await makeTestAuthority();
    const states = [{ name: 'base', pcrs: new Map([[0, new Uint8Array(32)]]) }];
    const rulesOfHosts = { forward: { attributes: 'level >= 2' } };
    const signed = write(
      'signed.json',
      authority.signPolicy({ id: 'fleet', version: 2, pcrs: [0], states, rulesOfHosts }),
    );
    const same = draft({
      pcrs: { sha256: [0] },
      states: [{ name: 'base', pcrs: { sha256: { 0: '00'.repeat(32) } } }],
      forward: rulesOfHosts.forward,
    });
    const equal = await tvmmp(['policy', 'diff', signed, same]);
    assert.deepEqual([equal.code, equal.stdout], [0, 'they say the same\n']);
    const measured = write('base.json', { name: 'alpha', pcrs: { sha256: { 0: '00'.repeat(32) } } });
    const tried = json(await tvmmp(['policy', 'test', signed, '--state', measured, '--json']));
    assert.equal(tried['accepted'], true);
    const other = await tvmmp(['policy', 'diff', signed, draft()]);
    assert.match(other.stdout, /^PCRs {8}0 -> 0,4$/m);
    assert.match(other.stdout, /^state base {2}approved -> not approved$/m);
    assert.match(other.stdout, /^forward {5}level >= 2 -> nothing$/m);
  });

  describe('of recordings, where it has rules about logs', () => {
    const boot = new BootEvidence('debian-secure-boot');

    /** A boot as `tvmmp host measure --record` keeps it. */
    function recording(name: string, of = boot): string {
      const folder = join(directory, name);
      mkdirSync(folder, { recursive: true });
      const measured = JSON.parse(readFileSync(of.file('pcrs.json'), 'utf8')) as { sha256: object };
      writeFileSync(join(folder, 'state.json'), JSON.stringify({ name, pcrs: { sha256: measured.sha256 } }));
      for (const log of ['event-log', 'ima']) copyFileSync(of.file(log), join(folder, log));
      return folder;
    }
    function ruled(change: (rules: LogRules) => LogRules = (rules) => rules): string {
      const { policy } = boot.input();
      return write('ruled.json', formatPolicyDraft({ ...policy, rules: change(policy.rules ?? {}) }));
    }
    const failures = async (policy: string, ...folders: readonly string[]): Promise<readonly string[]> => {
      const run = await tvmmp([
        ...['policy', 'test', policy, '--json'],
        ...folders.flatMap((folder) => ['--recorded', folder]),
      ]);
      const { accepted, outcomes } = json(run) as {
        accepted?: boolean;
        outcomes?: { subject: string; check: string; outcome: string; found: string }[];
      };
      const failed = (outcomes ?? []).filter(({ outcome }) => outcome === 'fail');
      assert.deepEqual([run.code, accepted], failed.length === 0 ? [0, true] : [1, false], run.stderr);
      assert.ok((outcomes ?? []).some(({ check }) => check === 'ima-files' || check === 'ima-list'));
      return failed.map(({ subject, check, found }) => `${subject} ${check}: ${found}`);
    };

    it('says that one is good whose boot and files it lists, and which of two is not', async () => {
      const good = recording('alpha');
      assert.deepEqual(await failures(ruled(), good), []);
      const other = recording('beta', new BootEvidence('secure-boot-off'));
      const found = await failures(ruled(), good, other);
      assert.ok(found.length > 0 && found.every((line) => line.startsWith('beta ')), found.join('\n'));
      assert.ok(
        found.some((line) => line.startsWith('beta secure-boot: ')),
        found.join('\n'),
      );
    });

    it('names the rule that would refuse it', async () => {
      const good = recording('alpha');
      const lines = await failures(
        ruled((rules) => ({ ...rules, eventLog: { ...rules.eventLog, commandLines: ['/vmlinuz quiet'] } })),
        good,
      );
      assert.equal(lines.length, 1);
      assert.match(lines[0] ?? '', /^alpha command-lines: /);
      const files = await failures(
        ruled((rules) => ({ ...rules, ima: { files: {}, allowViolations: true } })),
        good,
      );
      assert.match(files.join('\n'), /^alpha ima-files: /m);
    });

    it('believes no log that does not lead to the recorded PCRs, is missing, or is cut short', async () => {
      const mixed = recording('mixed');
      copyFileSync(new BootEvidence('secure-boot-off').file('event-log'), join(mixed, 'event-log'));
      assert.match((await failures(ruled(), mixed)).join('\n'), /^mixed pcr-values: other values/m);
      const missing = recording('missing');
      rmSync(join(missing, 'event-log'));
      assert.match((await failures(ruled(), missing)).join('\n'), /^missing event-log: none/m);
      const short = recording('short');
      const log = readFileSync(join(short, 'ima'));
      writeFileSync(join(short, 'ima'), log.subarray(0, log.byteLength - 3));
      assert.match((await failures(ruled(), short)).join('\n'), /^short ima-list: /m);
    });

    it('needs the PCRs that the rules are about', async () => {
      const folder = recording('few');
      const state = JSON.parse(readFileSync(join(folder, 'state.json'), 'utf8')) as {
        pcrs: { sha256: Record<string, string> };
      };
      delete state.pcrs.sha256['10'];
      writeFileSync(join(folder, 'state.json'), JSON.stringify(state));
      const run = await tvmmp(['policy', 'test', ruled(), '--recorded', folder]);
      assert.deepEqual([run.code, /the state few has no PCR 10/.test(run.stderr)], [2, true], run.stderr);
    });
  });
});
