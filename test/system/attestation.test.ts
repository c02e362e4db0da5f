/**
 * A tenant asks who holds its VM now, and whether its guest answers from the vTPM of the proof (SPEC 4.3-4.5): real hosts, and a guest that
 * quotes its vTPM when it is asked over its serial console.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import type { CommandResult } from '../../scripts/lab.d/lab.ts';
import { certificatesFromPem } from '../../lib/certificates/pem.ts';
import { withLab } from '../support/product-lab.ts';
import type { Guest, ProductLab } from '../support/product-lab.ts';

const program = new URL('../../scripts/lab.d/bin/tvmmp', import.meta.url).pathname;
/** What tpm2-tools put before a credential. */
const credentialHead = 8;
const hexOf = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString('hex');

describe('a tenant who asks', function () {
  this.timeout(300_000);
  let lab: ProductLab;
  let guest: Guest;
  const at = (name: string): string => join(lab.directory, name);

  withLab({}, async (fresh) => {
    lab = fresh;
    guest = await lab.guest('alpha', 'deep');
    await lab.ticksOn('alpha', guest);
  });

  /** Runs `tvmmp` as the tenant does, on no host. */
  const tenant = (...args: readonly string[]): string =>
    execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

  /** Says a line to the guest, and waits for an answer of this form that was not there before. */
  async function ask(host: string, line: string, form: RegExp): Promise<RegExpExecArray> {
    const log = join(lab.hostDirectory(host), `fs/var-log-libvirt/qemu/${guest.name}-console.log`);
    const heard = (): RegExpExecArray[] => {
      const text = existsSync(log) ? readFileSync(log, 'utf8') : '';
      return [...text.matchAll(new RegExp(form.source, 'gm'))];
    };
    const before = heard().length;
    const pty = (await lab.on(host, 'virsh', 'ttyconsole', guest.name)).trim();
    assert.match(pty, /^\/dev\/pts\/\d+$/);
    // QEMU looks once a second whether somebody is at the other end.
    await lab.on(host, 'sh', '-c', `(sleep 2; printf '%s\\n' '${line}'; sleep 2) > ${pty}`);
    return lab.eventually(`an answer of ${guest.name}`, () => Promise.resolve(heard()[before] ?? null));
  }

  /** The host attests, the guest quotes, and the tenant judges both. */
  async function deeply(
    host: string,
  ): Promise<{ readonly verdict: Record<string, unknown>; readonly files: string }> {
    const bytes = (hex: string | undefined): Buffer => Buffer.from(hex ?? '', 'hex');
    const base = at(`asked-${host}`);
    const keys = await ask(host, 'keys', /^keys ek=([0-9a-f]+) ak=([0-9a-f]+)\r?$/);
    writeFileSync(`${base}.ek`, bytes(keys[1]));
    writeFileSync(`${base}.ak`, bytes(keys[2]));
    await lab.on(host, 'tvmmp', 'proof', 'export', guest.name, '-o', `${base}.known`);
    const authority = ['--authority', at('authority/root.pem')];
    const told = ['--vtpm-ek', `${base}.ek`, '--vtpm-ak', `${base}.ak`];
    const made = tenant('proof', 'challenge', `${base}.known`, ...authority, ...told, '-o', base, '--json');
    const { nonce } = JSON.parse(made) as { nonce: string };
    const files = ['-o', `${base}.attestation`, '--proof', `${base}.tvmmp-proof`];
    await lab.on(host, 'tvmmp', 'vm', 'attest', guest.name, '--nonce', nonce, ...files);
    const credential = readFileSync(`${base}.credential`).subarray(credentialHead).toString('hex');
    const form = /^quote attest=([0-9a-f]+) signature=([0-9a-f]+)\r?$/;
    const quoted = await ask(host, `quote ${nonce} ${credential}`, form);
    writeFileSync(`${base}.quote`, bytes(quoted[1]));
    writeFileSync(`${base}.signature`, bytes(quoted[2]));
    const verdict = tenant(
      ...['proof', 'verify', `${base}.tvmmp-proof`, ...authority, '--attestation', `${base}.attestation`],
      ...['--challenge', `${base}.challenge`, '--vtpm-quote', `${base}.quote`],
      ...['--vtpm-signature', `${base}.signature`, '--json'],
    );
    return { verdict: JSON.parse(verdict) as Record<string, unknown>, files: base };
  }

  function assertHeld(verdict: Record<string, unknown>, host: string): void {
    const { guest: inside, ...outside } = verdict['attestation'] as Record<string, unknown> & {
      guest: Record<string, unknown>;
    };
    assert.deepEqual(
      [verdict['outcome'], outside['outcome'], outside['host']],
      ['verified', 'verified', host],
    );
    assert.deepEqual(
      [inside['outcome'], inside['by'], inside['pcrs']],
      ['verified', 'challenge', 'sha256:11'],
    );
  }

  const attest = (host: string): Promise<CommandResult> =>
    lab.exec(
      host,
      'tvmmp',
      'vm',
      'attest',
      guest.name,
      '--nonce',
      'ab'.repeat(32),
      '-o',
      at('other.attestation'),
    );

  it('is answered by host and guest, over one nonce, and by the new ones after a move', async () => {
    const before = await deeply('alpha');
    assertHeld(before.verdict, 'alpha');
    await lab.moved('alpha', 'beta', guest);
    await lab.settled('alpha', 'beta');
    const refused = await attest('alpha');
    assert.equal(refused.status, 1, refused.stderr);
    assert.match(refused.stderr, /held by beta: only its holder can attest it/);
    const after = await deeply('beta');
    assertHeld(after.verdict, 'beta');
    // What alpha said, with the proof of now; and what beta said, with the proof of then.
    for (const [attestation, proof] of [
      [before.files, after.files],
      [after.files, before.files],
    ] as const) {
      const { nonce } = (before.files === attestation ? before : after).verdict['attestation'] as {
        nonce: string;
      };
      const run = await lab.exec(
        'beta',
        ...['tvmmp', 'proof', 'verify', `${proof}.tvmmp-proof`, '--authority', at('authority/root.pem')],
        ...['--attestation', `${attestation}.attestation`, '--nonce', nonce],
      );
      assert.equal(run.status, 1, run.stderr);
      assert.match(run.stderr, /the attestation does not hold: head: /);
    }
  });

  it('is given the certificate of the vTPM, which is of the key that the guest tells', async () => {
    const file = at('ek.pem');
    const inNv = async (index: string): Promise<string> => {
      const said = await ask(
        'beta',
        `certificate ${index}`,
        new RegExp(`^certificate ${index}=([0-9a-f]+)\\r?$`),
      );
      return said[1] ?? '';
    };
    const inGuest = { ek: await inNv('01c00002'), ca: await inNv('01c00100') };
    // The VM came here, and runs: it is read of what its vTPM wrote last.
    await lab.on('beta', 'tvmmp', 'vm', 'certificate', guest.name, '-o', file);
    const whileItRan = readFileSync(file, 'utf8');
    await lab.halt('beta', guest);
    await lab.state('beta', guest, 'stopped');
    await lab.on('beta', 'tvmmp', 'vm', 'certificate', guest.name, '-o', file);
    assert.equal(readFileSync(file, 'utf8'), whileItRan);
    await lab.on('beta', 'tvmmp', 'proof', 'export', guest.name, '-o', at('stopped.tvmmp-proof'));
    const told = ['--vtpm-ek', file, '--vtpm-ak', at('asked-beta.ak'), '-o', at('certified')];
    tenant('proof', 'challenge', at('stopped.tvmmp-proof'), '--authority', at('authority/root.pem'), ...told);
    assert.ok(existsSync(at('certified.credential')));
    // It was made at alpha, and its chain came along in the vTPM.
    const chain = ['--authority', at('authority/root.pem'), '--vtpm-certificate', file];
    const report = tenant('proof', 'verify', at('stopped.tvmmp-proof'), ...chain);
    assert.match(
      report,
      /^the vTPM was made at alpha, for this VM, and has a certificate of the authority$/m,
    );
    assert.match(report, /that host signed the first entry of the proof/);
    const [ek, ca] = certificatesFromPem(readFileSync(file, 'utf8'));
    assert.deepEqual([inGuest.ek, inGuest.ca], [hexOf(ek), hexOf(ca)]);
  });

  it('has a certificate of the vTPM that OpenSSL verifies by the root of vTPMs, and no TLS software takes for a server’s', () => {
    const root = at('vtpm-root.pem');
    tenant('authority', 'vtpm-root', at('authority'), '-o', root);
    const verify = (...more: readonly string[]): number | null =>
      spawnSync('openssl', ['verify', '-x509_strict', ...more, '-untrusted', at('ek.pem'), at('ek.pem')])
        .status;
    assert.equal(verify('-CAfile', root), 0);
    assert.notEqual(verify('-CAfile', root, '-purpose', 'sslserver'), 0);
    assert.notEqual(verify('-CAfile', root, '-purpose', 'sslclient'), 0);
    // What QEMU's TLS trusts is the authority's own root.
    assert.notEqual(verify('-CAfile', at('authority/root.pem')), 0);
    const text = execFileSync('openssl', ['x509', '-in', at('ek.pem'), '-noout', '-text'], {
      encoding: 'utf8',
    });
    assert.match(text, new RegExp(`URI:urn:uuid:${guest.uuid}`));
  });
});
