/** Who this host says it is, and that its own TPM agrees (SPEC 1.1). */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadIdentity } from '../../../lib/agent/identity.ts';
import { AGENT_FILES } from '../../../lib/authority/host-directory.ts';
import { certificateToPem } from '../../../lib/certificates/pem.ts';
import { AK_HANDLE } from '../../../lib/tpm/handles.ts';
import type { Tpm } from '../../../lib/tpm/port.ts';
import { makeWorld } from '../../support/proof-world.ts';
import type { World, WorldHost } from '../../support/proof-world.ts';

describe('the identity of a host (SPEC 1.1)', () => {
  let world: World;
  let directory: string;
  before(async () => {
    world = await makeWorld();
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-identity-'));
    const write = (file: string, der: Uint8Array): void => {
      writeFileSync(join(directory, file), certificateToPem(der));
    };
    write(AGENT_FILES.root, world.authority.root.der);
    write(AGENT_FILES.akCertificate, world.alpha.certificate);
    write(AGENT_FILES.policySigner, world.authority.policySigner);
  });
  after(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  /** A TPM with the attestation key of one host and the receive key of another. */
  function tpmWith(ak: WorldHost, receive: WorldHost): Tpm {
    const area = (handle: number): Uint8Array =>
      handle === AK_HANDLE ? ak.tpm.akPublic : receive.tpm.receivePublic;
    const name = (handle: number): Uint8Array =>
      handle === AK_HANDLE ? ak.tpm.akName : receive.tpm.receiveKeyName;
    const readPublic = (handle: number) =>
      Promise.resolve({ publicArea: area(handle), name: name(handle), qualifiedName: name(handle) });
    return { readPublic } as unknown as Tpm;
  }

  it('is that of the certificate whose keys its TPM has', async () => {
    const identity = await loadIdentity(directory, tpmWith(world.alpha, world.alpha));
    assert.deepEqual(identity.id, world.alpha.id);
  });

  it('is not that of a certificate for another TPM’s attestation key or receive key', async () => {
    for (const tpm of [tpmWith(world.beta, world.alpha), tpmWith(world.alpha, world.beta)])
      await assert.rejects(loadIdentity(directory, tpm), /TPM does not hold the keys of its certificate/);
  });
});
