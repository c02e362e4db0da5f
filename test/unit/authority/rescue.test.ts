/** What an authority looks at before it gives a VM of a lost host to another one (SPEC 15.4). */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatPolicyDraft } from '../../../lib/appraisal/policy.ts';
import type { PolicyDraft } from '../../../lib/appraisal/policy.ts';
import { verifyRecovery } from '../../../lib/appraisal/recovery.ts';
import { initAuthority } from '../../../lib/authority/authority.ts';
import type { Authority } from '../../../lib/authority/authority.ts';
import { releaseEscrow } from '../../../lib/authority/rescue.ts';
import type { MadeRescue } from '../../../lib/authority/rescue.ts';
import type { RescueReason } from '../../../lib/authority/rescue-error.ts';
import { recordEnrolment, reinstateHost, revokeHost } from '../../../lib/authority/revocations.ts';
import { bytesEqual } from '../../../lib/bytes/compare.ts';
import type { HostAttributes } from '../../../lib/certificates/attributes.ts';
import { issueHostCertificate } from '../../../lib/certificates/issue.ts';
import { spkiOf } from '../../../lib/certificates/public-key.ts';
import { base64 } from '../../../lib/encoding/base64.ts';
import { sha256 } from '../../../lib/encoding/hash.ts';
import { TvmmpError } from '../../../lib/errors.ts';
import { escrowContext } from '../../../lib/migration/escrow.ts';
import { keyContext } from '../../../lib/migration/key-context.ts';
import { decodeRescue, encodeRescueRequest } from '../../../lib/migration/rescue-file.ts';
import type { RescueRequest } from '../../../lib/migration/rescue-file.ts';
import type { Bridge } from '../../../lib/native/bridge.ts';
import { failsWith } from '../../support/failures.ts';
import { ChainBuilder, Tenant, makeWorld, worldStart, worldVm } from '../../support/proof-world.ts';
import type { World, WorldHost, WorldPolicy } from '../../support/proof-world.ts';
import { testKeyPair, testValidity } from '../../support/test-authority.ts';

const escrowKey = spkiOf(testKeyPair().publicKey);
/** When the authority and its hosts came to be, and when a VM is rescued. */
const before = new Date(worldStart - 24 * 3_600_000);
const now = new Date(worldStart + 24 * 3_600_000);
const european: HostAttributes = new Map([['region', 'eu']]);

