import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { initAuthority } from '../../../lib/authority/authority.ts';
import type { Authority } from '../../../lib/authority/authority.ts';
import { parseBundle } from '../../../lib/authority/bundle.ts';
import { loadEndorsementTrust } from '../../../lib/authority/endorsement.ts';
import type { EnrolmentReason } from '../../../lib/authority/enrolment-error.ts';
import { AuthorityEnrolment } from '../../../lib/authority/enrolment.ts';
import { enrolmentBinding, formatMessage, parseMessage } from '../../../lib/authority/enrolment-messages.ts';
import type { EnrolmentMessage, EnrolmentRequest } from '../../../lib/authority/enrolment-messages.ts';
import { enrolSession } from '../../../lib/authority/enrol-session.ts';
import type { EnrolSessionOptions } from '../../../lib/authority/enrol-session.ts';
import { beginHostEnrolment, enrolHost } from '../../../lib/authority/host-enrolment.ts';
import type { HostEnrolment, HostEnrolmentOptions } from '../../../lib/authority/host-enrolment.ts';
import { readVtpmIssuers } from '../../../lib/authority/host-directory.ts';
import { reinstateHost } from '../../../lib/authority/revocations.ts';
import { receivePolicyOf } from '../../../lib/appraisal/policy.ts';
import { createCertificateRequest } from '../../../lib/certificates/certificate-request.ts';
import {
  verifyAgentCertificate,
  verifyHostCertificate,
  verifyMigrationCertificate,
} from '../../../lib/certificates/host-certificate.ts';
import { certificateFromPem } from '../../../lib/certificates/pem.ts';
import { verifyVtpmIssuers } from '../../../lib/certificates/vtpm-chain.ts';
import { TvmmpError } from '../../../lib/errors.ts';
import { FfiTpm } from '../../../lib/tpm/ffi/adapter.ts';
import { AK_HANDLE, RECEIVE_KEY_HANDLE, VTPM_CA_KEY_HANDLE } from '../../../lib/tpm/handles.ts';
import { policyKeyPublicArea } from '../../../lib/tpm/policy.ts';
import { formatPublicArea, keyObjectOf, parsePublicArea } from '../../../lib/tpm/public-area.ts';
import type { PublicArea } from '../../../lib/tpm/public-area.ts';
import { ecdsaFromP1363, formatSignature } from '../../../lib/tpm/signature.ts';
import { duplexPipe } from '../../support/duplex-pipe.ts';
import { makePlatformCertificate } from '../../support/platform-certificate.ts';
import { Swtpm, swtpmMissing } from '../../support/swtpm.ts';
import { testKeyPair } from '../../support/test-authority.ts';
import { policyText } from './policy-fixture.ts';
import { skipWithout } from '../../support/skip.ts';

function refused(...reasons: EnrolmentReason[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof TvmmpError, String(error));
    assert.equal(error.code, 'enrolment-refused', error.message);
    assert.ok(reasons.includes(error.details['reason'] as EnrolmentReason), error.message);
    return true;
  };
}

/** A swtpm with EK certificates, and the port to it. */
interface TestHost {
  readonly swtpm: Swtpm;
  readonly tpm: FfiTpm;
  readonly ekRoots: string;
}

async function makeHost(): Promise<TestHost> {
  const swtpm = await Swtpm.start({ manufacture: true });
  return { swtpm, tpm: new FfiTpm({ tcti: swtpm.tcti }), ekRoots: join(swtpm.directory, 'ca') };
}

