/** The four messages of an enrolment (SPEC 1.2), and the refusal: one JSON object a line. */
import type { VtpmIssuers } from '../certificates/vtpm-chain.ts';
import { base64 } from '../encoding/base64.ts';
import { JsonShapeError, base64Of, objectOf, textOf } from '../encoding/json-object.ts';
import type { JsonObject } from '../encoding/json-object.ts';
import { H } from '../encoding/hash.ts';
import { limits } from '../limits.ts';
import { nameOf } from '../tpm/public-area.ts';
import type { Attestation, EkKind } from '../tpm/port.ts';
import type { Credential } from '../tpm/credential.ts';
import { enrolmentError } from './enrolment-error.ts';

/** host -> authority: keys, and what vouches for them. All of it is UNTRUSTED. */
export interface EnrolmentRequest {
  readonly ekKind: EkKind;
  /** DER of the EK certificate. */
  readonly ekCertificate: Uint8Array;
  /** TPMT_PUBLIC wire bytes. */
  readonly ekPublic: Uint8Array;
  readonly akPublic: Uint8Array;
  readonly receivePublic: Uint8Array;
  /** TPM2_Certify of the receive key by the AK. */
  readonly certification: Attestation;
  /** A host that is older than vTPM CAs has none. */
  readonly vtpmCa: VtpmCaRequest | null;
  /** DER of the platform certificate; null where the host shows none. */
  readonly platformCertificate: Uint8Array | null;
  /** PKCS #10 DER of the TLS keys. */
  readonly agentRequest: Uint8Array;
  readonly migrationRequest: Uint8Array;
}

/** The key that is to sign certificates of vTPMs, and TPM2_Certify of it by the AK. UNTRUSTED. */
export interface VtpmCaRequest {
  /** TPMT_PUBLIC wire bytes. */
  readonly publicArea: Uint8Array;
  readonly certification: Attestation;
}

/** authority -> host: what the host is given in the end. Certificates in DER. */
export interface EnrolmentIssue {
  readonly akCertificate: Uint8Array;
  readonly agentCertificate: Uint8Array;
  readonly migrationCertificate: Uint8Array;
  readonly root: Uint8Array;
  readonly policySigner: Uint8Array;
  /** For the key that the host asked for; null where it asked for none. */
  readonly vtpmIssuers: VtpmIssuers | null;
  /** DSSE envelope; null where the authority has signed no policy yet. */
  readonly policy: string | null;
  /** DSSE envelope; null where the authority has revoked nobody yet. */
  readonly revocations: string | null;
}

/** One line. */
export type EnrolmentMessage =
  | ({ readonly type: 'request' } & EnrolmentRequest)
  | ({ readonly type: 'challenge' } & Credential)
  | { readonly type: 'answer'; readonly credential: Uint8Array }
  | ({ readonly type: 'issue' } & EnrolmentIssue)
  | { readonly type: 'refused'; readonly reason: string };

const VERSION = 1;
const TPM_BYTES_MAX = 2048;
/** Members that are there together, or (from or to a host that is older than vTPM CAs) not at all. */
const VTPM_REQUEST = ['vtpmCaPublic', 'vtpmCaAttest', 'vtpmCaSignature'] as const;
const PLATFORM_REQUEST = ['platformCertificate'] as const;
const VTPM_ISSUE = ['vtpmCa', 'vtpmRoot', 'vtpmVoucher'] as const;
const EK_KINDS: readonly EkKind[] = ['ecc-p384', 'ecc-p256', 'rsa-2048'];

/**
 * Qualifying data of the certification: with it the AK vouches not only for the receive key but for this EK and these two
 * TLS requests, so that nobody between host and authority can put other TLS keys in.
 */
export function enrolmentBinding(
  request: Pick<EnrolmentRequest, 'ekPublic' | 'akPublic' | 'agentRequest' | 'migrationRequest'>,
): Uint8Array {
  const { ekPublic, akPublic, agentRequest, migrationRequest } = request;
  return H('tvmmp/enrol/1', nameOf(ekPublic), nameOf(akPublic), agentRequest, migrationRequest);
}

/** A message as one line, without its line feed. */
export function formatMessage(message: EnrolmentMessage): string {
  switch (message.type) {
    case 'request':
      return JSON.stringify({
        type: message.type,
        version: VERSION,
        ekKind: message.ekKind,
        ekCertificate: base64(message.ekCertificate),
        ekPublic: base64(message.ekPublic),
        akPublic: base64(message.akPublic),
        receivePublic: base64(message.receivePublic),
        attest: base64(message.certification.attest),
        signature: base64(message.certification.signature),
        agentRequest: base64(message.agentRequest),
        migrationRequest: base64(message.migrationRequest),
        ...(message.platformCertificate === null
          ? {}
          : { platformCertificate: base64(message.platformCertificate) }),
        ...(message.vtpmCa === null
          ? {}
          : {
              vtpmCaPublic: base64(message.vtpmCa.publicArea),
              vtpmCaAttest: base64(message.vtpmCa.certification.attest),
              vtpmCaSignature: base64(message.vtpmCa.certification.signature),
            }),
      });
    case 'challenge':
      return JSON.stringify({
        type: message.type,
        credentialBlob: base64(message.credentialBlob),
        encryptedSecret: base64(message.encryptedSecret),
      });
    case 'answer':
      return JSON.stringify({ type: message.type, credential: base64(message.credential) });
    case 'issue':
      return JSON.stringify({
        type: message.type,
        akCertificate: base64(message.akCertificate),
        agentCertificate: base64(message.agentCertificate),
        migrationCertificate: base64(message.migrationCertificate),
        root: base64(message.root),
        policySigner: base64(message.policySigner),
        policy: message.policy,
        revocations: message.revocations,
        ...(message.vtpmIssuers === null
          ? {}
          : {
              vtpmCa: base64(message.vtpmIssuers.ca),
              vtpmRoot: base64(message.vtpmIssuers.root),
              vtpmVoucher: base64(message.vtpmIssuers.voucher),
            }),
      });
    case 'refused':
      return JSON.stringify(message);
  }
}

