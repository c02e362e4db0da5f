/** The authority's side of an enrolment (SPEC 1.2) without input or output: message in, message out. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { receivePolicyOf } from '../appraisal/policy.ts';
import { bytesEqual } from '../bytes/compare.ts';
import type { HostAttributes } from '../certificates/attributes.ts';
import { verifyCertificateRequest } from '../certificates/certificate-request.ts';
import { verifyHostCertificate } from '../certificates/host-certificate.ts';
import {
  issueAgentCertificate,
  issueHostCertificate,
  issueMigrationCertificate,
} from '../certificates/issue.ts';
import type { Issuer, Validity } from '../certificates/issue.ts';
import type { VtpmIssuers } from '../certificates/vtpm-chain.ts';
import { issueVtpmCa } from '../certificates/vtpm-ca.ts';
import { TvmmpError } from '../errors.ts';
import { parseAttest } from '../tpm/attest.ts';
import { makeCredential } from '../tpm/credential.ts';
import type { Attestation } from '../tpm/port.ts';
import { keyObjectOf, nameOf, parsePublicArea } from '../tpm/public-area.ts';
import { parseSignature, verifySignature } from '../tpm/signature.ts';
import {
  akTemplate,
  ekTemplate,
  matchesTemplate,
  receiveKeyTemplate,
  vtpmCaTemplate,
} from '../tpm/templates.ts';
import type { Authority, VtpmIssuer } from './authority.ts';
import { verifyEkCertificate } from './endorsement.ts';
import type { EndorsementTrust } from './endorsement.ts';
import { enrolmentError } from './enrolment-error.ts';
import type { EnrolmentReason } from './enrolment-error.ts';
import { enrolmentBinding } from './enrolment-messages.ts';
import type { EnrolmentMessage, EnrolmentRequest, VtpmCaRequest } from './enrolment-messages.ts';
import { platformAttributes, verifyPlatformCertificate } from './platform.ts';
import type { PlatformTerms } from './platform.ts';
import { currentRevocations, recordEnrolment } from './revocations.ts';

const CREDENTIAL_BYTES = 32;

/** What the authority's operator decides. */
export interface EnrolmentTerms {
  readonly hostName: string;
  /** IP addresses for the TLS certificates. */
  readonly addresses: readonly string[];
  readonly trust: EndorsementTrust;
  /** Whose platform certificates are believed: then a host has to show one. Without, none is looked at, nor kept. */
  readonly platform?: PlatformTerms;
  /** End earlier enrolments of this name or TPM, and revoke their keys where they are others. */
  readonly replace: boolean;
  /** Only new certificates for the enrolment that there is. */
  readonly renew?: boolean;
  /** How long the certificates are good for; five years unless said. */
  readonly days?: number;
  /** What the authority says of the host; a renewal without them keeps those that there are. */
  readonly attributes?: HostAttributes;
}

/** Keys of a request that passed every check but one: that the AK is in the TPM of the EK. */
interface CheckedKeys {
  readonly ekName: Uint8Array;
  readonly akName: Uint8Array;
  readonly receiveKeyName: Uint8Array;
  readonly akKey: KeyObject;
  readonly agentKey: KeyObject;
  readonly migrationKey: KeyObject;
  /** Null where the host has no such key. */
  readonly vtpmCaKey: KeyObject | null;
  readonly ekCertificate: Uint8Array;
  readonly platform: CheckedPlatform | null;
}

/** A platform certificate that was verified, and what it adds to the host's attributes. */
interface CheckedPlatform {
  readonly der: Uint8Array;
  readonly attributes: HostAttributes;
}

type State =
  | { readonly step: 'request' }
  | { readonly step: 'answer'; readonly keys: CheckedKeys; readonly credential: Uint8Array }
  | { readonly step: 'done' };

/** One enrolment. A refusal ends it: every later message is out of turn. */
export class AuthorityEnrolment {
  readonly #authority: Authority;
  readonly #issuer: Issuer;
  readonly #terms: EnrolmentTerms;
  #state: State = { step: 'request' };
  #issued = false;

  /** Throws `authority-invalid` where the root key cannot be used: before the host has done anything. */
  constructor(authority: Authority, terms: EnrolmentTerms) {
    this.#authority = authority;
    this.#issuer = authority.issuer();
    this.#terms = terms;
  }

  /** True when the host's certificates are recorded and ready to be sent. */
  get issued(): boolean {
    return this.#issued;
  }