describe('enrolment of a host with a TPM', function () {
  this.timeout(120_000);
  let directory: string;
  let authority: Authority;
  let hostA: TestHost;
  let hostB: TestHost;
  let count = 0;

  before(async function () {
    skipWithout(this, swtpmMissing());
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-enrol-'));
    authority = await initAuthority(join(directory, 'authority'), { name: 'Test' });
    authority.signPolicyText(policyText(1));
    hostA = await makeHost();
    hostB = await makeHost();
  });
  after(async () => {
    for (const host of [hostA, hostB]) {
      await host.tpm.close();
      await host.swtpm.close();
    }
    authority.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const now = (): Date => new Date();
  const bundle = (): HostEnrolmentOptions['bundle'] => parseBundle(authority.publicBundle(), now());
  const newName = (): string => `host-${(count += 1)}.example`;
  const begin = (host: TestHost, options: Partial<HostEnrolmentOptions> = {}): Promise<HostEnrolment> =>
    beginHostEnrolment(host.tpm, { bundle: bundle(), ...options });
  const authoritySide = (
    host: TestHost,
    options: { name?: string; replace?: boolean } = {},
  ): AuthorityEnrolment =>
    new AuthorityEnrolment(authority, {
      hostName: options.name ?? newName(),
      addresses: [],
      trust: loadEndorsementTrust(host.ekRoots),
      replace: options.replace ?? true,
    });
  /** What the authority says to a request that the test has meddled with. */
  const askWith = async (
    host: TestHost,
    change: (request: EnrolmentRequest) => Partial<EnrolmentRequest>,
  ): Promise<EnrolmentMessage> => {
    const { request } = await begin(host);
    const message = { type: 'request', ...request, ...change(request) } as const;
    return authoritySide(host).receive(message, now());
  };
  const directoriesOf = (name: string): { identity: string; migrationTls: string } => {
    const identity = join(directory, name);
    return { identity, migrationTls: join(identity, 'migration-tls') };
  };
  /** Both ends over a pipe. */
  const enrol = async (
    host: TestHost,
    authorityOptions: Partial<EnrolSessionOptions> = {},
    hostOptions: Partial<HostEnrolmentOptions> = {},
  ): Promise<{ name: string; directories: ReturnType<typeof directoriesOf> }> => {
    const [hostEnd, authorityEnd] = duplexPipe();
    const hostName = authorityOptions.hostName ?? newName();
    const directories = directoriesOf(`dir-${(count += 1)}`);
    const ended = Promise.allSettled([
      enrolSession(authority, authorityEnd.input, authorityEnd.output, {
        addresses: ['127.0.0.1', 'fd00::7'],
        ekRoots: host.ekRoots,
        ...authorityOptions,
        hostName,
      }).finally(() => authorityEnd.output.end()),
      enrolHost(host.tpm, hostEnd.input, hostEnd.output, {
        bundle: bundle(),
        directories,
        ...hostOptions,
      }).finally(() => hostEnd.output.end()),
    ]);
    const [authorityResult, hostResult] = await ended;
    if (authorityResult.status === 'rejected') throw authorityResult.reason;
    if (hostResult.status === 'rejected') throw hostResult.reason;
    return { name: hostResult.value, directories };
  };

  it('writes verified certificates, keys with mode 0600 and the signed policy', async () => {
    const { name, directories } = await enrol(
      hostA,
      { hostName: 'first.example' },
      { expectedName: 'first.example' },
    );
    assert.equal(name, 'first.example');
    const file = (path: string): string => readFileSync(path, 'utf8');
    const der = (path: string): Uint8Array => certificateFromPem(file(path));
    const { identity, migrationTls } = directories;
    const host = verifyHostCertificate(der(join(identity, 'ak.pem')), authority.root, now());
    assert.deepEqual(Buffer.from(host.akName), Buffer.from((await hostA.tpm.readPublic(AK_HANDLE)).name));
    const receive = await hostA.tpm.readPublic(RECEIVE_KEY_HANDLE);
    assert.deepEqual(Buffer.from(host.receiveKeyName), Buffer.from(receive.name));
    const issuers = readVtpmIssuers(identity);
    assert.ok(issuers !== null);
    const { ca } = verifyVtpmIssuers(issuers, authority.root, now());
    assert.equal(ca.host, name);
    assert.deepEqual(Buffer.from(ca.akName), Buffer.from(host.akName));
    assert.equal(ca.notAfter.getTime(), host.notAfter.getTime());
    const { publicArea: caArea } = await hostA.tpm.readPublic(VTPM_CA_KEY_HANDLE);
    assert.ok(ca.publicKey.equals(keyObjectOf(parsePublicArea(caArea))));
    const recorded = authority.hosts().find((each) => each.name === name)?.vtpmCa;
    assert.deepEqual(Uint8Array.from(recorded ?? []), issuers.ca);
    const receivePolicy = receivePolicyOf(authority.signer.spki);
    assert.deepEqual(Buffer.from(parsePublicArea(receive.publicArea).authPolicy), Buffer.from(receivePolicy));
    const agent = verifyAgentCertificate(der(join(identity, 'agent-cert.pem')), authority.root, now());
    const migration = verifyMigrationCertificate(
      der(join(migrationTls, 'server-cert.pem')),
      authority.root,
      now(),
    );
    for (const certificate of [host, agent, migration]) assert.equal(certificate.name, name);
    assert.deepEqual(agent.addresses, ['127.0.0.1', 'fd00::7']);
    const keys = ['agent-key.pem', 'migration-tls/server-key.pem', 'migration-tls/client-key.pem'];
    for (const key of keys) {
      assert.equal(statSync(join(identity, key)).mode & 0o777, 0o600);
      createPrivateKey(file(join(identity, key)));
    }
    assert.equal(file(join(identity, 'policy.json')), authority.currentPolicy());
    assert.deepEqual(der(join(identity, 'authority.pem')), authority.root.der);
    assert.deepEqual(readdirSync(migrationTls).sort(), [
      'ca-cert.pem',
      'client-cert.pem',
      'client-key.pem',
      'server-cert.pem',
      'server-key.pem',
    ]);
    const verify = ['verify', '-x509_strict', '-CAfile', join(migrationTls, 'ca-cert.pem')];
    execFileSync('openssl', [
      ...verify,
      join(migrationTls, 'server-cert.pem'),
      join(identity, 'agent-cert.pem'),
    ]);
  });

  for (const ekKind of ['ecc-p384', 'rsa-2048'] as const) {
    it(`works with an EK of the kind ${ekKind} and an RSA attestation key`, async () => {
      const { directories } = await enrol(
        hostA,
        { replace: true },
        { ekKind, keyAlgorithm: 'rsa-2048', replaceKeys: true },
      );
      const der = certificateFromPem(readFileSync(join(directories.identity, 'ak.pem'), 'utf8'));
      assert.equal(verifyHostCertificate(der, authority.root, now()).publicKey.asymmetricKeyType, 'rsa');
      await hostA.tpm.provision({
        keyAlgorithm: 'ecc-p256',
        receivePolicy: receivePolicyOf(authority.signer.spki),
        replace: true,
      });
    });
  }

  it("the host's TPM accepts the approvals in the signed policy, and none of another key", async () => {
    const { states, policyRef, signerSpki } = authority.verifyPolicy(authority.currentPolicy() ?? '', now());
    const approve = (spki: Uint8Array): Promise<unknown>[] => {
      const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
      return states.map(({ approvedPolicy, approval }) => {
        const signature = formatSignature(ecdsaFromP1363(approval, 'sha256'));
        return hostA.tpm.verifyPolicyApproval(policyKeyPublicArea(key), approvedPolicy, policyRef, signature);
      });
    };
    assert.equal((await Promise.all(approve(signerSpki))).length, 1);
    const other = testKeyPair().publicKey.export({ type: 'spki', format: 'der' });
    await assert.rejects(Promise.all(approve(other)), { code: 'tpm-call-failed' });
  });

  it('a TPM without the kind of EK that is asked for is refused', async () => {
    await assert.rejects(begin(hostA, { ekKind: 'ecc-p256' }), refused('ek-missing'));
  });

  it('a second enrolment of a name, or of a TPM, is refused unless the operator replaces the first', async () => {
    const { name } = await enrol(hostA, { replace: true });
    await assert.rejects(enrol(hostB, { hostName: name }), refused('already-enrolled'));
    await assert.rejects(enrol(hostA), refused('already-enrolled'));
    assert.deepEqual(await enrol(hostB, { hostName: name, replace: true }).then((done) => done.name), name);
    assert.equal(authority.hosts().filter((host) => host.name === name).length, 1);
    await assert.rejects(enrol(hostA, { replace: true }), refused('revoked'));
    reinstateHost(authority, name, now());
    const other = await enrol(hostB, { replace: true });
    assert.deepEqual(
      authority
        .hosts()
        .filter((host) => [name, other.name].includes(host.name))
        .map((host) => host.name),
      [other.name],
    );
  });

  it('an EK certificate of a manufacturer that the operator did not name is refused', async () => {
    await assert.rejects(enrol(hostA, { ekRoots: hostB.ekRoots, replace: true }), refused('ek-untrusted'));
  });

  it('an EK certificate that is not valid yet is refused', async () => {
    const { request } = await begin(hostA);
    const asked = authoritySide(hostA).receive(
      { type: 'request', ...request },
      new Date('2001-01-01T00:00:00Z'),
    );
    await assert.rejects(asked, refused('ek-untrusted'));
  });

  it('another EK than that of the certificate is refused', async () => {
    const other = await hostB.tpm.createEk('ecc-p384');
    await assert.rejects(
      askWith(hostA, () => ({ ekPublic: other.publicArea })),
      refused('ek-mismatch'),
    );
    await assert.rejects(
      askWith(hostA, () => ({ ekKind: 'rsa-2048' })),
      refused('ek-mismatch'),
    );
    await assert.rejects(
      askWith(hostA, () => ({ ekPublic: randomBytes(90) })),
      refused('ek-mismatch'),
    );
  });

  it('certificates that are none of an EK are refused', async () => {
    const ca = readFileSync(join(hostA.ekRoots, 'issuercert.pem'), 'utf8');
    const ekCertificate = certificateFromPem(ca);
    await assert.rejects(
      askWith(hostA, () => ({ ekCertificate })),
      refused('ek-untrusted'),
    );
    const ended = Uint8Array.of(...(await begin(hostA)).request.ekCertificate, 0);
    await assert.rejects(
      askWith(hostA, () => ({ ekCertificate: ended })),
      refused('ek-untrusted'),
    );
  });

  it('an attestation key that is not restricted, or may leave its TPM, is refused', async () => {
    const restricted = 1 << 16;
    const fixedTpm = 1 << 1;
    for (const bit of [restricted, fixedTpm]) {
      const change = ({ akPublic }: EnrolmentRequest): Partial<EnrolmentRequest> => {
        const area = parsePublicArea(akPublic);
        return { akPublic: formatPublicArea({ ...area, attributes: area.attributes & ~bit }) };
      };
      await assert.rejects(askWith(hostA, change), refused('ak-unsuitable'));
    }
    await assert.rejects(
      askWith(hostA, () => ({ akPublic: randomBytes(60) })),
      refused('ak-unsuitable'),
    );
  });

  it("the attestation key of another TPM cannot answer: the credential is for the EK's TPM alone", async () => {
    const own = await begin(hostA);
    const other = await begin(hostB);
    const named = { ...other.request, ekKind: own.request.ekKind, ekPublic: own.request.ekPublic };
    const certification = await hostB.tpm.certify(RECEIVE_KEY_HANDLE, AK_HANDLE, enrolmentBinding(named));
    const request = { ...named, ekCertificate: own.request.ekCertificate, certification, vtpmCa: null };
    const side = authoritySide(hostA);
    const challenge = await side.receive({ type: 'request', ...request }, now());
    await assert.rejects(own.answer(challenge), TvmmpError, 'the TPM of the EK lacks that AK');
    await assert.rejects(other.answer(challenge), TvmmpError, 'the TPM of the AK lacks that EK');
    const guess = { type: 'answer', credential: randomBytes(32) } as const;
    await assert.rejects(side.receive(guess, now()), refused('answer-wrong'));
    await assert.rejects(side.receive(guess, now()), refused('out-of-turn'));
  });

  it('an answer of another length, or to another challenge, is refused', async () => {
    for (const credential of [new Uint8Array(1), new Uint8Array(33)]) {
      const side = authoritySide(hostA);
      const { request } = await begin(hostA);
      await side.receive({ type: 'request', ...request }, now());
      await assert.rejects(side.receive({ type: 'answer', credential }, now()), refused('answer-wrong'));
    }
    const guessing = authoritySide(hostA);
    const guessed = await begin(hostA);
    const posed = await guessing.receive({ type: 'request', ...guessed.request }, now());
    const wrong = { type: 'answer', credential: new Uint8Array(32) } as const;
    await assert.rejects(guessing.receive(wrong, now()), refused('answer-wrong'));
    const right = await guessed.answer(posed);
    await assert.rejects(guessing.receive(right, now()), refused('out-of-turn'), 'a second guess');
    const [first, second] = [authoritySide(hostA), authoritySide(hostA)];
    const enrolment = await begin(hostA);
    const challenge = await first.receive({ type: 'request', ...enrolment.request }, now());
    await second.receive({ type: 'request', ...enrolment.request }, now());
    const answer = await enrolment.answer(challenge);
    await assert.rejects(second.receive(answer, now()), refused('answer-wrong'));
  });

  it('messages out of turn are refused', async () => {
    const answer = { type: 'answer', credential: new Uint8Array(32) } as const;
    await assert.rejects(authoritySide(hostA).receive(answer, now()), refused('out-of-turn'));
    const side = authoritySide(hostA);
    const { request } = await begin(hostA);
    await side.receive({ type: 'request', ...request }, now());
    await assert.rejects(side.receive({ type: 'request', ...request }, now()), refused('out-of-turn'));
    const enrolment = await begin(hostA);
    await assert.rejects(enrolment.answer(answer), refused('out-of-turn'));
  });

  it('a receive key that another policy key guards is refused', async () => {
    const change = ({ receivePublic }: EnrolmentRequest): Partial<EnrolmentRequest> => {
      const area = parsePublicArea(receivePublic);
      return { receivePublic: formatPublicArea({ ...area, authPolicy: randomBytes(32) }) };
    };
    await assert.rejects(askWith(hostA, change), refused('receive-key-unsuitable'));
    const open = ({ receivePublic }: EnrolmentRequest): Partial<EnrolmentRequest> => {
      const area = parsePublicArea(receivePublic);
      return { receivePublic: formatPublicArea({ ...area, attributes: area.attributes | (1 << 6) }) };
    };
    await assert.rejects(askWith(hostA, open), refused('receive-key-unsuitable'));
  });

  it('a vTPM CA key that is of another kind, or that another policy key guards, or that the AK did not certify, is refused', async () => {
    const changed =
      (change: (area: PublicArea) => Partial<PublicArea>) =>
      ({ vtpmCa }: EnrolmentRequest): Partial<EnrolmentRequest> => {
        assert.ok(vtpmCa !== null);
        const area = parsePublicArea(vtpmCa.publicArea);
        const publicArea = formatPublicArea({ ...area, ...change(area) } as PublicArea);
        return { vtpmCa: { ...vtpmCa, publicArea } };
      };
    for (const change of [
      changed(() => ({ authPolicy: randomBytes(32) })),
      changed(({ attributes }) => ({ attributes: attributes | (1 << 6) })), // userWithAuth
      changed(({ attributes }) => ({ attributes: attributes & ~(1 << 1) })), // not fixedTPM
      ({ vtpmCa, receivePublic }: EnrolmentRequest): Partial<EnrolmentRequest> =>
        vtpmCa === null ? {} : { vtpmCa: { ...vtpmCa, publicArea: receivePublic } },
    ])
      await assert.rejects(askWith(hostA, change), refused('vtpm-ca-key-unsuitable'));
    const theirs = (await begin(hostB)).request.vtpmCa;
    assert.ok(theirs !== null);
    await assert.rejects(
      askWith(hostA, () => ({ vtpmCa: theirs })),
      refused('certification-invalid'),
    );
    await assert.rejects(
      askWith(hostA, ({ vtpmCa, certification }) =>
        vtpmCa === null ? {} : { vtpmCa: { ...vtpmCa, certification } },
      ),
      refused('certification-invalid'),
    );
  });

  it('a host that is older than vTPM CAs enrols without one', async () => {
    const name = newName();
    const side = authoritySide(hostA, { name });
    const enrolment = await begin(hostA);
    const request = parseMessage(formatMessage({ type: 'request', ...enrolment.request, vtpmCa: null }));
    const challenge = await side.receive(request, now());
    const issue = await side.receive(await enrolment.answer(challenge), now());
    assert.ok(issue.type === 'issue' && issue.vtpmIssuers === null);
    assert.ok(!formatMessage(issue).includes('vtpm'), 'nothing that such a host cannot read');
    assert.equal(authority.hosts().find((host) => host.name === name)?.vtpmCa, null);
    // A host that asked for one does not go without.
    assert.throws(() => enrolment.accept(issue, now()), refused('issue-invalid'));
  });

  it('a certification for another key, another EK or other TLS keys, or a quote, is refused', async () => {
    const theirs = await begin(hostB);
    const { receivePublic, certification } = theirs.request;
    await assert.rejects(
      askWith(hostA, () => ({ receivePublic })),
      refused('certification-invalid'),
    );
    await assert.rejects(
      askWith(hostA, () => ({ certification })),
      refused('certification-invalid'),
    );
    const unsigned = ({ certification: own }: EnrolmentRequest): Partial<EnrolmentRequest> => ({
      certification: { ...own, signature: own.signature.with(-1, (own.signature.at(-1) ?? 0) ^ 1) },
    });
    await assert.rejects(askWith(hostA, unsigned), refused('certification-invalid'));
    const agentRequest = await createCertificateRequest(testKeyPair());
    await assert.rejects(
      askWith(hostA, () => ({ agentRequest })),
      refused('certification-invalid'),
    );
    await assert.rejects(
      askWith(hostA, () => ({ migrationRequest: agentRequest })),
      refused('certification-invalid'),
    );
    const { request } = await begin(hostA);
    const quote = await hostA.tpm.quote(AK_HANDLE, enrolmentBinding(request), [
      { bank: 'sha256', pcrs: [0] },
    ]);
    const asked = authoritySide(hostA).receive({ type: 'request', ...request, certification: quote }, now());
    await assert.rejects(asked, refused('certification-invalid'));
  });

  it('a TLS request that its key did not sign is refused, though the AK vouches for it', async () => {
    const { request } = await begin(hostA);
    const agentRequest = Uint8Array.from(request.agentRequest);
    agentRequest.set(randomBytes(8), agentRequest.length - 8);
    const changed = { ...request, agentRequest, vtpmCa: null };
    const certification = await hostA.tpm.certify(RECEIVE_KEY_HANDLE, AK_HANDLE, enrolmentBinding(changed));
    const asked = authoritySide(hostA).receive({ type: 'request', ...changed, certification }, now());
    await assert.rejects(asked, refused('tls-request-invalid'));
  });

  it('the host refuses what another authority, or another name, or other keys are in', async () => {
    const issueFor = async (
      host: TestHost,
      name: string,
    ): Promise<{ enrolment: HostEnrolment; issue: EnrolmentMessage }> => {
      const side = authoritySide(host, { name });
      const enrolment = await begin(host, { expectedName: 'wanted.example' });
      const challenge = await side.receive({ type: 'request', ...enrolment.request }, now());
      return { enrolment, issue: await side.receive(await enrolment.answer(challenge), now()) };
    };
    const misnamed = await issueFor(hostA, newName());
    assert.throws(() => misnamed.enrolment.accept(misnamed.issue, now()), refused('name-mismatch'));
    const own = await issueFor(hostA, 'wanted.example');
    const theirs = await issueFor(hostB, 'other.example');
    assert.equal(own.enrolment.accept(own.issue, now()).name, 'wanted.example');
    assert.throws(() => own.enrolment.accept(theirs.issue, now()), refused('issue-invalid'));
    assert.throws(() => own.enrolment.accept(own.issue, new Date('2200-01-01')), refused('issue-invalid'));
    const issue = own.issue as Extract<EnrolmentMessage, { type: 'issue' }>;
    const their = theirs.issue as Extract<EnrolmentMessage, { type: 'issue' }>;
    const other = await initAuthority(join(directory, `other-${(count += 1)}`), { name: 'Test' });
    const changes: Partial<typeof issue>[] = [
      { root: other.root.der },
      { policySigner: other.signerCertificate },
      { akCertificate: their.akCertificate },
      { agentCertificate: their.agentCertificate },
      { migrationCertificate: their.migrationCertificate },
      { agentCertificate: issue.migrationCertificate },
      { vtpmIssuers: their.vtpmIssuers },
      { vtpmIssuers: null },
      { policy: other.signPolicyText(policyText(1)) },
      { policy: '{}' },
    ];
    other.close();
    for (const change of changes) {
      assert.throws(() => own.enrolment.accept({ ...issue, ...change }, now()), refused('issue-invalid'));
    }
  });

  it('a name that is not the one the host wants leaves its directories untouched', async () => {
    const wanted = { expectedName: 'wanted.example' };
    await assert.rejects(enrol(hostA, { replace: true }, wanted), refused('name-mismatch'));
    const last = join(directory, `dir-${count}`);
    assert.throws(() => readdirSync(last), { code: 'ENOENT' });
  });

  describe('where the authority asks for a platform certificate (SPEC 1.4)', () => {
    let roots: string;
    let signer: Uint8Array;
    let key: ReturnType<typeof createPrivateKey>;

    before(() => {
      roots = join(directory, 'machines');
      mkdirSync(roots);
      const [keyFile, pemFile] = [join(directory, 'maker.key'), join(roots, 'maker.pem')];
      execFileSync('openssl', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', keyFile]);
      const usage = 'keyUsage=critical,keyCertSign,digitalSignature';
      const subject = ['-subj', '/O=Makers/CN=Maker', '-days', '30', '-addext', usage];
      execFileSync('openssl', ['req', '-x509', '-new', '-key', keyFile, ...subject, '-out', pemFile]);
      signer = certificateFromPem(readFileSync(pemFile, 'utf8'));
      key = createPrivateKey(readFileSync(keyFile));
    });

    const of = async (host: TestHost): Promise<Uint8Array> => {
      const { ekCertificate } = (await begin(host)).request;
      return makePlatformCertificate({ ekCertificate, signer, key });
    };
    const hostNow = (name: string) => authority.hosts().find((host) => host.name === name);
    const attributesOf = (name: string): object => {
      const { akCertificate } = hostNow(name)!;
      return Object.fromEntries(verifyHostCertificate(akCertificate, authority.root, now()).attributes);
    };
    const platform = {
      platform_manufacturer: 'Example Corp',
      platform_model: 'RackServer 9',
      platform_version: 'rev 2',
    };

    it('it is kept, and what it says is in the attributes if the operator wants that; a renewal keeps both', async () => {
      const platformCertificate = await of(hostA);
      const attributes = new Map([['region', 'eu']]);
      const terms = { replace: true, platformRoots: roots, platformAttributes: true, attributes };
      const { name } = await enrol(hostA, terms, { platformCertificate });
      assert.deepEqual(
        Buffer.from(hostNow(name)?.platformCertificate ?? []),
        Buffer.from(platformCertificate),
      );
      assert.deepEqual(attributesOf(name), { ...platform, region: 'eu' });
      await enrol(hostA, { hostName: name, renew: true });
      assert.deepEqual(
        Buffer.from(hostNow(name)?.platformCertificate ?? []),
        Buffer.from(platformCertificate),
      );
      assert.deepEqual(attributesOf(name), { ...platform, region: 'eu' });
      const plain = await enrol(hostA, { replace: true, platformRoots: roots }, { platformCertificate });
      assert.deepEqual(attributesOf(plain.name), {});
    });

    it('a host without one, or with that of another machine, is refused', async () => {
      const terms = { replace: true, platformRoots: roots };
      await assert.rejects(enrol(hostA, terms), refused('platform-missing', 'refused-by-authority'));
      // swtpm's CAs have one name, and begin with one serial number, wherever they are.
      const platformCertificate = makePlatformCertificate({ ekCertificate: signer, signer, key });
      await assert.rejects(
        enrol(hostA, terms, { platformCertificate }),
        refused('platform-untrusted', 'refused-by-authority'),
      );
    });

    it('it is not looked at where nobody asks, nor kept', async () => {
      const { name } = await enrol(hostA, { replace: true }, { platformCertificate: Uint8Array.of(1, 2, 3) });
      assert.equal(hostNow(name)?.platformCertificate, null);
    });

    it('attributes of it are asked for with roots alone, and once', async () => {
      const usage = { code: 'usage-invalid' };
      await assert.rejects(enrol(hostA, { replace: true, platformAttributes: true }), usage);
      const attributes = new Map([['platform_model', 'mine']]);
      const terms = { replace: true, platformRoots: roots, platformAttributes: true, attributes };
      await assert.rejects(enrol(hostA, terms), usage);
    });
  });

  it('messages survive the way to text and back', async () => {
    const { request } = await begin(hostA, { platformCertificate: Uint8Array.of(0x30, 0) });
    const message = { type: 'request', ...request } as const;
    const line = formatMessage(message);
    assert.ok(!line.includes('\n'));
    assert.equal(formatMessage(parseMessage(line)), line);
  });
});