describe('the release of a key from escrow (SPEC 15.4)', () => {
  let directory: string;
  let authority: Authority;
  let world: World;
  let [alpha, beta, gamma]: WorldHost[] = [];
  /** What the lost host had in escrow. */
  const escrowed = randomBytes(126);
  /** Whether the passphrase of the escrow key was right, and what native code was asked to do. */
  let asked: Parameters<Bridge['resealFromEscrow']>[0][] = [];

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-rescue-'));
    authority = await initAuthority(join(directory, 'a'), { name: 'Example', now: before });
    const { root, signerCertificate } = authority;
    const issuer = authority.issuer();
    world = await makeWorld({
      ...{
        root,
        rootKeys: testKeyPair(),
        policyKeys: authority.policyKeys(),
        policySigner: signerCertificate,
      },
      signPolicy: (draft) => authority.signPolicyText(formatPolicyDraft(draft), before),
      hostCertificate: (host, key, validity = testValidity) =>
        issueHostCertificate(
          issuer,
          host,
          key,
          validity === testValidity ? authority.hostValidity(before) : validity,
        ),
      agentCertificate: () => Promise.reject(new Error('not asked for here')),
      migrationCertificate: () => Promise.reject(new Error('not asked for here')),
    });
    [alpha, beta, gamma] = await Promise.all(
      ['alpha.test', 'beta.test', 'gamma.test'].map((name) => enrol(name, european)),
    );
    asked = [];
  });
  afterEach(() => {
    authority.close();
    rmSync(directory, { recursive: true, force: true });
  });

  async function enrol(
    name: string,
    attributes: HostAttributes,
    at = before,
    replace = false,
  ): Promise<WorldHost> {
    const host = await world.enrol(name, { attributes });
    const { akName, receiveKeyName } = host.tpm;
    const ekName = Uint8Array.from([0, 11, ...randomBytes(32)]);
    const certificates = { ekCertificate: randomBytes(8), agentCertificate: randomBytes(8) };
    recordEnrolment(
      authority,
      {
        ...{ name, ekName, akName, receiveKeyName, ...certificates },
        ...{ akCertificate: host.certificate, migrationCertificate: randomBytes(8) },
        ...{ vtpmCa: null, platformCertificate: null, time: at.getTime() },
      },
      { replace },
    );
    return host;
  }

  function policyOf(version: number, change: Partial<PolicyDraft> = {}): WorldPolicy {
    return world.signPolicy({ version, escrow: { key: base64(escrowKey) }, ...change });
  }

  /** A VM that runs on alpha under the policy with escrow, of a tenant or of none. */
  function running(tenant?: string, policy = policyOf(4)): ChainBuilder {
    const c = new ChainBuilder(world);
    c.policy = policy;
    c.holder = alpha!;
    c.add('created');
    if (tenant !== undefined) c.bound(tenant);
    return c.add('started');
  }

  /** The board died, when everything was signed; or so. */
  function revoke(name: string, since = now): void {
    revokeHost(authority, name, { since, reason: 'board died' }, now);
  }

  function requestFor(c: ChainBuilder, to: WorldHost, change: Partial<RescueRequest> = {}): Uint8Array {
    return encodeRescueRequest({
      ...{ name: 'web', secret: worldVm, proof: c.bytes(), escrowed, state: null, past: [] },
      ...{ akCertificate: to.certificate, receivePublic: to.tpm.receivePublic },
      ...change,
    });
  }

  /** Opens the copy that it made of epoch 0 of alpha's, under its context alone. */
  const bridge: Pick<Bridge, 'resealFromEscrow'> = {
    resealFromEscrow: (options) => {
      asked.push(options);
      const of = { vm: worldVm, epoch: 0, holder: alpha!.id.akName, key: escrowKey };
      const same = bytesEqual(options.blob, escrowed) && bytesEqual(options.escrowContext, escrowContext(of));
      return same
        ? Promise.resolve(new Uint8Array(126).fill(7))
        : Promise.reject(new TvmmpError('seal-invalid', 'does not open'));
    },
  };
  const release = (request: Uint8Array): Promise<MadeRescue> =>
    releaseEscrow(authority, request, { bridge, key: { keyFile: 'escrow-key.pem' } }, now);
  const refuses = async (reason: RescueReason, request: Uint8Array, says = /(?:)/): Promise<void> => {
    await assert.rejects(release(request), failsWith('rescue-refused', reason, says));
  };

  it('states that the holder is lost and seals the key for the other host, bound to that statement', async () => {
    const c = running();
    revoke('alpha.test');
    const state = sha256(Buffer.from('as it stopped'));
    const request = requestFor(c, beta!, { state });
    const made = await release(request);
    assert.deepEqual(
      [made.lost, made.to, made.again, made.stateKnown],
      ['alpha.test', 'beta.test', false, true],
    );
    const { statement, sealed, ...rest } = decodeRescue(made.rescue);
    assert.ok(bytesEqual(rest.request, request));
    assert.ok(bytesEqual(sealed, new Uint8Array(126).fill(7)));
    const said = verifyRecovery(statement, { root: authority.root, signers: [authority.signerCertificate] });
    assert.deepEqual(said.head, c.head);
    assert.deepEqual([said.lost.name, said.to.name], ['alpha.test', 'beta.test']);
    assert.deepEqual(said.state, Uint8Array.from(state));
    const recipient = beta!.tpm.receiveKeyName;
    const context = keyContext({ vm: worldVm, epoch: 1, session: said.digest, recipient });
    assert.deepEqual([asked[0]?.destinationContext, asked[0]?.escrowPublic], [context, escrowKey]);
    assert.deepEqual(asked[0]?.destinationPublic, beta!.tpm.receivePublic);
  });

  it('is given once: to the same host again, about the same entry, and to no other', async () => {
    const c = running();
    revoke('alpha.test');
    await release(requestFor(c, beta!));
    assert.equal((await release(requestFor(c, beta!))).again, true);
    await refuses('already-rescued', requestFor(c, gamma!), /was given to beta\.test/);
    await refuses('already-rescued', requestFor(c.live('suspended'), beta!));
  });

  it('is refused while the policy signed last has no escrow', async () => {
    const c = running();
    revoke('alpha.test');
    world.signPolicy({ version: 5 });
    await refuses('escrow-off', requestFor(c, beta!));
    assert.deepEqual(asked, []);
  });

  it('is refused on a proof that does not verify, or that the lost host signed when it was not trusted any more', async () => {
    const c = running();
    revoke('alpha.test', before);
    await refuses('proof-invalid', requestFor(c, beta!), /revo/);
    const cut = c.proof();
    const headless = c.bytes({ entries: cut.entries.slice(1) });
    await refuses('proof-invalid', requestFor(c, beta!, { proof: headless }), /sequence/);
  });

  it('is refused while the host that holds the VM is trusted', async () => {
    const c = running();
    await refuses('lost-host-not-revoked', requestFor(c, beta!), /tvmmp authority revoke alpha\.test first/);
    revoke('alpha.test');
    reinstateHost(authority, 'alpha.test', now);
    await refuses('lost-host-not-revoked', requestFor(c, beta!));
  });

  it('is refused of a VM that was on its way, or is protected no more', async () => {
    const ended = running().live('stopped', 'destroyed');
    revoke('alpha.test');
    await refuses('not-held', requestFor(ended, beta!), /has ended/);
    const leaving = running(undefined, ended.policy).departing(gamma!);
    await refuses('not-held', requestFor(leaving, beta!), /on its way to gamma\.test: look there first/);
  });

  it('is refused for a host that is not enrolled so, revoked, the lost one, or not what the policy wants', async () => {
    const c = running();
    revoke('alpha.test');
    const unsuitable = (to: WorldHost, says: RegExp, change: Partial<RescueRequest> = {}): Promise<void> =>
      refuses('new-host-unsuitable', requestFor(c, to, change), says);
    await unsuitable(alpha!, /alpha\.test is the host that is said to be lost/);
    await unsuitable(await world.enrol('delta.test'), /delta\.test is not enrolled with this key/);
    await unsuitable(beta!, /the receive key is not the one/, { receivePublic: gamma!.tpm.receivePublic });
    const past = { notBefore: before, notAfter: new Date(worldStart) };
    const { certificate } = await world.enrol('beta.test', { tpm: beta!.tpm, validity: past });
    await unsuitable(beta!, /the certificate of the new host/, { akCertificate: certificate });
    revoke('gamma.test');
    await unsuitable(gamma!, /gamma\.test is revoked: board died/);
    policyOf(5, { rulesOfHosts: { forward: { attributes: 'region == "us"' } } });
    await unsuitable(beta!, /beta\.test is not what the policy wants to receive a VM/);
  });

  it('is given to the same machine with a new board: another host, whose enrolment has revoked the old one', async () => {
    const c = running();
    const renewed = await enrol('alpha.test', european, now, true);
    const made = await release(requestFor(c, renewed));
    assert.deepEqual([made.lost, made.to], ['alpha.test', 'alpha.test']);
  });

  it('is refused under another policy, or an older one than that of the proof', async () => {
    const c = running(undefined, policyOf(5));
    revoke('alpha.test');
    world.signPolicy({ id: 'elsewhere', version: 9, escrow: { key: base64(escrowKey) } });
    await refuses('policy-other', requestFor(c, beta!), /lab v5, and the policy signed last is elsewhere v9/);
  });

  it('is refused where the tenant forbids escrow, or does not want the other host', async () => {
    revoke('alpha.test');
    const tenant = new Tenant();
    const policy = policyOf(4);
    const forbidden = running(tenant.policy('region == "eu"', 1, { escrow: 'no' }), policy);
    await refuses('tenant-forbids', requestFor(forbidden, beta!), /the tenant of the VM forbids escrow/);
    const picky = running(tenant.policy('region == "eu"', 2), policy);
    const us = await enrol('us.test', new Map([['region', 'us']]));
    await refuses('tenant-forbids', requestFor(picky, us), /us\.test: /);
    assert.deepEqual(asked, []);
  });

  it('is refused where the copy is of another VM, epoch or host, and nothing is recorded', async () => {
    const c = running();
    revoke('alpha.test');
    await refuses('escrow-of-another', requestFor(c, beta!, { escrowed: randomBytes(126) }));
    const moved = running(undefined, c.policy).migrate(beta!);
    revoke('beta.test');
    await refuses('escrow-of-another', requestFor(moved, gamma!));
    await release(requestFor(c, gamma!));
  });
});
