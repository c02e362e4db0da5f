/** The host's persistent keys, read with a word for the case that somebody took them out of the TPM. */
import { TvmmpError } from '../errors.ts';
import { AK_HANDLE, RECEIVE_KEY_HANDLE } from './handles.ts';
import type { Tpm, TpmPublic } from './port.ts';

/** TPM_RC_HANDLE (TPM 2.0 Part 2, 6.6.3): a format-one response code; parameter and handle numbers are in other bits. */
const FORMAT_ONE = 0x80;
const ERROR_MASK = 0x3f;
const RC_HANDLE = 0x0b;

const handles = { 'attestation key': AK_HANDLE, 'receive key': RECEIVE_KEY_HANDLE } as const;
export type OwnKey = keyof typeof handles;

/** Public part of a key of ours. Throws `tpm-not-provisioned` where the TPM has nothing at its handle; else what the port throws. */
export async function readOwnKey(tpm: Pick<Tpm, 'readPublic'>, key: OwnKey): Promise<TpmPublic> {
  const handle = handles[key];
  try {
    return await tpm.readPublic(handle);
  } catch (cause) {
    if (!(cause instanceof TvmmpError) || !isMissing(cause)) throw cause;
    throw new TvmmpError(
      'tpm-not-provisioned',
      `the TPM has no ${key} at 0x${handle.toString(16)}: it was never made, or was evicted`,
      { cause, details: { handle } },
    );
  }
}

function isMissing({ code, details }: TvmmpError): boolean {
  const rc = details['rc'];
  return (
    code === 'tpm-call-failed' &&
    typeof rc === 'number' &&
    (rc & FORMAT_ONE) !== 0 &&
    (rc & ERROR_MASK) === RC_HANDLE
  );
}
