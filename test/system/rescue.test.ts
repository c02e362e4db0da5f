/** The board of a host dies, its disk lives: with escrow, another host takes its VM up, vTPM and all. And the dead host comes back. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CommandResult } from '../../scripts/lab.d/lab.ts';
import { decodeRescue, encodeRescue } from '../../lib/migration/rescue-file.ts';
import { assertRefused, withLab } from '../support/product-lab.ts';
import type { Guest, ProductLab } from '../support/product-lab.ts';

const program = new URL('../../scripts/lab.d/bin/tvmmp', import.meta.url).pathname;

describe('a host whose board dies', function () {
  this.timeout(300_000);
  let lab: ProductLab;
  let guest: Guest;
  let kept: Guest;
  /** What the vTPM holds. */
  let secret: string | null = null;
  const at = (name: string): string => join(lab.directory, name);
  const authority = (...args: readonly string[]): string =>
    execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const tpmOfAlpha = (): string => join(lab.hostDirectory('alpha'), 'tpm');
  /** Where alpha's disk has its journal, as the machine sees it. */
  const journal = (): string => join(lab.hostDirectory('alpha'), 'fs/var-lib-tvmmp/journal.sqlite');
  const ask = (vm: string, host = 'beta') =>
    lab.exec(
      host,
      'tvmmp',
      'vm',
      'rescue-request',
      vm,
      '--journal',
      journal(),
      '-o',
      at(`${vm}-${host}.request`),
    );
  const release = (request: string): readonly string[] => [
    ...['authority', 'escrow', 'release', at('authority'), request, '-o', at('web.rescue')],
    ...['--escrow-key', at('safe-key.pem'), '--escrow-passphrase-file', at('escrow-passphrase')],
  ];
  /** Of a command of the authority's that is refused: what it says. */
  function authorityRefuses(pattern: RegExp, args: readonly string[]): void {
    assert.throws(
      () => authority(...args),
      (error) => {
        const { status, stderr } = error as { status: number; stderr: string };
        assert.match(stderr, pattern);
        return status === 1;
      },
    );
  }
  /** A command of ours was refused. */
  function says({ status, stderr }: CommandResult, pattern: RegExp): void {
    assert.match(stderr, pattern);
    assert.equal(status, 1);
  }
  /** `tvmmp vm rescue`, refused. */
  async function refused(pattern: RegExp, host = 'beta', file = 'web.rescue'): Promise<void> {
    says(await lab.exec(host, 'tvmmp', 'vm', 'rescue', at(file), '--i-accept-two-copies'), pattern);
  }

  withLab({ hosts: ['alpha', 'beta', 'gamma'], etcd: true }, async (fresh) => {
    lab = fresh;
    writeFileSync(at('escrow-passphrase'), 'of the escrow key alone\n');
    const init = [
      'authority',
      'escrow',
      'init',
      at('authority'),
      '--passphrase-file',
      at('escrow-passphrase'),
    ];
    const { escrow } = JSON.parse(authority(...init, '--json')) as { escrow: unknown };
    execFileSync('mv', [at('authority/escrow-key.pem'), at('safe-key.pem')]);
    const draft = JSON.parse(readFileSync(at('policy.draft.json'), 'utf8')) as { version: number };
    writeFileSync(at('escrow.draft.json'), JSON.stringify({ ...draft, version: draft.version + 1, escrow }));
    authority('policy', 'sign', at('authority'), at('escrow.draft.json'), '-o', at('escrow.policy.json'));
    for (const host of lab.hostNames)
      await lab.on(host, 'tvmmp', 'policy', 'install', at('escrow.policy.json'));
    kept = await lab.guest('alpha', 'kept', { protect: false, start: false });
    await bindWithoutEscrow();
    guest = await lab.guest('alpha', 'web', { start: false });
    ({ secret } = await lab.boot('alpha', guest));
    assert.ok(secret);
    const status = JSON.parse(await lab.on('alpha', 'tvmmp', 'status', '--json')) as { escrow: string[] };
    assert.deepEqual(status.escrow, [guest.uuid]);
  });

  /** The tenant of a VM wants hosts of the EU, and no escrow. */
  async function bindWithoutEscrow(): Promise<void> {
    const enroll = [program, 'authority', 'enroll', at('authority'), '--name', 'alpha', '--renew'];
    const said = ['--ek-roots', at('tpm-roots'), '--attribute', 'region=eu'];
    await lab.on('alpha', 'tvmmp', 'host', 'enroll', '--via', [...enroll, ...said].join(' '));
    await lab.restartAgent('alpha');
    const made = ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', at('tenant-key.pem')];
    execFileSync('openssl', made, { stdio: 'pipe' });
    execFileSync('openssl', ['pkey', '-in', at('tenant-key.pem'), '-pubout', '-out', at('tenant.pem')]);
    const about = ['--vm', kept.uuid, '--version', '1', '--condition', 'region == "eu"', '--forbid-escrow'];
    authority('tenant', 'sign', '--key', at('tenant-key.pem'), ...about, '-o', at('tenant.json'));
    const tenant = ['--tenant-policy', at('tenant.json'), '--tenant-cert', at('tenant.pem')];
    await lab.on('alpha', 'tvmmp', 'vm', 'protect', kept.name, ...tenant);
  }

  it('loses its TPM while the VM runs: nothing on its disk opens the key any more', async () => {
    writeFileSync(at('web.xml'), await lab.on('alpha', 'virsh', '-q', 'dumpxml', '--inactive', guest.name));
    await lab.must('reboot', 'alpha', '--hard');
    await lab.must('link', 'alpha', 'down');
    cpSync(tpmOfAlpha(), at('tpm.aside'), { recursive: true, preserveTimestamps: true });
    assert.ok(readdirSync(tpmOfAlpha()).length > 0);
    for (const file of readdirSync(tpmOfAlpha())) rmSync(join(tpmOfAlpha(), file));
  });

  it('is asked for by two other hosts, and the authority gives the VM to one, once the lost host is revoked', async () => {
    for (const host of ['beta', 'gamma']) assert.equal((await ask('web', host)).status, 0);
    says(await ask('kept'), /escrow-off: that host kept no copy of the key of kept/);
    authorityRefuses(/lost-host-not-revoked: alpha holds the VM/, release(at('web-beta.request')));
    const revoke = ['authority', 'revoke', at('authority'), 'alpha', '--reason', 'board died'];
    authority(...revoke, '-o', at('revocations.json'));
    authority(...release(at('web-beta.request')));
    authorityRefuses(/already-rescued: VM .* was given to beta/, release(at('web-gamma.request')));
  });

  it('is not taken up before everything fits, nor by a host that it was not stated for', async () => {
    await refused(/lost-host-not-revoked: the revocation list here does not name alpha/);
    for (const host of ['beta', 'gamma']) {
      await lab.on(host, 'tvmmp', 'revocation', 'install', at('revocations.json'));
    }
    await refused(/web is not defined here/);
    await lab.on('beta', 'virsh', '-q', 'define', at('web.xml'));
    await refused(/the vTPM state of web is not here/);
    await refused(/the recovery statement is for beta, and not for this AK of gamma/, 'gamma');
    const { request, statement, sealed } = decodeRescue(Uint8Array.from(readFileSync(at('web.rescue'))));
    const envelope = JSON.parse(statement) as { payload: string; signatures: object[] };
    const text = Buffer.from(envelope.payload, 'base64').toString();
    assert.match(text, /"to":\{"name":"beta"/);
    const payload = Buffer.from(text.replaceAll('"beta"', '"gamma"')).toString('base64');
    const forged = encodeRescue({ request, sealed, statement: JSON.stringify({ ...envelope, payload }) });
    writeFileSync(at('forged.rescue'), forged);
    await refused(/no known policy key signed it/, 'gamma', 'forged.rescue');
  });

  it('goes on at the other host with what its vTPM held, and the proof verifies offline', async () => {
    const brought = lab.vtpmDirectory('beta', guest);
    mkdirSync(dirname(brought), { recursive: true });
    execFileSync('cp', ['-a', '-T', lab.vtpmDirectory('alpha', guest), brought]);
    const unsaid = await lab.exec('beta', 'tvmmp', 'vm', 'rescue', at('web.rescue'));
    assert.equal(unsaid.status, 2);
    assert.match(unsaid.stderr, /two hosts can run web.*may have gone back/);
    await lab.on('beta', 'tvmmp', 'vm', 'rescue', at('web.rescue'), '--i-accept-two-copies');
    await refused(/this host has VM web already/);
    assert.equal((await lab.boot('beta', guest)).secret, secret, 'what the vTPM held before');
    assert.deepEqual((await lab.kinds('beta', guest)).slice(-2), ['recovered', 'started']);
    const report = await lab.proof('beta', guest);
    const held = report.holdings.map(({ host, epoch }) => [host, epoch]);
    assert.deepEqual(held, [
      ['alpha', 0],
      ['beta', 1],
    ]);
    const proof = at('web-beta.tvmmp-proof');
    const verify = ['proof', 'verify', proof, '--authority', at('authority/root.pem')];
    const text = authority(...verify, '--revocations', at('revocations.json'));
    assert.match(
      text,
      /stated at .* that alpha is lost, and beta took the VM up: its vTPM may have gone back/,
    );
    const status = JSON.parse(await lab.on('beta', 'tvmmp', 'status', '--json')) as { escrow: string[] };
    assert.deepEqual(status.escrow, [guest.uuid]);
  });

  it('moves on from there, and the statement is good for nothing any more', async () => {
    await lab.moved('beta', 'gamma', guest);
    await lab.ticksOn('gamma', guest);
    await refused(/proof: known-head/);
    assert.equal((await lab.proof('gamma', guest)).outcome, 'verified');
  });

  it('comes back with another TPM: nothing of it starts', async () => {
    await lab.must('link', 'alpha', 'up');
    await lab.must('reboot', 'alpha');
    assertRefused(await lab.exec('alpha', 'virsh', '-q', 'start', guest.name), /tvmmpd|agent/);
  });

  it('comes back with its TPM: the ledger does not let it start its copy, and its own revocation lets it start nothing', async () => {
    for (const file of readdirSync(tpmOfAlpha())) rmSync(join(tpmOfAlpha(), file));
    cpSync(at('tpm.aside'), tpmOfAlpha(), { recursive: true, preserveTimestamps: true });
    await lab.must('reboot', 'alpha', '--hard');
    await lab.must('start-agent', 'alpha');
    await lab.endsWith('alpha', guest, 'stopped');
    const start = (name: string) => lab.exec('alpha', 'virsh', '-q', 'start', name);
    assertRefused(await start(guest.name), /ledger-conflict: the ledger says that gamma holds web/);
    await lab.on('alpha', 'tvmmp', 'revocation', 'install', at('revocations.json'));
    assertRefused(await start(kept.name), /host-revoked: the authority has revoked this host/);
    await lab.ticksOn('gamma', guest);
  });
});
