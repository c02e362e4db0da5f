/** tvmmp authority result, tvmmp result: an authority's directory, a proof of hosts that it certified, and who reads the result. */
import { strict as assert } from 'node:assert';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { signPolicy } from '../../../lib/appraisal/policy.ts';
import { signRevocations } from '../../../lib/appraisal/revocation.ts';
import { initAuthority } from '../../../lib/authority/authority.ts';
import type { Authority } from '../../../lib/authority/authority.ts';
import { issueHostCertificate } from '../../../lib/certificates/issue.ts';
import { ChainBuilder, Tenant, makeWorld, worldStart, worldVm } from '../../support/proof-world.ts';
import type { World } from '../../support/proof-world.ts';
import { makeTestAuthority } from '../../support/test-authority.ts';
import type { TestAuthority } from '../../support/test-authority.ts';
import { json, tvmmp } from './run-cli.ts';

/** A world whose authority is a directory. */
async function worldOf(authority: Authority): Promise<World> {
  const validity = authority.hostValidity(new Date(worldStart));
  const keys = authority.policyKeys();
  const issuer: TestAuthority = {
    ...(await makeTestAuthority()),
    root: authority.root,
    policySigner: authority.signerCertificate,
    signPolicy: (draft, issuedAt = new Date(worldStart)) => signPolicy(draft, issuedAt, keys),
    hostCertificate: (host, key) => issueHostCertificate(authority.issuer(), host, key, validity),
  };
  return makeWorld(issuer);
}

describe('tvmmp result', () => {
  let directory: string;
  let authority: Authority;
  let world: World;
  let chain: ChainBuilder;
  const tenant = new Tenant();
  const path = (name: string): string => join(directory, name);
  const root = (): string => path('authority/root.pem');
  const write = (name: string, contents: Uint8Array | string): string => {
    writeFileSync(path(name), contents);
    return path(name);
  };
  const make = (proof: string, ...more: string[]): ReturnType<typeof tvmmp> =>
    tvmmp(['authority', 'result', path('authority'), proof, '-o', path('web.json'), ...more]);
  const verify = (...more: string[]): ReturnType<typeof tvmmp> =>
    tvmmp(['result', 'verify', path('web.json'), '--authority', root(), ...more]);

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-result-'));
    authority = await initAuthority(path('authority'), { name: 'Test', now: new Date(worldStart) });
    world = await worldOf(authority);
    const inEu = (name: string) => world.enrol(name, { attributes: new Map([['region', 'eu']]) });
    chain = new ChainBuilder(world);
    chain.holder = await inEu('alpha.test');
    chain.add('created').bound(tenant.policy('region == "eu"')).add('started');
    chain.migrate(await inEu('beta.test'));
    write('web.tvmmp-proof', chain.bytes());
  });
  after(() => {
    authority.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('shows a VM on hosts without names to who has the root certificate', async () => {
    const made = await make(path('web.tvmmp-proof'));
    assert.deepEqual([made.code, made.stderr], [0, '']);
    assert.match(made.stdout, /2 stays on 2 hosts, which it does not name$/m);
    const { code, stdout, stderr } = await verify();
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    assert.match(stdout, /^verified by the authority on \S+ \S+, with no revocation list$/m);
    assert.match(stdout, /^0 {6}[0-9a-f]{8} {2}2026-06-01 00:00:01Z {2}lab v3 {2}region=eu {3}signed$/m);
    assert.match(stdout, /^1 {6}[0-9a-f]{8} .* holds it$/m);
    assert.doesNotMatch(stdout + readFileSync(path('web.json'), 'utf8'), /alpha|beta/);
    const told = json(await verify('--json'));
    assert.deepEqual([told['outcome'], told['vm'], told['from']], ['verified', worldVm, 'birth']);
  });

  it('is refused where it is not what the reader asks for', async () => {
    assert.equal((await make(path('web.tvmmp-proof'))).code, 0);
    const key = (name: string, { keys }: Tenant): string =>
      write(name, keys.publicKey.export({ type: 'spki', format: 'pem' }));
    const good = await verify('--vm', worldVm, '--from-birth', '--condition', 'region == "eu"');
    assert.equal(good.code, 0, good.stderr);
    assert.equal((await verify('--tenant', key('tenant.pem', tenant))).code, 0);
    const other = key('other.pem', new Tenant());
    for (const [options, reason] of [
      [['--vm', '00000000-0000-4000-8000-000000000000'], /it is about VM 6b1a6f4e/],
      [['--condition', 'region == "us"'], /the host of epoch 0 has region=eu/],
      [['--tenant', other], /signed by another key/],
    ] as const) {
      const { code, stdout, stderr } = await verify(...options);
      assert.deepEqual([code, stdout], [1, '']);
      assert.match(stderr, reason);
    }
  });

  it('opens to who has the opening and the proof', async () => {
    const opening = path('web.opening.json');
    assert.equal((await make(path('web.tvmmp-proof'), '--opening', opening)).code, 0);
    assert.equal(statSync(opening).mode & 0o777, 0o600);
    const files = ['--opening', opening, '--proof', path('web.tvmmp-proof'), '--authority', root()];
    const { code, stdout, stderr } = await tvmmp(['result', 'open', path('web.json'), ...files]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^0 {6}[0-9a-f]{8} {2}alpha\.test {2}3$/m);
    assert.match(stdout, /^1 {6}[0-9a-f]{8} {2}beta\.test {3}4$/m);
  });

  it('is not made of a proof that does not hold, begins too late, or has a revoked host in it', async () => {
    rmSync(path('web.json'), { force: true });
    const bad = new ChainBuilder(world).live('created').add('started', {}, { signer: world.beta });
    const forged = await make(write('bad.tvmmp-proof', bad.bytes()));
    assert.deepEqual([forged.code, forged.stdout], [1, '']);
    assert.match(forged.stderr, /does not verify: quote-signature/);
    const late = new ChainBuilder(world).live('created', 'started').checkpoint().migrate(world.beta);
    const short = await make(write('late.tvmmp-proof', late.from(2)), '--from-birth');
    assert.match(short.stderr, /does not verify: checkpoint/);
    revoke(chain.proof().entries.length);
    const revoked = await make(path('web.tvmmp-proof'));
    assert.equal(revoked.code, 1);
    assert.match(revoked.stderr, /does not hold: revocation: entry 4 \(arrived\) was signed by beta\.test/);
    assert.throws(() => readFileSync(path('web.json')), /ENOENT/, 'nothing was written');
  });

  /** Revokes the VM's holder from before it took the VM. */
  function revoke(entries: number): void {
    const since = new Date(worldStart + (entries - 1) * 1000);
    const { name: host, akName } = chain.holder.id;
    const { registry } = authority;
    registry.atomically(() => {
      registry.revocations.add({ host, akName: Uint8Array.from(akName), since, reason: 'stolen' });
      const hosts = registry.revocations.all();
      const list = { version: 1, issuedAt: new Date(), hosts };
      registry.revocations.addList({ version: 1, envelope: signed(list), time: Date.now() });
    });
  }
  const signed = (list: Parameters<typeof signRevocations>[0]): string =>
    signRevocations(list, authority.policyKeys());
});