  /** Takes the host's message and returns the reply to it. Throws `enrolment-refused` (details: EnrolmentReason). */
  async receive(message: EnrolmentMessage, now: Date): Promise<EnrolmentMessage> {
    const state = this.#state;
    this.#state = { step: 'done' };
    if (state.step === 'request' && message.type === 'request') {
      const keys = await checkRequest(message, this.#authority, this.#terms, now);
      const credential = randomBytes(CREDENTIAL_BYTES);
      const challenge = makeCredential(message.ekPublic, keys.akName, credential);
      this.#state = { step: 'answer', keys, credential };
      return { type: 'challenge', ...challenge };
    }
    if (state.step === 'answer' && message.type === 'answer') {
      const { credential } = message;
      const right =
        credential.byteLength === CREDENTIAL_BYTES && timingSafeEqual(credential, state.credential);
      if (!right)
        throw enrolmentError('answer-wrong', 'the attestation key is not in the TPM of the EK certificate');
      const issue = await this.#issue(state.keys, now);
      this.#issued = true;
      return issue;
    }
    throw enrolmentError('out-of-turn', `a message of type ${message.type} was not expected`);
  }

  /** Certifies the keys, and records that before the host is told. */
  async #issue(keys: CheckedKeys, now: Date): Promise<EnrolmentMessage> {
    const authority = this.#authority;
    const { hostName: name, addresses, replace, renew = false, days } = this.#terms;
    const said = this.#terms.attributes ?? (renew ? attributesNow(authority, name) : new Map());
    const attributes: HostAttributes = new Map([...said, ...(keys.platform?.attributes ?? [])]);
    const issuer = this.#issuer;
    const validity = authority.hostValidity(now, days);
    const certificates = {
      akCertificate: await issueHostCertificate(issuer, { name, ...keys, attributes }, keys.akKey, validity),
      agentCertificate: await issueAgentCertificate(issuer, { name, addresses }, keys.agentKey, validity),
      migrationCertificate: await issueMigrationCertificate(
        issuer,
        { name, addresses },
        keys.migrationKey,
        validity,
      ),
    };
    const { ekName, akName, receiveKeyName, ekCertificate, vtpmCaKey } = keys;
    const vtpmIssuers =
      vtpmCaKey === null
        ? null
        : await vtpmIssuersFor(await authority.vtpmIssuer(now), { name, akName }, vtpmCaKey, validity);
    const vtpmCa = vtpmIssuers?.ca ?? null;
    recordEnrolment(
      authority,
      {
        ...{ name, ekName, akName, receiveKeyName, ekCertificate, ...certificates, vtpmCa },
        platformCertificate: keys.platform?.der ?? (renew ? platformNow(authority, name) : null),
        time: now.getTime(),
      },
      { replace: replace || renew },
    );
    return {
      type: 'issue',
      ...certificates,
      root: authority.root.der,
      policySigner: authority.signerCertificate,
      vtpmIssuers,
      policy: authority.currentPolicy(),
      revocations: currentRevocations(authority),
    };
  }
}

/** Certifies a host's vTPM CA key, for as long as its other certificates. */
async function vtpmIssuersFor(
  issuer: VtpmIssuer,
  host: { readonly name: string; readonly akName: Uint8Array },
  key: KeyObject,
  validity: Validity,
): Promise<VtpmIssuers> {
  const ca = await issueVtpmCa(issuer, host, key, validity);
  return { ca, root: issuer.certificate.der, voucher: issuer.voucher };
}

/** The platform certificate that the enrolment of a name has. */
function platformNow(authority: Authority, name: string): Uint8Array | null {
  return authority.hosts().find((host) => host.name === name)?.platformCertificate ?? null;
}

/** Attributes that the enrolment of a name has; its certificate may have expired meanwhile. */
function attributesNow(authority: Authority, name: string): HostAttributes {
  const current = authority.hosts().find((host) => host.name === name);
  if (current === undefined) return new Map();
  return verifyHostCertificate(current.akCertificate, authority.root, new Date(current.time)).attributes;
}

async function checkRequest(
  request: EnrolmentRequest,
  authority: Authority,
  terms: EnrolmentTerms,
  now: Date,
): Promise<CheckedKeys> {
  const ekCertificate = checkEk(request, terms.trust, now);
  const platform = checkPlatform(request, terms.platform, now);
  const akKey = checkAk(request);
  checkReceiveKey(request, receivePolicyOf(authority.signer.spki));
  checkCertification(request, akKey, request.receivePublic, request.certification);
  const vtpmCaKey =
    request.vtpmCa === null
      ? null
      : checkVtpmCaKey(request, request.vtpmCa, akKey, receivePolicyOf(authority.signer.spki));
  const [agentKey, migrationKey] = await checkTlsRequests(request);
  const names = {
    ekName: nameOf(request.ekPublic),
    akName: nameOf(request.akPublic),
    receiveKeyName: nameOf(request.receivePublic),
  };
  const { registry } = authority;
  registry.assertNotRevoked(names.akName);
  if (terms.renew === true) registry.assertRenewal({ name: terms.hostName, ...names });
  else if (!terms.replace) registry.assertFree({ name: terms.hostName, ...names });
  return {
    ...names,
    akKey,
    agentKey,
    migrationKey,
    vtpmCaKey,
    ekCertificate,
    platform,
  };
}

