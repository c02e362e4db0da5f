/** `tvmmp evidence appraise` with files of tpm2-tools and a TPM, and with recorded boots. */
import { strict as assert } from 'node:assert';
import { hash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatPolicyDraft } from '../../../lib/appraisal/policy.ts';
import type { PolicyDraft } from '../../../lib/appraisal/policy.ts';
import { parseEventLog, isMeasured } from '../../../lib/evidence/event-log.ts';
import { ImaReplay } from '../../../lib/evidence/ima-replay.ts';
import { BootEvidence } from '../../support/boot-evidence.ts';
import { agileLog, bootEvents } from '../../support/event-log-builder.ts';
import { imaList } from '../../support/ima-builder.ts';
import { Swtpm } from '../../support/swtpm.ts';
import { json, tvmmp } from './run-cli.ts';
import type { CliRun } from './run-cli.ts';

const NONCE = '00112233445566778899aabbccddeeff';

describe('tvmmp evidence appraise', () => {
  let tpm: Swtpm;
  before(async () => {
    tpm = await Swtpm.start();
    write('event-log', agileLog(bootEvents()));
    for (const event of parseEventLog(agileLog(bootEvents())).events) {
      if (!isMeasured(event)) continue;
      const digests = [...event.digests].map(
        ([bank, digest]) => `${bank}=${Buffer.from(digest).toString('hex')}`,
      );
      tpm.tool('pcrextend', `${event.pcr}:${digests.join(',')}`);
    }
    const list = imaList([
      { path: '/bin/sh', contents: 'sh' },
      { path: '/tmp/raced', violation: true },
    ]);
    write('ima', list);
    new ImaReplay(list, ['sha256']).finish(({ hashed, violation }) => {
      tpm.tool('pcrextend', `10:sha256=${violation ? 'ff'.repeat(32) : hash('sha256', hashed, 'hex')}`);
      return false;
    });
    for (const [name, ...algorithm] of [
      ['rsa', '-G', 'rsa', '-s', 'rsassa'],
      ['ecc', '-G', 'ecc', '-s', 'ecdsa'],
    ] as const) {
      tpm.tool('createek', '-c', `${name}-ek.ctx`, '-G', name);
      tpm.tool('flushcontext', '-t');
      const files = ['-c', `${name}.ctx`, '-u', `${name}.pem`, '-f', 'pem'];
      tpm.tool('createak', '-C', `${name}-ek.ctx`, ...algorithm, '-g', 'sha256', ...files);
      tpm.tool('flushcontext', '-t');
      const quote = ['-m', `${name}.attest`, '-s', `${name}.sig`, '-q', NONCE];
      tpm.tool('quote', '-c', `${name}.ctx`, '-l', 'sha256:0,2,4,7,8,9,10', ...quote);
      tpm.tool('flushcontext', '-t');
    }
    write('policy.json', formatPolicyDraft(policy({})));
  });
  after(() => tpm.close());

  function write(name: string, contents: Uint8Array | string): string {
    const file = join(tpm.directory, name);
    writeFileSync(file, contents);
    return file;
  }

  /** PCR 7 as the TPM has it, and these rules. */
  function policy(rules: NonNullable<PolicyDraft['rules']>): PolicyDraft {
    const value = Buffer.from(tpm.tool('pcrread', 'sha256:7').match(/0x([0-9A-F]{64})/)?.[1] ?? '', 'hex');
    const states = [{ name: 'measured', pcrs: new Map([[7, Uint8Array.from(value)]]) }];
    return { id: 'lab', version: 1, pcrs: [7], states, rules };
  }

  function appraise(
    key: string,
    options: Readonly<Record<string, string>> = {},
    ...more: string[]
  ): Promise<CliRun> {
    const file = (name: string): string => join(tpm.directory, name);
    const all: Record<string, string> = {
      policy: file('policy.json'),
      ak: file(`${key}.pem`),
      quote: file(`${key}.attest`),
      signature: file(`${key}.sig`),
      'event-log': file('event-log'),
      ima: file('ima'),
      nonce: NONCE,
      ...options,
    };
    const args = Object.entries(all).flatMap(([name, value]) => (value === '' ? [] : [`--${name}`, value]));
    return tvmmp(['evidence', 'appraise', ...args, ...more]);
  }

  for (const key of ['rsa', 'ecc'])
    it(`accepts what tpm2_quote wrote with an ${key.toUpperCase()} key, and exits 0`, async () => {
      const run = await appraise(key, {}, '--json');
      assert.deepEqual({ code: run.code, stderr: run.stderr }, { code: 0, stderr: '' });
      const { accepted, reason, state, ima, checks } = json(run);
      assert.deepEqual(
        { accepted, reason, state, ima },
        {
          accepted: true,
          reason: 'accepted',
          state: 'measured',
          ima: { covered: 2, later: 0 },
        },
      );
      const found = new Map(
        (checks as { name: string; outcome: string }[]).map((one) => [one.name, one.outcome]),
      );
      assert.deepEqual(
        ['quote-signature', 'quote-nonce', 'pcr-values', 'secure-boot'].map((name) => found.get(name)),
        ['pass', 'pass', 'pass', 'not-asked'],
      );
    });

  it('refuses with the first check that failed, lists all of them, and exits 1', async () => {
    const rules = {
      eventLog: { secureBoot: false },
      ima: { files: { '/bin/sh': [`sha256:${hash('sha256', 'sh')}`] } },
    };
    const file = write('strict.json', formatPolicyDraft(policy(rules)));
    const run = await appraise('ecc', { policy: file }, '--json');
    assert.equal(run.code, 1);
    assert.equal(
      run.stderr,
      'tvmmp: the evidence is refused: secure-boot: on, expected Secure Boot off; also failed: ima-boot-aggregate, ima-violations (refused)\n',
    );
    const { accepted, checks } = json(run);
    assert.equal(accepted, false);
    assert.equal((checks as unknown[]).length, 21);
    const shown = await appraise('ecc', { policy: file });
    assert.match(shown.stdout, /^refused$/m);
    assert.match(shown.stdout, /^ima-violations +fail +1: entry 1 \(said to be \/tmp\/raced\)$/m);
  });

  it('refuses another nonce, another key, another log, a missing log, a log that cannot be read', async () => {
    const cut = write('cut', agileLog(bootEvents()).slice(0, -1));
    const off = write('off', agileLog(bootEvents(0)));
    const ruled = write('ruled.json', formatPolicyDraft(policy({ eventLog: { secureBoot: true } })));
    const cases: readonly (readonly [Readonly<Record<string, string>>, RegExp])[] = [
      [{ nonce: '00' }, /: quote-nonce: /],
      [{ ak: join(tpm.directory, 'rsa.pem') }, /: quote-signature: /],
      [{ 'event-log': off }, /: pcr-values: .*PCR 7 is/],
      [{ 'event-log': '', policy: ruled }, /: event-log: none, and the policy has rules about it/],
      [{ 'event-log': cut }, /: event-log: event log: truncated: /],
      [{ ima: cut }, /: ima-list: IMA list: /],
      [{ signature: cut }, /: quote-signature: /],
    ];
    for (const [options, says] of cases) {
      const run = await appraise('ecc', options);
      assert.equal(run.code, 1, run.stderr);
      assert.match(run.stderr, says);
    }
  }).timeout(60_000);

  it('exits 2 for a policy, a key, a nonce or a file that cannot be used', async () => {
    const noise = write('noise', 'noise');
    const cases: readonly (readonly [Readonly<Record<string, string>>, RegExp])[] = [
      [{ policy: noise }, /\(policy-invalid\)/],
      [{ ak: noise }, /is no public key in PEM/],
      [{ nonce: 'xyz' }, /the nonce is not/],
      [{ ima: '/nonexistent' }, /there is no such file/],
    ];
    for (const [options, says] of cases) {
      const run = await appraise('ecc', options);
      assert.deepEqual({ code: run.code, stdout: run.stdout }, { code: 2, stdout: '' });
      assert.match(run.stderr, says);
    }
  }).timeout(60_000);

  it('accepts a recorded boot of Debian with Secure Boot by rules for all of it', async () => {
    const boot = new BootEvidence('debian-secure-boot');
    const file = (name: string): string => fileURLToPath(boot.file(name));
    const run = await appraise('', {
      policy: write('recorded.json', formatPolicyDraft(boot.input().policy)),
      ak: file('ak.pem'),
      quote: file('quote.attest'),
      signature: file('quote.signature'),
      'event-log': file('event-log'),
      ima: file('ima'),
      nonce: '74766d6d702d6576696465',
    });
    assert.deepEqual({ code: run.code, stderr: run.stderr }, { code: 0, stderr: '' });
    assert.match(run.stdout, /^secure-boot +pass +on$/m);
    assert.match(run.stdout, /^command-lines +pass +those$/m);
  });
});
