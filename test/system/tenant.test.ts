/** A VM whose tenant says where it may run: the operator's policy and the tenant's both have to agree. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { CommandResult } from '../../scripts/lab.d/lab.ts';
import { assertRefused, withLab } from '../support/product-lab.ts';
import type { Guest, ProductLab } from '../support/product-lab.ts';

const program = new URL('../../scripts/lab.d/bin/tvmmp', import.meta.url).pathname;

describe('a VM with a tenant', function () {
  this.timeout(180_000);
  let lab: ProductLab;
  let guest: Guest;
  const at = (name: string): string => join(lab.directory, name);

  withLab({}, async (fresh) => {
    lab = fresh;
    for (const name of ['tenant', 'other']) {
      const made = ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', at(`${name}-key.pem`)];
      execFileSync('openssl', made, { stdio: 'pipe' });
      const told = ['req', '-x509', '-new', '-key', at(`${name}-key.pem`), '-subj', `/CN=${name}`];
      execFileSync('openssl', [...told, '-days', '9', '-out', at(`${name}.pem`)], { stdio: 'pipe' });
    }
    guest = await lab.guest('alpha', 'rented', { protect: false, start: false });
  });

  /** What a tenant signs about the VM. */
  function says(version: number, condition: string, by = 'tenant'): string {
    const file = at(`${by}-${version}.json`);
    const about = ['--vm', guest.uuid, '--version', String(version), '--condition', condition, '-o', file];
    execFileSync(program, ['tenant', 'sign', '--key', at(`${by}-key.pem`), ...about], { stdio: 'pipe' });
    return file;
  }

  async function give(host: string, ...attributes: readonly string[]): Promise<void> {
    const enroll = [program, 'authority', 'enroll', at('authority'), '--name', host, '--renew'];
    const roots = ['--ek-roots', at('tpm-roots')];
    const said = attributes.flatMap((attribute) => ['--attribute', attribute]);
    await lab.on(host, 'tvmmp', 'host', 'enroll', '--via', [...enroll, ...roots, ...said].join(' '));
    await lab.restartAgent(host);
  }

  const protect = (policy: string, certificate: string): Promise<CommandResult> => {
    const tenant = ['--tenant-policy', policy, '--tenant-cert', at(certificate)];
    return lab.exec('alpha', 'tvmmp', 'vm', 'protect', guest.name, ...tenant);
  };

  /** Verifies the VM's proof as a tenant with this certificate. */
  async function verify(host: string, certificate: string): Promise<CommandResult> {
    const { tenant } = (await lab.proof(host, guest)) as unknown as { tenant: unknown };
    assert.notEqual(tenant, null);
    const file = at(`${guest.name}-${host}.tvmmp-proof`);
    const authority = ['--authority', at('root.pem'), '--tenant', at(certificate)];
    return lab.exec(host, 'tvmmp', 'proof', 'verify', file, ...authority);
  }

  it('is not bound by a host that the tenant does not want, nor to the policy of another tenant', async () => {
    const eu = says(1, 'region == "eu"');
    const unwilling = await protect(eu, 'tenant.pem');
    assert.equal(unwilling.status, 1);
    assert.match(
      unwilling.stderr,
      /tenant-policy: alpha must not hold this VM: .* nothing is said about region/,
    );
    await give('alpha', 'region=eu', 'level=3');
    const other = await protect(eu, 'other.pem');
    assert.equal(other.status, 1);
    assert.match(other.stderr, /tenant-policy: it is not signed by the tenant's key/);
    const done = await protect(eu, 'tenant.pem');
    assert.equal(done.status, 0, done.stderr);
    assert.deepEqual(await lab.kinds('alpha', guest), ['created', 'bound']);
    await lab.boot('alpha', guest);
  });

  it('does not go to a host of another region, and runs on where it is', async () => {
    await give('beta', 'region=us', 'level=2');
    assertRefused(await lab.migrate('alpha', 'beta', guest), /alpha does not trust beta with this VM/);
    const [row] = JSON.parse(await lab.on('alpha', 'tvmmp', 'explain', '--json')) as { reason: string }[];
    assert.match(
      row?.reason ?? '',
      /tenant-policy: beta must not hold this VM: the tenant asks for region == "eu", and the host has .*region=us/,
    );
    await lab.ticksOn('alpha', guest, 1);
    assert.equal((await lab.vm('beta', guest))?.state ?? 'none', 'none');
  });

  it('goes where its tenant agrees, and the tenant sees that from the proof', async () => {
    await give('beta', 'region=eu', 'level=2');
    await lab.moved('alpha', 'beta', guest);
    await lab.ticksOn('beta', guest, 1);
    const seen = await verify('beta', 'tenant.pem');
    assert.equal(seen.status, 0, seen.stderr);
    assert.match(seen.stdout, /tenant +asks for region == "eu" \(policy version 1, key [0-9a-f]+/);
    const other = await verify('beta', 'other.pem');
    assert.equal(other.status, 1);
    assert.match(other.stderr, /its tenant policy is signed by another key/);
  });

  it('takes a newer policy of its tenant alone, never an older one', async () => {
    const put = (file: string): Promise<CommandResult> =>
      lab.exec('beta', 'tvmmp', 'vm', 'tenant-policy', guest.name, file);
    for (const [file, reason] of [
      [says(9, 'level >= 1', 'other'), /not signed by the tenant's key/],
      [says(1, 'level >= 1'), /version 1 of the tenant policy is not above 1, in force/],
      [says(2, 'level >= 9'), /tenant-policy: beta must not hold this VM/],
    ] as const) {
      const refused = await put(file);
      assert.equal(refused.status, 1, refused.stdout);
      assert.match(refused.stderr, reason);
    }
    const taken = await put(says(3, 'level == 2'));
    assert.equal(taken.status, 0, taken.stderr);
    await lab.endsWith('beta', guest, 'bound');
    const stays = await lab.migrate('beta', 'alpha', guest);
    assertRefused(stays, /beta does not trust alpha with this VM/);
    assert.equal((await put(says(4, 'level >= 2'))).status, 0);
    await lab.moved('beta', 'alpha', guest);
    assert.equal((await verify('alpha', 'tenant.pem')).status, 0);
  });
});
