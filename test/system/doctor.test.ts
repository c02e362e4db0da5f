/** tvmmp doctor on a host as an operator installs it, and on the same host with one thing broken at a time. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Finding } from '../../lib/cli/finding.ts';
import { withLab } from '../support/product-lab.ts';
import type { ProductLab } from '../support/product-lab.ts';

describe('tvmmp doctor', function () {
  this.timeout(180_000);
  let lab: ProductLab;

  withLab({ hosts: ['alpha'] }, (fresh) => {
    lab = fresh;
  });

  const onDisk = (path: string): string => join(lab.hostDirectory('alpha'), 'fs', path);

  async function findings(): Promise<readonly Finding[]> {
    const { stdout, stderr } = await lab.exec('alpha', 'tvmmp', 'doctor', '--json');
    assert.notEqual(stdout, '', stderr);
    return (JSON.parse(stdout) as { findings: readonly Finding[] }).findings;
  }

  /** Checks that are bad. */
  const ill = async (): Promise<readonly string[]> =>
    (await findings()).filter(({ outcome }) => outcome === 'bad').map(({ check }) => check);

  it('finds nothing bad on a host that works, and says what it looked at', async () => {
    assert.deepEqual(await ill(), []);
    const looked = await findings();
    for (const check of [
      'tpm-keys',
      'platform-state',
      'agent',
      'versions',
      'policy-in-force',
      'hook-self-test',
      'hook-loaded',
      'libvirt-tls',
    ])
      assert.equal(looked.find((one) => one.check === check)?.outcome, 'good', check);
    const { status, stdout } = await lab.exec('alpha', 'tvmmp', 'doctor', '--all');
    assert.equal(status, 0);
    assert.match(stdout, /^good +libvirt-tls /m);
    assert.match(stdout, /^\d+ good, \d+ warnings, 0 bad$/m);
  });

  it('names a hook that was changed, and one that is gone', async () => {
    const hook = onDisk('etc-libvirt/hooks/qemu.d/50-tvmmp');
    const contents = readFileSync(hook);
    writeFileSync(hook, '#!/bin/sh\nexit 0\n');
    assert.deepEqual(await ill(), ['hook-up-to-date']);
    rmSync(hook);
    assert.deepEqual(await ill(), ['hook-installed']);
    writeFileSync(hook, contents, { mode: 0o755 });
    assert.deepEqual(await ill(), []);
  });

  it('names a passphrase that libvirt wrote to disk, and a key that others can read', async () => {
    const directory = onDisk('etc-libvirt/secrets');
    mkdirSync(directory, { recursive: true });
    const secret = join(directory, 'stray.xml');
    writeFileSync(
      secret,
      "<secret><usage type='vtpm'><name>tvmmp 6b1a6f4e-0f1d-4c64-9d0a-3f5b8c1e2a77</name></usage></secret>",
    );
    const key = onDisk('etc-tvmmp/agent-key.pem');
    chmodSync(key, 0o640);
    assert.deepEqual(await ill(), ['secret-files', 'libvirt-secrets']);
    rmSync(secret);
    chmodSync(key, 0o600);
    assert.deepEqual(await ill(), []);
  });

  it('names libvirt settings that lack our certificates', async () => {
    const file = onDisk('etc-libvirt/qemu.conf');
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, text.replace('migrate_tls_x509_verify = 1', '# migrate_tls_x509_verify = 1'));
    const bad = (await findings()).find(({ outcome }) => outcome === 'bad');
    assert.equal(bad?.check, 'libvirt-tls');
    assert.match(bad.found, /lacks migrate_tls_x509_verify = 1$/);
    writeFileSync(file, text);
  });

  it('names an agent that does not run, and a TPM whose keys are gone', async () => {
    await lab.must('stop-agent', 'alpha');
    assert.deepEqual((await ill()).slice(0, 1), ['agent']);
    await lab.on('alpha', 'tpm2_evictcontrol', '-C', 'o', '-c', '0x81005402');
    const ills = await ill();
    assert.deepEqual(ills.slice(0, 3), ['tpm-keys', 'certified-keys', 'agent']);
    const { stderr } = await lab.run(['start-agent', 'alpha']);
    assert.match(stderr, /the TPM has no receive key at 0x81005402: it was never made, or was evicted/);
  });
});
