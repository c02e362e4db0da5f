/** Endorsement keys, made from their templates for each use, and credential activation with them. */
import { TvmmpError } from '../../errors.ts';
import { OBJECT_ATTRIBUTE, TPM_ALG } from '../algorithms.ts';
import { EK_NV } from '../handles.ts';
import type { EkKind, TpmPublic } from '../port.ts';
import { formatPublicArea, nameOf, parsePublicArea } from '../public-area.ts';
import { ekTemplate } from '../templates.ts';
import { ByteWriter } from '../../bytes/writer.ts';
import { NONE, NULL, PASSWORD, input, output, unused, word } from './connection.ts';
import type { Connection } from './connection.ts';
import { nvReadIfPresent } from './nv.ts';
import {
  RH_ENDORSEMENT,
  createPrimary,
  sized,
  structure,
  unsized,
  withTransient,
  wordOf,
} from './objects.ts';

const SESSION_POLICY = 1;

/** The EK's public area and name; the key itself is flushed again. */
export function createEk(connection: Connection, kind: EkKind): TpmPublic {
  const { object, publicArea } = createPrimary(connection, RH_ENDORSEMENT, templateFor(connection, kind));
  return withTransient(connection, object, () => ({ publicArea, name: nameOf(publicArea) }));
}

/** TPM2_ActivateCredential (Part 3, 12.5): the AK takes its password in the ADMIN role, the EK its own policy. */
export function activateCredential(
  connection: Connection,
  akHandle: number,
  kind: EkKind,
  credentialBlob: Uint8Array,
  encryptedSecret: Uint8Array,
): Uint8Array {
  const ak = connection.object(akHandle);
  const { object: ek, publicArea } = createPrimary(connection, RH_ENDORSEMENT, templateFor(connection, kind));
  const activate = (authorization: number): Uint8Array =>
    unsized(
      structure(
        connection.send(
          'ActivateCredential',
          ak,
          ek,
          PASSWORD,
          authorization,
          NONE,
          input('TPM2B_ID_OBJECT', credentialBlob),
          input('TPM2B_ENCRYPTED_SECRET', encryptedSecret),
          output('TPM2B_DIGEST'),
        ),
      ),
      64,
    );
  return withTransient(connection, ek, () => {
    if ((parsePublicArea(publicArea).attributes & OBJECT_ATTRIBUTE.userWithAuth) !== 0)
      return activate(PASSWORD);
    const session = startPolicySession(connection);
    return withTransient(connection, session, () => {
      policySecretEndorsement(connection, session);
      return activate(session);
    });
  });
}

/** The manufacturer's own template or nonce in NV memory takes precedence (EK Credential Profile 2.2.1.4). */
function templateFor(connection: Connection, kind: EkKind): Uint8Array {
  const own = nvReadIfPresent(connection, EK_NV[kind].template);
  if (own !== undefined) return own;
  const template = ekTemplate(kind);
  const nonce = nvReadIfPresent(connection, EK_NV[kind].nonce);
  if (nonce === undefined) return formatPublicArea(template);
  const unique = new Uint8Array(
    template.type === 'rsa' ? template.modulus.byteLength : template.x.byteLength,
  );
  if (nonce.byteLength > unique.byteLength) {
    throw new TvmmpError('tpm-structure-invalid', `an EK nonce of ${nonce.byteLength} bytes`);
  }
  unique.set(nonce);
  return formatPublicArea(
    template.type === 'rsa' ? { ...template, modulus: unique } : { ...template, x: unique },
  );
}

/** A policy session that nobody else has; the caller flushes it. */
export function startPolicySession(connection: Connection): number {
  const noSymmetric = new ByteWriter().u16be(TPM_ALG.NULL).finish();
  const answers = connection.send(
    'StartAuthSession',
    NONE,
    NONE,
    NONE,
    NONE,
    NONE,
    NULL,
    SESSION_POLICY,
    input('TPMT_SYM_DEF', noSymmetric),
    TPM_ALG.SHA256,
    word,
  );
  const session = wordOf(answers);
  connection.keepSession(session);
  return session;
}

/** PolicyA of the low-range templates: the endorsement hierarchy's (empty) authorization. */
function policySecretEndorsement(connection: Connection, session: number): void {
  const empty = sized(new Uint8Array(0));
  connection.send(
    'PolicySecret',
    RH_ENDORSEMENT,
    session,
    PASSWORD,
    NONE,
    NONE,
    input('TPM2B_DIGEST', empty),
    input('TPM2B_DIGEST', empty),
    input('TPM2B_DIGEST', empty),
    0,
    unused,
    unused,
  );
}
