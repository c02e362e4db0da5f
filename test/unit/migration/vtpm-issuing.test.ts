/** Certificates of vTPMs that a host issues while it makes them (SPEC 4.5): for this VM, once for each kind of key, and handed out with their chain. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { verifyVtpmChain } from '../../../lib/certificates/vtpm-chain.ts';
import type { VtpmIssuers } from '../../../lib/certificates/vtpm-chain.ts';
import type { Host } from '../../../lib/migration/host.ts';
import { vtpmCertificate } from '../../../lib/migration/vtpm-certificate.ts';
import type { ExportedCertificate } from '../../../lib/migration/vtpm-certificate.ts';
import type { VtpmDesk } from '../../../lib/migration/vtpm-issuing.ts';
import { parseVtpmRequest } from '../../../lib/migration/vtpm-request.ts';
import { VTPM_CA_KEY_HANDLE } from '../../../lib/tpm/handles.ts';
import { ecdsaFromP1363, formatSignature } from '../../../lib/tpm/signature.ts';
import { endorsementKeyOf } from '../../../lib/tpm/templates.ts';
import { domainXml } from '../../simulation/domain.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import type { SimulatedHost } from '../../simulation/host.ts';
import { Stage } from '../../simulation/stage.ts';
import { makeVtpmCa, makeVtpmChain, makeVtpmRoot } from '../../support/vtpm-chain.ts';
import type { TestVtpmRoot } from '../../support/vtpm-chain.ts';

type Made = Awaited<ReturnType<typeof makeVtpmCa>>;

/** The words that swtpm_setup 0.7.1 gives its certificate tool. */
function wordsFor(vmId: string, key: KeyObject): readonly string[] {
  const { n = '', x = '', y = '', kty } = key.export({ format: 'jwk' });
  const hex = (text: string): string => Buffer.from(text, 'base64url').toString('hex');
  const ek = kty === 'RSA' ? hex(n) : `x=${hex(x)},y=${hex(y)},id=secp384r1`;
  return (
    `--type ek --ek ${ek} --dir /tmp/certs --vmid ${vmId} --tpm-spec-family 2.0 --tpm-spec-level 0 --tpm-spec-revision 164 ` +
    '--tpm-manufacturer id:00001014 --tpm-model swtpm --tpm-version id:20191023 --tpm2 --configfile /socket'
  ).split(' ');
}

