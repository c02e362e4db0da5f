/** A policy that asks for attributes: who does not have them receives nothing, until the authority says so. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { assertRefused, withLab } from '../support/product-lab.ts';
import type { Guest, ProductLab } from '../support/product-lab.ts';

const program = new URL('../../scripts/lab.d/bin/tvmmp', import.meta.url).pathname;

describe('rules about hosts', function () {
  this.timeout(180_000);
  let lab: ProductLab;
  let guest: Guest;

  withLab({}, async (fresh) => {
    lab = fresh;
    guest = await lab.guest('alpha', 'ruled');
  });

  /** A policy with these rules in force on both hosts, one version above the last. */
  async function rule(version: number, rules: object): Promise<void> {
    const at = (name: string): string => join(lab.directory, name);
    const draft = JSON.parse(readFileSync(at('policy.draft.json'), 'utf8')) as object;
    writeFileSync(at('ruled.json'), JSON.stringify({ ...draft, version, ...rules }));
    const sign = ['policy', 'sign', at('authority'), at('ruled.json'), '-o', at('ruled-policy.json')];
    execFileSync(program, sign, { stdio: 'pipe' });
    for (const host of ['alpha', 'beta'])
      await lab.on(host, 'tvmmp', 'policy', 'install', at('ruled-policy.json'));
  }

  /** The authority gives a host attributes. */
  async function give(host: string, ...attributes: readonly string[]): Promise<void> {
    const enroll = [
      program,
      'authority',
      'enroll',
      join(lab.directory, 'authority'),
      '--name',
      host,
      '--renew',
    ];
    const roots = ['--ek-roots', join(lab.directory, 'tpm-roots')];
    const said = attributes.flatMap((attribute) => ['--attribute', attribute]);
    await lab.on(host, 'tvmmp', 'host', 'enroll', '--via', [...enroll, ...roots, ...said].join(' '));
    await lab.restartAgent(host);
  }

  it('keep a VM from a host that the authority says nothing about', async () => {
    await rule(100, { forward: { attributes: 'region == "eu" and level >= 2' } });
    const refused = await lab.migrate('alpha', 'beta', guest);
    assertRefused(refused, /alpha does not trust beta with this VM/);
    const [row] = JSON.parse(await lab.on('alpha', 'tvmmp', 'explain', '--json')) as {
      reason: string;
      verdict: { checks: { name: string; outcome: string }[] };
    }[];
    assert.match(
      row?.reason ?? '',
      /rule-attributes: no attributes: nothing is said about region, level, expected region/,
    );
    const failed = row?.verdict.checks.filter(({ outcome }) => outcome === 'fail').map(({ name }) => name);
    assert.deepEqual(failed, ['rule-attributes']);
    await lab.ticksOn('alpha', guest, 1);
  });

  it('can be tried on a host before they are in force', async () => {
    const draft = join(lab.directory, 'ruled.json');
    const tried = await lab.exec('beta', 'tvmmp', 'policy', 'test', draft);
    assert.equal(tried.status, 1);
    assert.match(tried.stdout, /^pass {2}this host: pcr-state: state \w+$/m);
    assert.match(
      tried.stdout,
      /^fail {2}this host: forward rule-attributes: no attributes: nothing is said about/m,
    );
    assert.match(tried.stderr, /lab version 100 would refuse: this host \(forward rule-attributes\)/);
    await give('beta', 'region=eu', 'level=2');
    const passed = await lab.exec('beta', 'tvmmp', 'policy', 'test', draft, '--json');
    assert.equal(passed.status, 0, passed.stderr);
    const { accepted, outcomes } = JSON.parse(passed.stdout) as {
      accepted: boolean;
      outcomes: { check: string }[];
    };
    assert.equal(accepted, true);
    assert.deepEqual(
      outcomes.map(({ check }) => check),
      ['pcr-state', 'forward rule-attributes', 'forward rule-versions', 'forward rule-states'],
    );
  });

  it('let it go there when the authority does, and the proof tells what it said', async () => {
    await lab.moved('alpha', 'beta', guest);
    await lab.ticksOn('beta', guest, 1);
    const { holdings } = (await lab.proof('beta', guest)) as unknown as {
      holdings: { host: string; attributes: object }[];
    };
    assert.deepEqual(
      holdings.map(({ host, attributes }) => [host, attributes]),
      [
        ['alpha', {}],
        ['beta', { level: 2, region: 'eu' }],
      ],
    );
  });

  it('are about everybody who has held the VM, where the policy says backward', async () => {
    await give('alpha', 'region=eu', 'level=3');
    await rule(101, { backward: { attributes: 'level >= 2' } });
    const refused = await lab.migrate('beta', 'alpha', guest);
    assertRefused(
      refused,
      /rule-attributes: alpha held the VM in epoch 0 and is not level >= 2: no attributes/,
    );
    await rule(102, { backward: { attributes: 'level >= 2 or region == "eu"', versions: { qemu: '99' } } });
    assertRefused(
      await lab.migrate('beta', 'alpha', guest),
      /rule-versions: qemu \S+, expected qemu 99 or later/,
    );
    await rule(103, {});
    await lab.moved('beta', 'alpha', guest);
    await lab.ticksOn('alpha', guest, 1);
  });
});
