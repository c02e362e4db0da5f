/** The host's side of an enrolment (SPEC 1.2). */
import { generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Readable, Writable } from 'node:stream';
import { receivePolicyOf, verifySignedPolicy } from '../appraisal/policy.ts';
import type { PolicyTrust } from '../appraisal/policy.ts';
import { revocationOf, verifySignedRevocations } from '../appraisal/revocation.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { createCertificateRequest } from '../certificates/certificate-request.ts';
import {
  verifyAgentCertificate,
  verifyHostCertificate,
  verifyMigrationCertificate,
} from '../certificates/host-certificate.ts';
import type { HostCertificate } from '../certificates/host-certificate.ts';
import type { KeyPair } from '../certificates/issue.ts';
import { verifyVtpmIssuers } from '../certificates/vtpm-chain.ts';
import type { VtpmIssuers } from '../certificates/vtpm-chain.ts';
import { TvmmpError } from '../errors.ts';
import { AK_HANDLE, RECEIVE_KEY_HANDLE, VTPM_CA_KEY_HANDLE } from '../tpm/handles.ts';
import type { AkAlgorithm, EkCertificate, EkKind, ProvisionedKeys, Tpm } from '../tpm/port.ts';
import { keyObjectOf, parsePublicArea } from '../tpm/public-area.ts';
import type { Bundle } from './bundle.ts';
import { enrolmentError } from './enrolment-error.ts';
import { enrolmentBinding, formatMessage, parseMessage } from './enrolment-messages.ts';
import type { EnrolmentIssue, EnrolmentMessage, EnrolmentRequest } from './enrolment-messages.ts';
import { writeHostDirectories } from './host-directory.ts';
import type { HostCredentials, HostDirectories } from './host-directory.ts';
import { LineChannel } from './line-channel.ts';

/** How a host enrols. */
export interface HostEnrolmentOptions {
  readonly bundle: Bundle;
  /** Default: ecc-p256. */
  readonly keyAlgorithm?: AkAlgorithm;
  /** Which EK to show; default: the first of ecc-p256, ecc-p384, rsa-2048 that has a certificate. */
  readonly ekKind?: EkKind;
  /** Make new keys where the TPM holds ours already, but of another kind or another authority. */
  readonly replaceKeys?: boolean;
  /** DER of the platform certificate to show. */
  readonly platformCertificate?: Uint8Array;
  /** The name that this host wants: any other one is refused. */
  readonly expectedName?: string;
}

const EK_ORDER: readonly EkKind[] = ['ecc-p256', 'ecc-p384', 'rsa-2048'];

/** One enrolment of this host, after `beginHostEnrolment`. */
export class HostEnrolment {
  readonly request: EnrolmentRequest;
  readonly #tpm: Tpm;
  readonly #keys: ProvisionedKeys;
  readonly #agentKeys: KeyPair;
  readonly #migrationKeys: KeyPair;
  readonly #options: HostEnrolmentOptions;

  constructor(
    tpm: Tpm,
    options: HostEnrolmentOptions,
    made: { request: EnrolmentRequest; keys: ProvisionedKeys; agentKeys: KeyPair; migrationKeys: KeyPair },
  ) {
    this.#tpm = tpm;
    this.#options = options;
    this.request = made.request;
    this.#keys = made.keys;
    this.#agentKeys = made.agentKeys;
    this.#migrationKeys = made.migrationKeys;
  }

  /** Answers a challenge: only the TPM of the EK that also holds the AK can. */
  async answer(message: EnrolmentMessage): Promise<EnrolmentMessage> {
    const challenge = expect(message, 'challenge');
    const { credentialBlob, encryptedSecret } = challenge;
    const { ekKind } = this.request;
    const credential = await this.#tpm.activateCredential(AK_HANDLE, ekKind, credentialBlob, encryptedSecret);
    return { type: 'answer', credential };
  }

  /** Verifies what was issued: of the authority that the bundle names, for our keys, under one name. */
  accept(message: EnrolmentMessage, at: Date): HostCredentials {
    const issue = expect(message, 'issue');
    try {
      return this.#accept(issue, at);
    } catch (cause) {
      if (!(cause instanceof TvmmpError) || cause.code === 'enrolment-refused') throw cause;
      throw enrolmentError(
        'issue-invalid',
        `what the authority issued is not accepted: ${cause.message}`,
        cause,
      );
    }
  }

