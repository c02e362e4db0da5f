/** The host's persistent keys: made where missing, left alone where they are as asked for. */
import { bytesEqual } from '../../bytes/compare.ts';
import { TvmmpError } from '../../errors.ts';
import { AK_HANDLE, RECEIVE_KEY_HANDLE, SRK_HANDLE, VTPM_CA_KEY_HANDLE } from '../handles.ts';
import type { ProvisionRequest, ProvisionedKeys } from '../port.ts';
import { formatPublicArea, hasAttributes, parsePublicArea } from '../public-area.ts';
import type { PublicArea } from '../public-area.ts';
import {
  akTemplate,
  matchesTemplate,
  receiveKeyTemplate,
  srkTemplate,
  vtpmCaTemplate,
} from '../templates.ts';
import type { Connection } from './connection.ts';
import {
  RH_OWNER,
  createChild,
  createPrimary,
  evict,
  exists,
  persist,
  readPublic,
  withTransient,
} from './objects.ts';

const POLICY_BYTES = 32;

/** Makes SRK, AK, receive key and vTPM CA key where they are missing; see the port. */
export function provision(connection: Connection, request: ProvisionRequest): ProvisionedKeys {
  if (request.receivePolicy.byteLength !== POLICY_BYTES) {
    throw new TvmmpError('usage-invalid', `a receive policy has ${POLICY_BYTES} bytes`);
  }
  const replace = request.replace ?? false;
  const made = {
    srk: provisionSrk(connection),
    ak: provisionChild(connection, AK_HANDLE, akTemplate(request.keyAlgorithm), replace),
    'receive-key': provisionChild(
      connection,
      RECEIVE_KEY_HANDLE,
      receiveKeyTemplate(request.receivePolicy),
      replace,
    ),
    'vtpm-ca-key': provisionChild(
      connection,
      VTPM_CA_KEY_HANDLE,
      vtpmCaTemplate(request.receivePolicy),
      replace,
    ),
  };
  return {
    srk: readPublic(connection, SRK_HANDLE),
    ak: readPublic(connection, AK_HANDLE),
    receiveKey: readPublic(connection, RECEIVE_KEY_HANDLE),
    vtpmCaKey: readPublic(connection, VTPM_CA_KEY_HANDLE),
    created: (['srk', 'ak', 'receive-key', 'vtpm-ca-key'] as const).filter((key) => made[key]),
  };
}

/** True where it was made. An SRK that other software left is used as it is, as long as it is a storage key. */
function provisionSrk(connection: Connection): boolean {
  if (exists(connection, SRK_HANDLE)) {
    const area = parsePublicArea(readPublic(connection, SRK_HANDLE).publicArea);
    if (!hasAttributes(area, ['fixedTpm', 'fixedParent', 'restricted', 'decrypt', 'userWithAuth'])) {
      throw new TvmmpError(
        'tpm-not-provisioned',
        `the object at ${hex(SRK_HANDLE)} is not a storage root key`,
      );
    }
    return false;
  }
  const { object } = createPrimary(connection, RH_OWNER, formatPublicArea(srkTemplate()));
  withTransient(connection, object, () => {
    persist(connection, object, SRK_HANDLE);
  });
  return true;
}

/** True where it was made. The new key exists before the old one is removed. */
function provisionChild(
  connection: Connection,
  handle: number,
  template: PublicArea,
  replace: boolean,
): boolean {
  const occupied = exists(connection, handle);
  if (occupied) {
    connection.forget(handle);
    const { publicArea } = readPublic(connection, handle);
    if (matchesTemplate(publicArea, template)) return false;
    if (!replace) {
      const samePolicy = bytesEqual(parsePublicArea(publicArea).authPolicy, template.authPolicy);
      throw new TvmmpError(
        'tpm-not-provisioned',
        `the key at ${hex(handle)} has another ${samePolicy ? 'algorithm or attributes' : 'policy'}; ask to replace it`,
        { details: { handle } },
      );
    }
  }
  const { object } = createChild(connection, SRK_HANDLE, template);
  withTransient(connection, object, () => {
    if (occupied) evict(connection, handle);
    persist(connection, object, handle);
  });
  return true;
}

function hex(handle: number): string {
  return `0x${handle.toString(16)}`;
}