/** The EK is of the profile's template, and a manufacturer certified this very key. */
function checkEk(request: EnrolmentRequest, trust: EndorsementTrust, now: Date): Uint8Array {
  const certificate = refusing('ek-untrusted', 'the EK certificate is not accepted', () =>
    verifyEkCertificate(request.ekCertificate, trust, now),
  );
  const matches = refusing('ek-mismatch', 'the public area of the EK cannot be read', () => {
    const key = keyObjectOf(parsePublicArea(request.ekPublic));
    return matchesTemplate(request.ekPublic, ekTemplate(request.ekKind)) && key.equals(certificate.publicKey);
  });
  if (!matches) throw enrolmentError('ek-mismatch', 'the EK is not the key of the EK certificate');
  return certificate.der;
}

/** In which machine the TPM sits, where the operator asks for a manufacturer's word on it. */
function checkPlatform(
  { platformCertificate: der, ekCertificate }: EnrolmentRequest,
  terms: PlatformTerms | undefined,
  now: Date,
): CheckedPlatform | null {
  if (terms === undefined) return null;
  if (der === null)
    throw enrolmentError(
      'platform-missing',
      'the authority wants a platform certificate (tvmmp host enroll --platform-certificate)',
    );
  const platform = refusing('platform-untrusted', 'the platform certificate is not accepted', () =>
    verifyPlatformCertificate(der, ekCertificate, terms.trust, now),
  );
  return { der, attributes: terms.attributes ? platformAttributes(platform) : new Map() };
}

/** A restricted signing key that cannot leave its TPM: of our own template. */
function checkAk({ akPublic }: EnrolmentRequest): KeyObject {
  const [suitable, key] = refusing('ak-unsuitable', 'the public area of the AK cannot be read', () => [
    matchesTemplate(akPublic, akTemplate('ecc-p256')) || matchesTemplate(akPublic, akTemplate('rsa-2048')),
    keyObjectOf(parsePublicArea(akPublic)),
  ]);
  if (!suitable)
    throw enrolmentError('ak-unsuitable', 'the AK is not a restricted signing key that stays in its TPM');
  return key;
}

/** A decryption key (SPEC 5.2) that only the authority's policy key can approve the use of. */
function checkReceiveKey({ receivePublic }: EnrolmentRequest, policy: Uint8Array): void {
  const suitable = refusing(
    'receive-key-unsuitable',
    'the public area of the receive key cannot be read',
    () => {
      keyObjectOf(parsePublicArea(receivePublic));
      return matchesTemplate(receivePublic, receiveKeyTemplate(policy));
    },
  );
  if (!suitable) {
    throw enrolmentError(
      'receive-key-unsuitable',
      "the receive key is not guarded by this authority's policy key",
    );
  }
}

/** A signing key of the AK's TPM (SPEC 1.1) that only the authority's policy key can approve the use of. */
function checkVtpmCaKey(
  request: EnrolmentRequest,
  { publicArea, certification }: VtpmCaRequest,
  akKey: KeyObject,
  policy: Uint8Array,
): KeyObject {
  const key = refusing('vtpm-ca-key-unsuitable', 'the public area of the vTPM CA key cannot be read', () =>
    matchesTemplate(publicArea, vtpmCaTemplate(policy)) ? keyObjectOf(parsePublicArea(publicArea)) : null,
  );
  if (key === null) {
    throw enrolmentError(
      'vtpm-ca-key-unsuitable',
      "the vTPM CA key is not guarded by this authority's policy key",
    );
  }
  checkCertification(request, akKey, publicArea, certification);
  return key;
}

/** TPM2_Certify: the AK saw a key in its own TPM, and speaks for this EK and these TLS requests. */
function checkCertification(
  request: EnrolmentRequest,
  akKey: KeyObject,
  publicArea: Uint8Array,
  { attest, signature }: Attestation,
): void {
  const good = refusing('certification-invalid', 'the certification of a key cannot be read', () => {
    if (!verifySignature(akKey, attest, parseSignature(signature))) return false;
    const certified = parseAttest(attest);
    return (
      certified.type === 'certify' &&
      bytesEqual(certified.name, nameOf(publicArea)) &&
      bytesEqual(certified.extraData, enrolmentBinding(request))
    );
  });
  if (!good) {
    throw enrolmentError('certification-invalid', 'the AK did not certify this key for this enrolment');
  }
}

async function checkTlsRequests(request: EnrolmentRequest): Promise<readonly [KeyObject, KeyObject]> {
  try {
    const agent = await verifyCertificateRequest(request.agentRequest);
    const migration = await verifyCertificateRequest(request.migrationRequest);
    return [agent, migration];
  } catch (cause) {
    if (!(cause instanceof TvmmpError)) throw cause;
    throw enrolmentError(
      'tls-request-invalid',
      `a TLS certificate request is not accepted: ${cause.message}`,
      cause,
    );
  }
}

/** Runs a check on what the host sent; what cannot be read is a refusal with this reason. */
function refusing<T>(reason: EnrolmentReason, message: string, check: () => T): T {
  try {
    return check();
  } catch (cause) {
    if (!(cause instanceof TvmmpError)) throw cause;
    throw enrolmentError(reason, `${message}: ${cause.message}`, cause);
  }
}
