/** What a host attests to a tenant about a VM (SPEC 4.3): only what it holds, with the whole proof, and not as often as anybody likes. */
import assert from 'node:assert/strict';
import { sha256 } from '../../../lib/encoding/hash.ts';
import { limits } from '../../../lib/limits.ts';
import { Attestations } from '../../../lib/migration/attestation.ts';
import type { Services } from '../../../lib/migration/services.ts';
import type { Attested } from '../../../lib/migration/attestation.ts';
import { verifyAttestation } from '../../../lib/proof/attestation.ts';
import type { VerifiedAttestation } from '../../../lib/proof/attestation.ts';
import type { ProofFault } from '../../../lib/proof/fault.ts';
import { verifyProof } from '../../../lib/proof/verify.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import type { SimulatedHost } from '../../simulation/host.ts';
import { stageBeforeEach } from '../../simulation/stage.ts';
import type { Stage } from '../../simulation/stage.ts';
import { worldStart } from '../../support/proof-world.ts';

const nonce = sha256(Buffer.from('drawn by the tenant'));

describe('attestation of a VM to its tenant (SPEC 4.3)', () => {
  let stage: Stage;
  let vm: VmTruth;
  stageBeforeEach(async (opened) => {
    stage = opened;
    vm = await stage.vm(stage.alpha);
  });

  const attestations = (host: SimulatedHost): Attestations => new Attestations(host.agent!.services);
  const attest = (host: SimulatedHost, drawn = nonce): Promise<Attested> =>
    stage.until(attestations(host).attest(stage.record(host, vm), drawn));

  function judge({ attestation, proof: bytes }: Attested, drawn = nonce): VerifiedAttestation | ProofFault {
    const { root } = stage.world.authority;
    const proof = verifyProof(bytes, { root });
    assert.ok(proof.outcome === 'verified');
    return verifyAttestation(attestation, {
      root,
      proof,
      nonce: drawn,
      now: new Date(worldStart + stage.kernel.time),
      revocations: null,
    });
  }

  it('holds for the nonce, and for no other', async () => {
    const attested = await attest(stage.alpha);
    const held = judge(attested);
    assert.ok(held.outcome === 'verified', JSON.stringify(held));
    assert.deepEqual([held.host.name, held.pcrState], ['alpha.test', 'base']);
    const other = judge(attested, sha256(Buffer.from('another')));
    assert.ok(other.outcome === 'fault' && other.check === 'nonce');
  });

  it('is of the host that holds the VM now: after a move of the next one, and of the one before no more', async () => {
    await stage.virsh(vm, stage.alpha, stage.beta);
    const held = judge(await attest(stage.beta));
    assert.ok(held.outcome === 'verified' && held.host.name === 'beta.test', JSON.stringify(held));
    await assert.rejects(attest(stage.alpha), /vm is held by beta\.test: only its holder can attest it/);
  });

  it('is refused where this host is not the holder, has not the key, or has the VM staged', async () => {
    const record = stage.record(stage.alpha, vm);
    for (const change of [{ holder: 'beta.test' }, { sealed: null }, { state: 'staged' as const }]) {
      stage.alpha.journal.putVm({ ...record, ...change });
      await assert.rejects(attest(stage.alpha), /only its holder can attest it/);
    }
  });

  it('is refused while the VM departs', async () => {
    const { services } = stage.alpha.agent!;
    const members = { peer: stage.world.beta.id, session: nonce, verdict: nonce };
    await stage.until(services.chains.append(vm.uuid, { kind: 'departing', ...members }));
    await assert.rejects(attest(stage.alpha), /vm is departing/);
  });

  it('is refused where another host says that the VM arrived there', async () => {
    const id = new Uint8Array(32);
    const { journal } = stage.alpha;
    const session = {
      id,
      vm: vm.uuid,
      role: 'source',
      state: 'open',
      peer: 'beta.test',
      address: '',
    } as const;
    journal.openSession({ ...session, started: 0, updated: 0 });
    journal.changeSession(id, { state: 'resolved' }, 0);
    journal.noteProblem(id, 'hand-over-conflict: both have it', 0);
    await assert.rejects(
      attest(stage.alpha),
      /^Refused: hand-over-conflict: another host says that vm arrived/,
    );
  });

  it('is refused where the ledger knows of a later holder', async () => {
    const { alpha } = stage;
    const row = alpha.agent!.services.host.ledger.local!.readNow(vm.uuid)!;
    const later = { ...row, epoch: row.epoch + 1, sequence: row.sequence + 2, head: nonce };
    alpha.agent!.services.host.ledger.local!.swapNow(row, later);
    await assert.rejects(attest(stage.alpha), /ledger-conflict/);
  });

  it('is refused in a state that the policy does not approve: nobody would believe it', async () => {
    stage.alpha.boot('evil');
    await assert.rejects(attest(stage.alpha), /pcr-state: alpha\.test is in no approved state/);
  });

  /** Has the chain of the VM grow by an entry while the TPM signs an attestation for the first time. */
  function meanwhile(append: (services: Services) => Promise<unknown>): Attestations {
    const { services } = stage.alpha.agent!;
    const { quotes } = services;
    let first = true;
    const sign: Services['quotes']['sign'] = async (...asked) => {
      const signed = await quotes.sign(...asked);
      if (first) {
        first = false;
        await append(services);
      }
      return signed;
    };
    return new Attestations({ ...services, quotes: { sign } as unknown as Services['quotes'] });
  }

  it('names the entry that the proof ends with, even where the VM was paused while the TPM was at work', async () => {
    const paused = meanwhile(({ chains }) => chains.append(vm.uuid, { kind: 'suspended' }));
    const attested = await stage.until(paused.attest(stage.record(stage.alpha, vm), nonce));
    const held = judge(attested);
    assert.equal(held.outcome, 'verified', JSON.stringify(held));
    assert.equal(stage.alpha.agent!.services.chains.state(vm.uuid)?.state, 'paused');
  });

  it('is not handed out where the VM began to leave while the TPM was at work', async () => {
    const members = { peer: stage.world.beta.id, session: nonce, verdict: nonce };
    const leaving = meanwhile(({ chains }) => chains.append(vm.uuid, { kind: 'departing', ...members }));
    await assert.rejects(
      stage.until(leaving.attest(stage.record(stage.alpha, vm), nonce)),
      /vm is departing/,
    );
  });

  it('takes no nonce that somebody could have guessed, or that is too long', async () => {
    for (const bytes of [0, limits.attestationNonceBytesMin - 1, limits.attestationNonceBytesMax + 1])
      await assert.rejects(attest(stage.alpha, new Uint8Array(bytes)), /a nonce has 16 to 64 bytes/);
  });

  it('is refused to whoever asks for too many at once, or too many in a row', async () => {
    const one = attestations(stage.alpha);
    const ask = (): Promise<Attested> => one.attest(stage.record(stage.alpha, vm), nonce);
    const many = Array.from({ length: limits.attestationsAtOnceMax + 1 }, ask);
    const last = many.pop()!;
    await assert.rejects(last, /too many attestations/);
    const quotes = stage.alpha.agent!.services.quotes.count;
    await stage.until(Promise.all(many));
    assert.equal(stage.alpha.agent!.services.quotes.count, quotes + 1, 'they share a quote');
    // Time passes meanwhile, and makes room for some more.
    const inARow = async (): Promise<number> => {
      for (let made = 0; made < 4 * limits.attestationsBurst; made += 1) {
        const asked = stage.until(ask());
        if ((await Promise.allSettled([asked]))[0].status === 'fulfilled') continue;
        await assert.rejects(asked, /too many attestations/);
        return made;
      }
      throw new assert.AssertionError({ message: 'it is never too many' });
    };
    const first = (await inARow()) + limits.attestationsAtOnceMax;
    assert.ok(first >= limits.attestationsBurst && first < 2 * limits.attestationsBurst, String(first));
    await stage.pass(60_000);
    const next = await inARow();
    assert.ok(next >= limits.attestationsPerMinute && next < 2 * limits.attestationsPerMinute, String(next));
  });
});
