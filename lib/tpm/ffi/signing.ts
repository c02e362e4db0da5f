/** Signing with a key that only a state which the authority approved lets sign (SPEC 1.1, 5.2). */
import { ByteWriter } from '../../bytes/writer.ts';
import { TvmmpError } from '../../errors.ts';
import { TPM_ALG } from '../algorithms.ts';
import type { ApprovedState } from '../port.ts';
import { NONE, input, output } from './connection.ts';
import type { Connection } from './connection.ts';
import { startPolicySession } from './endorsement.ts';
import { sized, structure, withTransient } from './objects.ts';

const DIGEST_BYTES = 32;
/** PCRs that change while the session is open (IMA extends PCR 10 at any time) make the TPM ask for a new one. */
const ATTEMPTS_MAX = 4;
const ST_HASHCHECK = 0x8024;
const RH_NULL = 0x40000007;

/** Response codes without parameter, handle and session numbers (TPM 2.0 Part 2, 6.6). */
const RC_PCR_CHANGED = 0x128;
const FORMAT_ONE = 0x80;
const FORMAT_ONE_MASK = 0xbf;
const REFUSALS: ReadonlySet<number> = new Set([
  0x84, // TPM_RC_VALUE: another state than the approved one
  0x9d, // TPM_RC_POLICY_FAIL
  0xa0, // TPM_RC_TICKET
  RC_PCR_CHANGED,
]);

/** The key's own scheme: TPMT_SIG_SCHEME of TPM_ALG_NULL. */
const KEY_SCHEME = new ByteWriter().u16be(TPM_ALG.NULL).finish();
/** No ticket: the key is not restricted, and signs digests of whatever was hashed outside (Part 3, 20.2). */
const NO_TICKET = new ByteWriter().u16be(ST_HASHCHECK).u32be(RH_NULL).u16be(0).finish();

/** TPM2_PolicyPCR, TPM2_PolicyAuthorize and TPM2_Sign (Part 3, 23.7, 23.16, 20.2) in one session; see the port. */
export function signApproved(
  connection: Connection,
  handle: number,
  digest: Uint8Array,
  approval: ApprovedState,
): Uint8Array {
  if (digest.byteLength !== DIGEST_BYTES)
    throw new TvmmpError('usage-invalid', `a digest has ${DIGEST_BYTES} bytes`);
  for (let attempt = 1; ; attempt++) {
    try {
      return signOnce(connection, handle, digest, approval);
    } catch (error) {
      const code = baseCode(error);
      if (code === RC_PCR_CHANGED && attempt < ATTEMPTS_MAX) continue;
      if (code === undefined || !REFUSALS.has(code)) throw error;
      throw new TvmmpError(
        'seal-refused',
        `the TPM refuses the key in the state that this host is in (${(error as Error).message})`,
        { cause: error, details: (error as TvmmpError).details },
      );
    }
  }
}

function signOnce(
  connection: Connection,
  handle: number,
  digest: Uint8Array,
  approval: ApprovedState,
): Uint8Array {
  const key = connection.object(handle);
  const session = startPolicySession(connection);
  return withTransient(connection, session, () => {
    connection.send(
      'PolicyPCR',
      session,
      NONE,
      NONE,
      NONE,
      input('TPM2B_DIGEST', sized(new Uint8Array(0))),
      input('TPML_PCR_SELECTION', approval.pcrSelection),
    );
    connection.send(
      'PolicyAuthorize',
      session,
      NONE,
      NONE,
      NONE,
      input('TPM2B_DIGEST', sized(approval.approvedPolicy)),
      input('TPM2B_DIGEST', sized(approval.policyRef)),
      input('TPM2B_NAME', sized(approval.keySignName)),
      input('TPMT_TK_VERIFIED', approval.ticket),
    );
    const answers = connection.send(
      'Sign',
      key,
      session,
      NONE,
      NONE,
      input('TPM2B_DIGEST', sized(digest)),
      input('TPMT_SIG_SCHEME', KEY_SCHEME),
      input('TPMT_TK_HASHCHECK', NO_TICKET),
      output('TPMT_SIGNATURE'),
    );
    return structure(answers);
  });
}

function baseCode(error: unknown): number | undefined {
  if (!(error instanceof TvmmpError) || error.code !== 'tpm-call-failed') return undefined;
  const rc = error.details['rc'];
  if (typeof rc !== 'number') return undefined;
  return (rc & FORMAT_ONE) !== 0 ? rc & FORMAT_ONE_MASK : rc;
}