/** Reads one line. Throws `enrolment-refused`, reason malformed. */
export function parseMessage(line: string): EnrolmentMessage {
  try {
    const value: unknown = JSON.parse(line);
    const type: unknown =
      typeof value === 'object' && value !== null && 'type' in value ? value.type : undefined;
    if (type === 'request') return { type, ...readRequest(value) };
    if (type === 'challenge') return { type, ...readChallenge(value) };
    if (type === 'answer') {
      const message = objectOf(value, 'answer', ['type', 'credential']);
      return { type, credential: base64Of(message['credential'], 'credential', 64) };
    }
    if (type === 'issue') return { type, ...readIssue(value) };
    if (type === 'refused') {
      const message = objectOf(value, 'refusal', ['type', 'reason']);
      return { type, reason: textOf(message['reason'], 'reason', /^[\x20-\x7e]{0,1024}$/) };
    }
    throw new JsonShapeError('the type of the message is unknown');
  } catch (cause) {
    if (!(cause instanceof JsonShapeError || cause instanceof SyntaxError)) throw cause;
    throw enrolmentError('malformed', `the enrolment message cannot be read: ${cause.message}`, cause);
  }
}

function readRequest(value: unknown): EnrolmentRequest {
  const tpm = ['ekPublic', 'akPublic', 'receivePublic', 'attest', 'signature'] as const;
  const certificates = ['ekCertificate', 'agentRequest', 'migrationRequest'] as const;
  const vtpm = membersThere(value, VTPM_REQUEST);
  const platform = membersThere(value, PLATFORM_REQUEST);
  const names = ['type', 'version', 'ekKind', ...certificates, ...tpm, ...platform, ...vtpm];
  const message = objectOf(value, 'request', names);
  if (message['version'] !== VERSION) throw new JsonShapeError(`the version is not ${VERSION}`);
  const ekKind = EK_KINDS.find((kind) => kind === message['ekKind']);
  if (ekKind === undefined) throw new JsonShapeError('the kind of EK is unknown');
  const wire = readBytes(message, tpm, TPM_BYTES_MAX);
  const der = readBytes(message, certificates, limits.certificateBytesMax);
  const { attest, signature, ...areas } = wire;
  return {
    ekKind,
    ...areas,
    ...der,
    certification: { attest, signature },
    platformCertificate:
      platform.length === 0
        ? null
        : readBytes(message, PLATFORM_REQUEST, limits.certificateBytesMax).platformCertificate,
    vtpmCa: vtpm.length === 0 ? null : readVtpmCa(readBytes(message, VTPM_REQUEST, TPM_BYTES_MAX)),
  };
}

function readVtpmCa(bytes: Record<(typeof VTPM_REQUEST)[number], Uint8Array>): VtpmCaRequest {
  const { vtpmCaPublic: publicArea, vtpmCaAttest: attest, vtpmCaSignature: signature } = bytes;
  return { publicArea, certification: { attest, signature } };
}

/** These names where one of them is there: then all have to be. */
function membersThere<K extends string>(value: unknown, names: readonly K[]): readonly K[] {
  const there = typeof value === 'object' && value !== null && names.some((name) => name in value);
  return there ? names : [];
}

function readChallenge(value: unknown): Credential {
  const names = ['credentialBlob', 'encryptedSecret'] as const;
  return readBytes(objectOf(value, 'challenge', ['type', ...names]), names, TPM_BYTES_MAX);
}

function readIssue(value: unknown): EnrolmentIssue {
  const names = [
    'akCertificate',
    'agentCertificate',
    'migrationCertificate',
    'root',
    'policySigner',
  ] as const;
  const vtpm = membersThere(value, VTPM_ISSUE);
  const message = objectOf(value, 'issue', ['type', ...names, 'policy', 'revocations', ...vtpm]);
  const [policy, revocations] = (['policy', 'revocations'] as const).map((name) => {
    const text = message[name];
    if (text !== null && typeof text !== 'string') throw new JsonShapeError(`${name} is no text`);
    return text;
  });
  const certificates = readBytes(message, names, limits.certificateBytesMax);
  return {
    ...certificates,
    policy: policy ?? null,
    revocations: revocations ?? null,
    vtpmIssuers: vtpm.length === 0 ? null : readVtpmIssuers(message),
  };
}

function readVtpmIssuers(message: JsonObject): VtpmIssuers {
  const { vtpmCa, vtpmRoot, vtpmVoucher } = readBytes(message, VTPM_ISSUE, limits.certificateBytesMax);
  return { ca: vtpmCa, root: vtpmRoot, voucher: vtpmVoucher };
}

function readBytes<K extends string>(
  message: JsonObject,
  names: readonly K[],
  max: number,
): Record<K, Uint8Array> {
  const entries = names.map((name) => [name, base64Of(message[name], name, max)] as const);
  return Object.fromEntries(entries) as Record<K, Uint8Array>;
}