  #accept(issue: EnrolmentIssue, at: Date): HostCredentials {
    const { bundle, expectedName } = this.#options;
    const { root } = bundle;
    if (!bytesEqual(issue.root, root.der) || !bytesEqual(issue.policySigner, bundle.signerCertificate)) {
      throw enrolmentError('issue-invalid', 'the authority is another one than that of the bundle');
    }
    const host = verifyHostCertificate(issue.akCertificate, root, at);
    const agent = verifyAgentCertificate(issue.agentCertificate, root, at);
    const migration = verifyMigrationCertificate(issue.migrationCertificate, root, at);
    const { ak, receiveKey } = this.#keys;
    const ours =
      bytesEqual(host.akName, ak.name) &&
      bytesEqual(host.receiveKeyName, receiveKey.name) &&
      host.publicKey.equals(keyObjectOf(parsePublicArea(ak.publicArea))) &&
      agent.publicKey.equals(this.#agentKeys.publicKey) &&
      migration.publicKey.equals(this.#migrationKeys.publicKey);
    if (!ours) throw enrolmentError('issue-invalid', 'the certificates are not for the keys of this host');
    const names = [agent.name, migration.name, expectedName ?? host.name];
    if (names.some((name) => name !== host.name)) {
      throw enrolmentError('name-mismatch', `the authority knows this host as ${host.name}`);
    }
    this.#checkVtpmIssuers(issue.vtpmIssuers, host, at);
    const trust = { root, signers: [bundle.signerCertificate], at };
    if (issue.policy !== null) {
      verifySignedPolicy(issue.policy, trust);
    }
    if (issue.revocations !== null && revokes(issue.revocations, trust, host.akName))
      throw enrolmentError('issue-invalid', 'the authority sent a list that revokes this host');
    const { policySigner, vtpmIssuers, policy, revocations } = issue;
    const { akCertificate, agentCertificate, migrationCertificate } = issue;
    return {
      name: host.name,
      root,
      policySigner,
      policy,
      revocations,
      vtpmIssuers,
      akCertificate,
      agentCertificate,
      agentKey: this.#agentKeys.privateKey,
      migrationCertificate,
      migrationKey: this.#migrationKeys.privateKey,
    };
  }

  /** The vTPM CA is of a root that the authority vouches for, for our key, under our name. */
  #checkVtpmIssuers(
    issuers: VtpmIssuers | null,
    { name, akName }: Pick<HostCertificate, 'name' | 'akName'>,
    at: Date,
  ): void {
    if (issuers === null) throw enrolmentError('issue-invalid', 'the authority certified no vTPM CA');
    const { ca } = verifyVtpmIssuers(issuers, this.#options.bundle.root, at);
    const key = keyObjectOf(parsePublicArea(this.#keys.vtpmCaKey.publicArea));
    if (ca.host !== name || !bytesEqual(ca.akName, akName) || !ca.publicKey.equals(key))
      throw enrolmentError('issue-invalid', 'the vTPM CA is not of this host');
  }
}

/** Makes this host's keys and its request. Throws `enrolment-refused` (ek-missing), and what the TPM port throws. */
export async function beginHostEnrolment(tpm: Tpm, options: HostEnrolmentOptions): Promise<HostEnrolment> {
  const ekCertificate = chooseEk(await tpm.ekCertificates(), options.ekKind);
  const ek = await tpm.createEk(ekCertificate.kind);
  const keys = await tpm.provision({
    keyAlgorithm: options.keyAlgorithm ?? 'ecc-p256',
    receivePolicy: receivePolicyOf(options.bundle.signer.spki),
    replace: options.replaceKeys ?? false,
  });
  const agentKeys = newTlsKeys();
  const migrationKeys = newTlsKeys();
  const named = {
    ekPublic: ek.publicArea,
    akPublic: keys.ak.publicArea,
    agentRequest: await createCertificateRequest(agentKeys),
    migrationRequest: await createCertificateRequest(migrationKeys),
  };
  const binding = enrolmentBinding(named);
  const certification = await tpm.certify(RECEIVE_KEY_HANDLE, AK_HANDLE, binding);
  const vtpmCa = {
    publicArea: keys.vtpmCaKey.publicArea,
    certification: await tpm.certify(VTPM_CA_KEY_HANDLE, AK_HANDLE, binding),
  };
  const request = {
    ...named,
    ekKind: ekCertificate.kind,
    ekCertificate: ekCertificate.der,
    receivePublic: keys.receiveKey.publicArea,
    certification,
    platformCertificate: options.platformCertificate ?? null,
    vtpmCa,
  };
  return new HostEnrolment(tpm, options, { request, keys, agentKeys, migrationKeys });
}

/**
 * Enrols this host over a pipe and writes its directories. Throws `enrolment-refused` (details: EnrolmentReason; the
 * authority's own refusal is `refused-by-authority`, with its words), and what the TPM port throws. Returns the name.
 */
export async function enrolHost(
  tpm: Tpm,
  input: Readable,
  output: Writable,
  options: HostEnrolmentOptions & {
    readonly directories: HostDirectories;
    readonly deadlineMs?: number;
    readonly now?: () => Date;
  },
): Promise<string> {
  const { directories, deadlineMs, now = () => new Date() } = options;
  const enrolment = await beginHostEnrolment(tpm, options);
  const channel = new LineChannel(input, output, deadlineMs);
  await channel.send(formatMessage({ type: 'request', ...enrolment.request }));
  const challenge = parseMessage(await channel.receive());
  await channel.send(formatMessage(await enrolment.answer(challenge)));
  const issue = parseMessage(await channel.receive());
  const at = now();
  const credentials = enrolment.accept(issue, at);
  writeHostDirectories(directories, credentials, at);
  return credentials.name;
}

function revokes(envelope: string, trust: PolicyTrust, akName: Uint8Array): boolean {
  return revocationOf(verifySignedRevocations(envelope, trust), akName) !== undefined;
}

function chooseEk(found: readonly EkCertificate[], wanted: EkKind | undefined): EkCertificate {
  const kinds = wanted === undefined ? EK_ORDER : [wanted];
  const chosen = kinds.flatMap((kind) => found.filter((certificate) => certificate.kind === kind))[0];
  if (chosen === undefined) {
    throw enrolmentError(
      'ek-missing',
      `the TPM holds no certificate for an EK of the kind ${kinds.join(' or ')}`,
    );
  }
  return chosen;
}

function newTlsKeys(): { privateKey: KeyObject; publicKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

/** The message where it is of this type; the authority's refusal, with its words, as an error. */
function expect<T extends EnrolmentMessage['type']>(
  message: EnrolmentMessage,
  type: T,
): Extract<EnrolmentMessage, { type: T }> {
  if (message.type === type) return message as Extract<EnrolmentMessage, { type: T }>;
  if (message.type === 'refused') {
    throw enrolmentError('refused-by-authority', `the authority refused the enrolment: ${message.reason}`);
  }
  throw enrolmentError('out-of-turn', `a message of type ${message.type} was not expected`);
}
