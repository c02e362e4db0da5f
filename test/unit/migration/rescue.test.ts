/** A host takes up a VM whose holder is lost (SPEC 15.3, 15.5): by the authority's statement alone, and where everything fits. */
import assert from 'node:assert/strict';
import type { RecoveryDocument } from '../../../lib/appraisal/recovery.ts';
import { signRecovery, verifyRecovery } from '../../../lib/appraisal/recovery.ts';
import { bytesEqual } from '../../../lib/bytes/compare.ts';
import { spkiDigest, spkiOf } from '../../../lib/certificates/public-key.ts';
import { base64 } from '../../../lib/encoding/base64.ts';
import { sha256 } from '../../../lib/encoding/hash.ts';
import { escrowContext } from '../../../lib/migration/escrow.ts';
import type { Host, PolicyInForce } from '../../../lib/migration/host.ts';
import { keyContext } from '../../../lib/migration/key-context.ts';
import { rowOf } from '../../../lib/migration/lineage.ts';
import {
  decodeRescueRequest,
  encodeRescue,
  encodeRescueRequest,
} from '../../../lib/migration/rescue-file.ts';
import type { RescueRequest } from '../../../lib/migration/rescue-file.ts';
import { rescueRequest } from '../../../lib/migration/rescue-request.ts';
import { rescue } from '../../../lib/migration/rescue.ts';
import { decodeEntry, decodeSignedEntry } from '../../../lib/proof/entry.ts';
import { decodeProof, encodeProof } from '../../../lib/proof/proof.ts';
import { verifyProof } from '../../../lib/proof/verify.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import type { SimulatedHost } from '../../simulation/host.ts';
import { revocationsOf } from '../../simulation/revocation.ts';
import { Stage } from '../../simulation/stage.ts';
import { Tenant } from '../../support/proof-world.ts';
import type { WorldHost } from '../../support/proof-world.ts';
import { testKeyPair } from '../../support/test-authority.ts';

const key = spkiOf(testKeyPair().publicKey);

/** What the authority does otherwise than it should. */
interface Change {
  readonly document?: Partial<RecoveryDocument>;
  readonly request?: Partial<RescueRequest>;
  /** That is what is given out; what was signed and sealed is about the true request. */
  readonly answers?: Uint8Array;
  /** The key is sealed for this context's epoch. */
  readonly epoch?: number;
  readonly signer?: ReturnType<typeof testKeyPair>;
}