describe('certificates of vTPMs that a host makes (SPEC 4.5)', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;
  const otherRsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey;
  let stage: Stage;
  let root: TestVtpmRoot;
  let alphaCa: Made;
  let directory: string;
  /** What swtpm_setup asks for, and what then lies in the vTPM. */
  let asks: (vmId: string) => readonly (readonly string[])[];
  let answers: (Uint8Array | Error)[];
  let inNv: () => Uint8Array;
  let desks: { opened: number; closed: number };

  beforeEach(async () => {
    stage = await Stage.open();
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-issuing-'));
    const { authority, alpha, beta } = stage.world;
    root = await makeVtpmRoot(authority);
    const caOf = (host: typeof alpha): Promise<Made> =>
      makeVtpmCa(root, { name: host.id.name, akName: host.tpm.akName });
    alphaCa = await caOf(alpha);
    asks = (vmId) => [wordsFor(vmId, rsa), wordsFor(vmId, p384)];
    answers = [];
    desks = { opened: 0, closed: 0 };
    inNv = () => answers[0] as Uint8Array;
    await has(stage.alpha, alphaCa);
    await has(stage.beta, await caOf(beta));
  });
  afterEach(() => {
    stage.close();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Gives a host a vTPM CA, with its key in software, and a swtpm_setup that asks for certificates. */
  async function has(host: SimulatedHost, made: Made | null): Promise<void> {
    host.killAgent();
    host.alter = (one) => ({
      ...one,
      identity: { ...one.identity, vtpmIssuers: made?.issuers ?? null },
      vtpmDesk: deskOf(),
      tpm: made === null ? one.tpm : { ...one.tpm, signApproved: signerOf(made) },
      bridge: bridgeOf(one, made?.issuers ?? null),
    });
    host.startAgent();
    await stage.pass(1_000);
  }

  function signerOf(made: Made): Host['tpm']['signApproved'] {
    return (handle, digest) => {
      assert.equal(handle, VTPM_CA_KEY_HANDLE);
      const key = join(directory, 'key.pem');
      writeFileSync(key, made.keys.privateKey.export({ type: 'pkcs8', format: 'pem' }));
      writeFileSync(join(directory, 'digest'), digest);
      const der = execFileSync('openssl', [
        'pkeyutl',
        '-sign',
        '-inkey',
        key,
        '-in',
        join(directory, 'digest'),
      ]);
      const half = (at: number): { bytes: Buffer; next: number } => {
        const size = der[at + 1] ?? 0;
        const integer = der.subarray(at + 2, at + 2 + size).subarray(-32);
        return { bytes: Buffer.concat([Buffer.alloc(32 - integer.length), integer]), next: at + 2 + size };
      };
      const r = half(2);
      const p1363 = Buffer.concat([r.bytes, half(r.next).bytes]);
      return Promise.resolve(formatSignature(ecdsaFromP1363(p1363, 'sha256')));
    };
  }

  let answer: Parameters<VtpmDesk>[0] | undefined;
  function deskOf(): VtpmDesk {
    return (given) => {
      answer = given;
      desks.opened += 1;
      return Promise.resolve({
        setupConfig: '/setup.conf',
        close: () => {
          desks.closed += 1;
          return Promise.resolve();
        },
      });
    };
  }

  function bridgeOf(one: Host, issuers: VtpmIssuers | null): Host['bridge'] {
    return {
      ...one.bridge,
      manufactureVtpm: async (options) => {
        assert.equal(options.setupConfig, issuers === null ? undefined : '/setup.conf');
        assert.equal(options.issuer, issuers?.ca);
        for (const words of issuers === null ? [] : asks(options.vmId)) {
          assert.ok(answer !== undefined);
          answers.push(await answer(words).catch((error: unknown) => error as Error));
        }
        return one.bridge.manufactureVtpm(options);
      },
      vtpmEndorsementKey: (options) =>
        one.bridge.vtpmEndorsementKey(options).then((read) => ({
          ...read,
          publicArea: endorsementKeyOf(rsa) ?? read.publicArea,
          certificate: inNv(),
          issuer: alphaCa.issuers.ca,
        })),
    };
  }

  /** Lets time pass until it is done. Certificates are made in threads, for which virtual time does not wait: so real time passes too. */
  async function until<T>(work: Promise<T>): Promise<T> {
    const state = { done: false };
    const settle = (): void => {
      state.done = true;
    };
    work.then(settle, settle);
    for (let waited = 0; !state.done && waited < 6_000; waited += 1) {
      await stage.pass(10);
      await delay(5);
    }
    return stage.until(work);
  }
  /** A VM that is protected at a host, and off. */
  async function born(at: SimulatedHost = stage.alpha): Promise<VmTruth> {
    const vm: VmTruth = { uuid: randomUUID(), name: 'vm', latest: 0, doubled: new Set() };
    at.machine.define(vm, domainXml(vm));
    await until(at.protect(vm.uuid));
    return vm;
  }

  const ask = (vm: VmTruth, host: SimulatedHost = stage.alpha): Promise<ExportedCertificate> =>
    stage.until(vtpmCertificate(host.agent!.services, stage.record(host, vm)));

  it('are issued for its RSA and its P-384 key, name the VM and this host, and come with their chain', async () => {
    const vm = await born();
    assert.deepEqual(desks, { opened: 1, closed: 1 });
    assert.ok(answers.length === 2 && answers.every((each) => each instanceof Uint8Array));
    const { certificate, chain, unchained } = await ask(vm);
    assert.equal(unchained, null);
    assert.ok(chain !== null);
    assert.deepEqual(certificate, answers[0]);
    const verified = verifyVtpmChain(chain, stage.world.authority.root, new Date());
    assert.equal(verified.uuid, vm.uuid);
    assert.equal(verified.issuer.host, stage.world.alpha.id.name);
    assert.ok(verified.publicKey.equals(rsa));
  });

  it('keep their chain where the VM goes, and under a renewed CA', async () => {
    const vm = await born();
    await stage.until(stage.alpha.machine.start(vm.uuid));
    await stage.pass(2_000);
    await stage.virsh(vm, stage.alpha, stage.beta);
    await stage.until(stage.beta.machine.stop(vm.uuid, 'shutdown'));
    await stage.pass(2_000);
    const { chain } = await ask(vm, stage.beta);
    assert.ok(chain !== null);
    assert.equal(
      verifyVtpmChain(chain, stage.world.authority.root, new Date()).issuer.host,
      stage.world.alpha.id.name,
    );
    inNv = () => answers[2] as Uint8Array;
    const other = await born();
    const { id, tpm } = stage.world.alpha;
    const renewed = await makeVtpmCa(root, { name: id.name, akName: tpm.akName }, { keys: alphaCa.keys });
    await has(stage.alpha, renewed);
    assert.deepEqual((await ask(other)).chain?.ca, renewed.issuers.ca);
  });

  it('are issued for no other VM, no second key of a kind, and nothing that is not an endorsement key', async () => {
    asks = (vmId) => [
      wordsFor(vmId, rsa),
      wordsFor(vmId, otherRsa),
      wordsFor(`web:${randomUUID()}`, p384),
      wordsFor(vmId, p384).with(1, 'platform'),
      wordsFor(vmId, p384).with(3, 'ab'),
    ];
    await born();
    assert.ok(answers[0] instanceof Uint8Array);
    const refusals = answers.slice(1).map(String);
    assert.match(refusals[0] ?? '', /a second rsa endorsement key/);
    assert.match(refusals[1] ?? '', /a vTPM of another VM/);
    assert.match(refusals[2] ?? '', /--type: not ek/);
    assert.match(refusals[3] ?? '', /--ek: neither an RSA modulus nor a point/);
  });

  it('stand for the vTPM that has them: one with another certificate is not protected', async () => {
    const { issuers } = alphaCa;
    const forged = await makeVtpmChain(alphaCa, { uuid: randomUUID(), publicKey: rsa });
    inNv = () => forged.certificate;
    await assert.rejects(born(), /another certificate than this host issued/);
    assert.equal(issuers.ca, alphaCa.issuers.ca);
    assert.deepEqual(desks, { opened: 1, closed: 1 });
  });

  it('of another VM, or of a CA of the host alone, are handed out without a chain, and why', async () => {
    const vm = await born();
    const record = stage.record(stage.alpha, vm);
    const { journal } = stage.alpha;
    const setting = `vtpm-certificate/${vm.uuid}`;
    const [name, own, above] = (journal.setting(setting) ?? '').split(' ');
    const elsewhere = await makeVtpmChain(alphaCa, { uuid: randomUUID(), publicKey: rsa });
    journal.putSetting(setting, `${name} ${Buffer.from(elsewhere.certificate).toString('base64')} ${above}`);
    const services = stage.alpha.agent!.services;
    const other = await stage.until(vtpmCertificate(services, record));
    assert.equal(other.chain, null);
    assert.match(other.unchained ?? '', /issued for VM/);
    // As journals of before have it.
    journal.putSetting(setting, `${name} ${own}`);
    const older = await stage.until(vtpmCertificate(services, record));
    assert.equal(older.chain, null);
    assert.match(older.unchained ?? '', /a CA of the host where the vTPM was made/);
  });

  it('are left to the host’s own tool where this host has no CA of the authority', async () => {
    await has(stage.alpha, null);
    inNv = () => new Uint8Array();
    const vm = await born();
    assert.deepEqual(desks, { opened: 0, closed: 0 });
    await assert.rejects(ask(vm), /has no certificate of its endorsement key/);
  });

  it('are asked for in the words of swtpm_setup, and in no others', () => {
    const words = wordsFor('web:x', rsa);
    assert.ok(parseVtpmRequest(words).publicKey.equals(rsa));
    assert.ok(parseVtpmRequest(wordsFor('web:x', p384)).publicKey.equals(p384));
    assert.deepEqual(parseVtpmRequest(words).vtpm.specification, { family: '2.0', level: 0, revision: 164 });
    const at = (name: string): number => words.indexOf(name) + 1;
    for (const bad of [
      words.slice(2),
      [...words, '--ek', 'ab'],
      words.slice(0, -2).concat('--vmid'),
      words.with(at('--tpm-manufacturer'), 'id:0'),
      words.with(at('--tpm-model'), 'with space'),
      words.with(at('--tpm-spec-revision'), '99999'),
      wordsFor('web:x', p384).with(3, `x=${'0'.repeat(95)}1,y=${'0'.repeat(95)}1,id=secp384r1`),
      wordsFor('web:x', p384).with(3, `x=${'0'.repeat(96)},y=${'0'.repeat(96)},id=secp256r1`),
    ])
      assert.throws(() => parseVtpmRequest(bad), { code: 'encoding-invalid' });
  });
});
