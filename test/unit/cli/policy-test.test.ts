/** tvmmp policy test and diff on files: recorded measurements, drafts and signed policies. */
import { strict as assert } from 'node:assert';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
});
