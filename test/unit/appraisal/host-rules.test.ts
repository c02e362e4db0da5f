import { strict as assert } from 'node:assert';
import { reaches, ruleChecks } from '../../../lib/appraisal/host-rules.ts';
import type { HostRule, RuledHost } from '../../../lib/appraisal/host-rules.ts';
import { formatPolicyDraft, parsePolicyText, verifySignedPolicy } from '../../../lib/appraisal/policy.ts';
import type { Policy } from '../../../lib/appraisal/policy.ts';
import { makeTestAuthority } from '../../support/test-authority.ts';
import type { TestAuthority } from '../../support/test-authority.ts';

const digest = '11'.repeat(32);
const text = (members: object): string =>
  JSON.stringify({
    format: 'tvmmp-policy/1',
    id: 'fleet',
    version: 1,
    pcrs: { sha256: [7] },
    states: ['base', 'update'].map((name) => ({ name, pcrs: { sha256: { 7: digest } } })),
    ...members,
  });
const host = (change: Partial<RuledHost> = {}): RuledHost => ({
  attributes: new Map<string, string | number>([
    ['region', 'eu'],
    ['level', 2],
  ]),
  versions: new Map([
    ['libvirt', '9.0.0'],
    ['qemu', '7.2.22'],
    ['kernel', '6.1.0-30-amd64'],
  ]),
  state: 'base',
  ...change,
});
const failed = (rule: HostRule | undefined, change: Partial<RuledHost> = {}): readonly string[] =>
  ruleChecks('forward', rule, host(change))
    .filter(({ outcome }) => outcome === 'fail')
    .map(({ name }) => name);

describe('rules about hosts (SPEC 10.1)', () => {
  let authority: TestAuthority;
  before(async () => {
    authority = await makeTestAuthority();
  });
  const signed = (members: object): Policy =>
    verifySignedPolicy(authority.signPolicy(parsePolicyText(text(members))), {
      root: authority.root,
      signers: [authority.policySigner],
      at: new Date('2026-06-01'),
    });

  it('come through signing as they were written, and are absent where they were', () => {
    const forward = {
      attributes: 'region == "eu" and level >= 2',
      versions: { libvirt: '9.0', qemu: '7.2' },
      states: ['update'],
    };
    const backward = { attributes: 'level >= 1' };
    assert.deepEqual(signed({ forward, backward }).rulesOfHosts, { forward, backward });
    assert.deepEqual(signed({ backward }).rulesOfHosts, { backward });
    assert.deepEqual(signed({}).rulesOfHosts, {});
    const mixed = { states: ['update', 'base'], versions: { qemu: '7', kernel: '6' } };
    assert.deepEqual(signed({ forward: mixed }).rulesOfHosts, {
      forward: { versions: { kernel: '6', qemu: '7' }, states: ['base', 'update'] },
    });
    const draft = parsePolicyText(text({ forward }));
    assert.deepEqual(parsePolicyText(formatPolicyDraft(draft)), draft);
  });

  it('that cannot be read are refused', () => {
    for (const forward of [
      {},
      [],
      null,
      'level >= 1',
      { attribute: 'level >= 1' },
      { attributes: '' },
      { attributes: 'level >=' },
      { attributes: 5 },
      { versions: {} },
      { versions: { swtpm: '0.7' } },
      { versions: { qemu: 7 } },
      { versions: { qemu: '7.x' } },
      { versions: { qemu: '' } },
      { states: [] },
      { states: ['nowhere'] },
      { states: ['base', 'base'] },
      { states: 'base' },
    ])
      assert.throws(
        () => parsePolicyText(text({ forward })),
        { code: 'policy-invalid' },
        JSON.stringify(forward),
      );
    assert.throws(() => parsePolicyText(text({ sideward: { attributes: 'level >= 1' } })), {
      code: 'policy-invalid',
    });
  });

  it('that say nothing let every host pass, and say that', () => {
    assert.deepEqual(failed(undefined), []);
    assert.deepEqual(failed(undefined, { attributes: new Map(), versions: new Map(), state: undefined }), []);
    const found = ruleChecks('backward', undefined, host({ versions: new Map() })).map(
      ({ expected }) => expected,
    );
    assert.deepEqual(found, [
      'anything: backward has no condition',
      'any versions: backward has none',
      'any approved state: backward names none',
    ]);
  });

  it('fail by the check that is theirs, and by no other', () => {
    const rule: HostRule = { attributes: 'region == "eu"', versions: { qemu: '7.2' }, states: ['base'] };
    assert.deepEqual(failed(rule), []);
    assert.deepEqual(failed(rule, { attributes: new Map([['region', 'us']]) }), ['rule-attributes']);
    assert.deepEqual(failed(rule, { versions: new Map([['qemu', '7.1.9']]) }), ['rule-versions']);
    assert.deepEqual(failed(rule, { versions: new Map() }), ['rule-versions']);
    assert.deepEqual(failed(rule, { state: 'update' }), ['rule-states']);
    assert.deepEqual(failed(rule, { state: undefined }), ['rule-states']);
  });

  it('say what is missing', () => {
    const [attributes] = ruleChecks('forward', { attributes: 'zone == "a"' }, host());
    assert.equal(attributes?.found, 'region=eu level=2: nothing is said about zone');
    const [none] = ruleChecks('forward', { attributes: 'zone == "a"' }, host({ attributes: new Map() }));
    assert.equal(none?.found, 'no attributes: nothing is said about zone');
    const [, versions] = ruleChecks(
      'forward',
      { versions: { qemu: '8', tvmmp: '0.1', libvirt: '1' } },
      host(),
    );
    assert.equal(versions?.expected, 'qemu 8 or later, tvmmp 0.1 or later');
    assert.equal(versions.found, 'qemu 7.2.22, tvmmp not told');
  });

  it('compare versions number by number', () => {
    for (const [found, least] of [
      ['7.2.0', '7.2'],
      ['7.2', '7.2.0'],
      ['7.10', '7.9'],
      ['10', '9.9.9'],
      ['6.1.0-30-amd64', '6.1'],
      ['0.1.0', '0.1.0'],
    ] as const)
      assert.ok(reaches(found, least), `${found} ${least}`);
    for (const [found, least] of [
      ['7.1.9', '7.2'],
      ['7.2', '7.2.1'],
      ['9.0', '10.0'],
      ['v7.2', '7'],
      ['', '0'],
      ['not told', '0'],
      ['-1', '0'],
    ] as const)
      assert.ok(!reaches(found, least), `${found} ${least}`);
  });
});