describe('a VM whose host is lost (SPEC 15)', function () {
  this.timeout(60_000);
  let stage: Stage;
  let policy: PolicyInForce | null;
  let vm: VmTruth;
  /** What the next looks at a vTPM have to wait for. */
  let holds: Promise<void>[] = [];
  /** Endorsement key of what lies in a vTPM's directory. */
  let endorsement: Uint8Array;

  beforeEach(async () => {
    policy = null;
    const alter = (host: Host): Host => ({
      ...host,
      policy: () => policy ?? host.policy(),
      bridge: {
        ...host.bridge,
        vtpmEndorsementKey: async (options) => {
          await holds.shift();
          const found = await host.bridge.vtpmEndorsementKey(options);
          stage.seals.open(options.own);
          return { ...found, publicArea: endorsement };
        },
      },
    });
    const european = (host: Host): Host => ({
      ...alter(host),
      identity: { ...host.identity, id: inEurope.id, akCertificate: inEurope.certificate },
    });
    stage = await Stage.open({ alpha: alter, beta: alter, gamma: alter });
    install(true);
    holds = [];
    endorsement = stage.alpha.enrolled.tpm.receivePublic;
    const attributes = new Map([['region', 'eu']]);
    const inEurope: WorldHost = await stage.world.enrol('alpha.test', {
      tpm: stage.world.alpha.tpm,
      attributes,
    });
    stage.alpha.alter = european;
    stage.alpha.killAgent();
    stage.alpha.startAgent();
    await stage.pass(1_000);
  });
  afterEach(() => {
    stage.close();
  });

  const install = (escrow: boolean): void => {
    const said = escrow ? { escrow: { key: base64(key) } } : {};
    const signed = stage.world.signPolicy({ version: escrow ? 4 : 5, ...said });
    policy = { policy: signed.policy, envelope: signed.text };
  };
  const services = (host: SimulatedHost) => host.agent!.services;
  const revoke = (host: SimulatedHost, ...hosts: readonly WorldHost[]): void => {
    host.revocations.learn(revocationsOf(stage.world, 1, hosts, 3_600_000));
  };
  const rescuerOf = (host: SimulatedHost) => {
    const { akCertificate, receivePublic } = services(host).host.identity;
    return { akCertificate, receivePublic };
  };
  const request = (to = stage.beta): Uint8Array =>
    rescueRequest(stage.alpha.journal as Parameters<typeof rescueRequest>[0], vm.uuid, rescuerOf(to));

  /** A VM that runs at alpha; then alpha is no more, and its disk is brought to beta. */
  async function lost(options: { readonly off?: boolean; readonly written?: boolean } = {}): Promise<void> {
    vm = await stage.vm(stage.alpha);
    if (options.written === true) {
      await stage.pass(20_000);
      stage.alpha.machine.vtpms.get(vm.uuid)!.version += 1_000;
      await stage.pass(20_000);
    }
    await stage.until(services(stage.alpha).escrow.look());
    if (options.off === true) {
      await stage.until(stage.alpha.machine.stop(vm.uuid, 'shutdown'));
      await stage.pass(2_000);
    }
    stage.alpha.killAgent();
    revoke(stage.beta, stage.alpha.enrolled);
    bring(stage.beta);
  }

  /** Definition and vTPM state, from the disk of the lost host. */
  function bring(host: SimulatedHost): void {
    const from = stage.alpha.machine.need(vm.uuid);
    const copy = host.machine.define(vm, from.base);
    copy.metadata = from.metadata;
    host.machine.vtpms.set(vm.uuid, { ...stage.alpha.machine.vtpms.get(vm.uuid)! });
  }

  /** What `tvmmp authority escrow release` makes of a request, but for what is changed. */
  function released(bytes: Uint8Array, change: Change = {}): Uint8Array {
    const { authority } = stage.world;
    const told = decodeRescueRequest(bytes);
    const asked = change.request === undefined ? bytes : encodeRescueRequest({ ...told, ...change.request });
    const proof = verifyProof(told.proof, { root: authority.root, checkpoints: 'any' });
    assert.equal(proof.outcome, 'verified');
    const { head } = proof;
    const { id } = services(stage.beta).host.identity;
    const recipient = stage.beta.enrolled.tpm.receiveKeyName;
    const statement = signRecovery(
      {
        ...{ vm: head.vm, birth: head.birth, epoch: head.epoch, head: head.head },
        lost: { name: head.holder.name, ak: head.holder.akName },
        to: { name: id.name, ak: id.akName },
        ...{ receiveKey: recipient, state: told.state, request: sha256(asked) },
        issuedAt: new Date('2026-06-02T00:00:00.000Z'),
        ...change.document,
      },
      change.signer ?? authority.policyKeys,
    );
    const { digest } = change.signer
      ? { digest: sha256(new Uint8Array()) }
      : verifyRecovery(statement, { root: authority.root, signers: [authority.policySigner] });
    const context = escrowContext({ vm: head.vm, epoch: head.epoch, holder: head.holder.akName, key });
    const sealed = stage.seals.put({
      key: stage.seals.openFor(key, told.escrowed, context),
      recipient,
      context: keyContext({ vm: head.vm, epoch: change.epoch ?? head.epoch + 1, session: digest, recipient }),
    });
    return encodeRescue({ request: change.answers ?? asked, statement, sealed });
  }
  const take = (bytes: Uint8Array, host = stage.beta): Promise<unknown> =>
    stage.until(rescue(services(host), bytes));
  const refuses = (pattern: RegExp, change: Change = {}): Promise<void> =>
    assert.rejects(take(released(request(), change)), pattern);
  /** The next look at a vTPM takes until the answer is called. */
  function held(): () => void {
    let goOn = (): void => undefined;
    holds.push(
      new Promise<void>((resolve) => {
        goOn = resolve;
      }),
    );
    return () => {
      goOn();
    };
  }
  const kinds = (host: SimulatedHost): readonly string[] =>
    host.journal.entries(vm.uuid).map((bytes) => decodeEntry(decodeSignedEntry(bytes).entry).kind);

  it('goes on at the host that the authority names, with its key, under its own escrow', async () => {
    await lost();
    await take(released(request()));
    const record = stage.record(stage.beta, vm);
    assert.deepEqual([record.state, record.epoch, record.holder], ['stopped', 1, 'beta.test']);
    assert.deepEqual(kinds(stage.beta).slice(-1), ['recovered']);
    assert.equal(stage.beta.journal.vtpmState(vm.uuid)?.standing, 'at-rest');
    assert.deepEqual(services(stage.beta).escrow.status(), [vm.uuid]);
    await stage.until(stage.beta.machine.start(vm.uuid));
    await stage.pass(2_000);
    assert.equal(stage.record(stage.beta, vm).state, 'running');
    const proof = verifyProof(services(stage.beta).chains.proof(vm.uuid), {
      root: stage.world.authority.root,
    });
    assert.equal(proof.outcome, 'verified');
    const { recoveries } = proof;
    const told = [...recoveries.values()].map(({ lost: from, to, state }) => [from.name, to.name, state]);
    assert.deepEqual(told, [['alpha.test', 'beta.test', null]]);
  });

  it('says that the vTPM is the one that the VM stopped with, where that is known', async () => {
    await lost({ off: true });
    const { state } = decodeRescueRequest(request());
    assert.ok(state !== null);
    assert.ok(bytesEqual(state, stage.alpha.journal.vtpmState(vm.uuid)!.digest!));
    await take(released(request()));
    assert.ok(bytesEqual(stage.beta.journal.vtpmState(vm.uuid)!.digest!, state));
  });

  it('is not taken up with an older vTPM, nor with another than it stopped with', async () => {
    await lost({ written: true });
    assert.ok(decodeRescueRequest(request()).past.length > 0, 'the vTPM had another state before');
    stage.beta.machine.vtpms.get(vm.uuid)!.version -= 1_000;
    await refuses(/vtpm-state-changed: the vTPM state of vm here is not the last one/);
    stage.beta.machine.vtpms.delete(vm.uuid);
    await refuses(/the vTPM state of vm is not here: bring/);
  });

  it('that was off is not taken up with a state that nobody has seen', async () => {
    await lost({ off: true });
    stage.beta.machine.vtpms.get(vm.uuid)!.version += 1_000;
    await refuses(/vtpm-state-changed/);
  });

  it('is not taken up with what is not its vTPM', async () => {
    await lost();
    endorsement = stage.world.gamma.tpm.receivePublic;
    await refuses(/what lies there is not the vTPM of vm: its endorsement key is another one/);
  });

  it('is taken up by no host that the statement is not for, nor with a key that was sealed otherwise', async () => {
    await lost();
    const { gamma } = stage.world;
    const to = { name: gamma.id.name, ak: gamma.id.akName };
    await refuses(/recovery: the recovery statement is for gamma\.test, and not for this AK of beta\.test/, {
      document: { to },
    });
    await refuses(/recovery: the key was sealed for another receive key/, {
      document: { receiveKey: gamma.tpm.receiveKeyName },
    });
    await refuses(/recovery: the key in the rescue is not sealed for this host, VM and statement/, {
      epoch: 0,
    });
    await refuses(/recovery: the statement answers another request/, {
      answers: encodeRescueRequest({ ...decodeRescueRequest(request()), name: 'another' }),
    });
  });

  it('is taken up by nobody on a statement of his own making', async () => {
    await lost();
    await assert.rejects(
      take(released(request(), { signer: testKeyPair() })),
      /no known policy key signed it/,
    );
  });

  it('is not taken up where the statement is about something else', async () => {
    await lost();
    const other = sha256(Buffer.from('other'));
    const { gamma } = stage.world;
    const lostOther = { name: gamma.id.name, ak: gamma.id.akName };
    for (const [document, pattern] of [
      [{ birth: other }, /about another birth/],
      [{ epoch: 1 }, /is about epoch 1, and the chain is in 0/],
      [{ head: other }, /about another last entry: the chain went on, or is cut off/],
      [{ lost: lostOther }, /says that gamma\.test is lost, and alpha\.test is the holder/],
      [{ vm: '00000000-0000-4000-8000-000000000001' }, /of another VM|about VM/],
    ] as const)
      await refuses(pattern, { document });
  });

  it('is not taken up on a proof that was cut off', async () => {
    await lost();
    const told = decodeProof(decodeRescueRequest(request()).proof);
    const proof = encodeProof({ ...told, entries: told.entries.slice(0, -1) });
    await refuses(/recovery: .* about another last entry/, { request: { proof } });
  });

  it('is not taken up before the lost host is revoked here, nor by a host that is revoked itself', async () => {
    await lost();
    stage.beta.revocations.inForce = null;
    await refuses(/lost-host-not-revoked: the revocation list here does not name alpha\.test/);
    revoke(stage.beta, stage.alpha.enrolled, stage.beta.enrolled);
    await refuses(/host-revoked: the authority has revoked this host \(key-compromise\)/);
  });

  it('is not taken up where the policy has no escrow any more', async () => {
    await lost();
    const bytes = released(request());
    install(false);
    await assert.rejects(take(bytes), /escrow-off: the policy in force here has no escrow/);
  });

  it('is not taken up where libvirt has no definition of it, another one, or runs one', async () => {
    await lost();
    const domain = stage.beta.machine.need(vm.uuid);
    domain.metadata = null;
    await refuses(/names another encryption secret, or is not marked as protected/);
    domain.metadata = stage.alpha.machine.need(vm.uuid).metadata;
    await refuses(/names another encryption secret/, { request: { secret: vm.uuid.replace(/^./, '0') } });
    domain.persistent = false;
    await refuses(/vm is not defined here: bring its disks/);
    domain.persistent = true;
    domain.running = { ...stage.alpha.machine.need(vm.uuid).running!, incoming: false };
    await refuses(/libvirt runs vm here; stop it first/);
  });

  /** The ledger hears that gamma has taken the VM over. */
  function heldByGamma(): void {
    const told = verifyProof(decodeRescueRequest(request()).proof, { root: stage.world.authority.root });
    const { head } = told as Extract<typeof told, { outcome: 'verified' }>;
    const { local } = services(stage.beta).host.ledger;
    const row = rowOf(head);
    const { id } = stage.world.gamma;
    local!.swapNow(local!.readNow(vm.uuid), {
      ...{ ...row, epoch: 1, sequence: row.sequence + 2 },
      holder: { name: id.name, akName: id.akName },
    });
  }

  it('is not taken up against the ledger: another host held it since', async () => {
    await lost();
    heldByGamma();
    await refuses(/ledger-conflict: the ledger says that gamma\.test holds vm in epoch 1/);
    assert.equal(stage.beta.journal.vm(vm.uuid), null, 'an older end of the chain is not remembered');
  });

  it('is not taken up against what the ledger hears meanwhile', async () => {
    await lost();
    const goOn = held();
    const slow = rescue(services(stage.beta), released(request()));
    await stage.pass(1_000);
    heldByGamma();
    goOn();
    await assert.rejects(stage.until(slow), /ledger-conflict: the ledger says that gamma\.test holds vm/);
    assert.equal(stage.record(stage.beta, vm).sealed, null);
  });

  it('is not started by the lost host that comes back and meets another, which brings the list', async () => {
    await lost();
    await take(released(request()));
    stage.alpha.startAgent();
    await stage.pass(1_000);
    await stage.until(stage.alpha.machine.stop(vm.uuid, 'shutdown'));
    const other = await stage.vm(stage.alpha);
    await assert.rejects(stage.until(stage.alpha.depart(other.uuid, stage.beta)));
    await assert.rejects(
      stage.until(stage.alpha.machine.start(vm.uuid)),
      /host-revoked: the authority has revoked/,
    );
  });

  it('is taken up once: neither again, nor after it has moved on, nor at two requests at a time', async () => {
    await lost();
    const bytes = released(request());
    const both = await Promise.allSettled([take(bytes), take(bytes)]);
    assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    assert.equal(kinds(stage.beta).filter((kind) => kind === 'recovered').length, 1);
    await assert.rejects(take(bytes), /this host has VM vm already/);
    stage.gamma.startAgent();
    await stage.pass(1_000);
    revoke(stage.gamma, stage.alpha.enrolled);
    await stage.until(stage.beta.machine.start(vm.uuid));
    await stage.pass(2_000);
    await stage.virsh(vm, stage.beta, stage.gamma);
    assert.equal(stage.record(stage.gamma, vm).state, 'running');
    bring(stage.beta);
    await assert.rejects(take(bytes), /proof: known-head/);
  });

  it('is taken up by one of two requests, though the other began before it', async () => {
    await lost();
    const bytes = released(request());
    const goOn = held();
    const slow = rescue(services(stage.beta), bytes);
    await take(bytes);
    goOn();
    await assert.rejects(stage.until(slow), /this host has VM vm already \(stopped\)/);
    assert.equal(stage.record(stage.beta, vm).state, 'stopped');
    assert.equal(kinds(stage.beta).at(-1), 'recovered');
  });

  it('is taken up at the second attempt where the TPM failed at the first', async () => {
    await lost();
    const bytes = released(request());
    stage.beta.tpm.failing = true;
    await assert.rejects(take(bytes), /TPM/);
    stage.beta.tpm.failing = false;
    await take(bytes);
    assert.equal(stage.record(stage.beta, vm).state, 'stopped');
  });

  it('is not taken up against its tenant, whatever the authority says', async () => {
    const owner = new Tenant();
    const tenant = (uuid: string, escrow?: 'no', condition = 'region == "eu"') => ({
      envelope: owner.policy(condition, 1, { vm: uuid, ...(escrow === undefined ? {} : { escrow }) }),
      keyDigest: spkiDigest(owner.keys.publicKey),
    });
    vm = await stage.vm(stage.alpha, { tenant: (uuid) => tenant(uuid, 'no') });
    await stage.until(services(stage.alpha).escrow.look());
    assert.throws(() => request(), /escrow-off: that host kept no copy of the key of vm/);
    const { sealed, context } = stage.record(stage.alpha, vm);
    const own = stage.seals.openFor(stage.alpha.enrolled.tpm.receiveKeyName, sealed!, context!);
    const of = escrowContext({ vm: vm.uuid, epoch: 0, holder: stage.alpha.enrolled.id.akName, key });
    const escrowed = stage.seals.put({ key: own, recipient: key, context: of });
    const bytes = encodeRescueRequest({
      ...{ name: 'vm', secret: stage.record(stage.alpha, vm).secret, escrowed, state: null, past: [] },
      ...{ proof: services(stage.alpha).chains.proof(vm.uuid), ...rescuerOf(stage.beta) },
    });
    revoke(stage.beta, stage.alpha.enrolled);
    bring(stage.beta);
    await assert.rejects(take(released(bytes)), /tenant-policy: the tenant of the VM forbids escrow/);
  });

  it('is asked for only where the journal holds it, at rest, with a copy in escrow', async () => {
    await lost();
    const record = stage.record(stage.alpha, vm);
    const { journal } = stage.alpha;
    for (const [change, pattern] of [
      [{ state: 'departing' }, /was on its way to another host: look there first/],
      [{ state: 'staged' }, /was not held there: alpha\.test held it since epoch 0/],
      [{ sealed: null, context: null, state: 'gone', holder: 'beta.test' }, /was not held there: beta\.test/],
    ] as const) {
      journal.putVm({ ...record, ...change });
      assert.throws(() => request(), pattern);
    }
    journal.putVm(record);
    journal.putVtpmState({ vm: vm.uuid, standing: 'rolled-back', digest: null, time: 0 });
    assert.throws(() => request(), /journal-rolled-back/);
    vm = { ...vm, uuid: '00000000-0000-4000-8000-000000000001' };
    assert.throws(() => request(), /that journal knows no VM/);
  });
});
