/** The revocation list of a host that runs (SPEC 1.3): on disk, in force, and from peers. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Revocations } from '../../../lib/agent/revocations.ts';
import { signRevocations } from '../../../lib/appraisal/revocation.ts';
import { AGENT_FILES } from '../../../lib/authority/host-directory.ts';
import { certificateToPem } from '../../../lib/certificates/pem.ts';
import type { HostIdentity, Log } from '../../../lib/migration/host.ts';
import { makeTestAuthority } from '../../support/test-authority.ts';
import type { TestAuthority } from '../../support/test-authority.ts';

describe('the revocation list of a host that runs (SPEC 1.3)', () => {
  let authority: TestAuthority;
  let directory: string;
  let identity: HostIdentity;
  const ignore = (): void => undefined;
  const log: Log = { debug: ignore, info: ignore, warn: ignore, error: ignore };
  const ownKey = Uint8Array.from([0, 11, ...new Uint8Array(32)]);

  before(async () => {
    authority = await makeTestAuthority();
    // Of an identity, a list needs no more than this.
    identity = {
      id: { akName: ownKey },
      root: authority.root,
      signerCertificates: [authority.policySigner],
    } as unknown as HostIdentity;
  });
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-revocations-'));
    writeFileSync(join(directory, AGENT_FILES.root), certificateToPem(authority.root.der));
    writeFileSync(join(directory, AGENT_FILES.policySigner), certificateToPem(authority.policySigner));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  const list = (version: number, by: TestAuthority = authority): string => {
    const issuedAt = new Date('2026-06-01T00:00:00Z');
    const hosts = version < 3 ? [] : [{ host: 'alpha', akName: ownKey, since: issuedAt, reason: 'stolen' }];
    return signRevocations({ version, issuedAt, hosts }, by.policyKeys);
  };
  const versionOf = ({ inForce }: Revocations): number | undefined => inForce?.list.version;
  const open = (): Revocations => new Revocations(directory, identity, log);

  it('is in force at once where it is newer', () => {
    const revocations = open();
    assert.equal(revocations.inForce, null);
    assert.equal(revocations.install(list(2)), 2);
    assert.equal(versionOf(revocations), 2);
    assert.equal(revocations.ownReason, null);
    revocations.learn(list(3));
    assert.equal(versionOf(revocations), 3);
    assert.equal(revocations.ownReason, 'stolen');
    assert.equal(versionOf(open()), 3, 'after a restart too');
  });

  it('does not go back', () => {
    const revocations = open();
    revocations.install(list(2));
    assert.throws(() => revocations.install(list(1)), /below 2, in force/);
    assert.equal(versionOf(revocations), 2);
  });

  it('of a peer is no news where it is older, and an error where it does not verify', async () => {
    const revocations = open();
    revocations.install(list(2));
    const written = readFileSync(join(directory, AGENT_FILES.revocations), 'utf8');
    revocations.learn(list(1));
    assert.equal(versionOf(revocations), 2);
    const foreign = list(4, await makeTestAuthority('Other'));
    assert.throws(() => {
      revocations.learn(foreign);
    }, /no known policy key signed it/);
    assert.throws(() => {
      revocations.learn('{}');
    });
    assert.equal(versionOf(revocations), 2);
    assert.equal(readFileSync(join(directory, AGENT_FILES.revocations), 'utf8'), written);
  });
});
