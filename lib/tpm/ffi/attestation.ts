/** Quotes, certifications, random numbers, policy approvals and properties: the short commands. */
import { createHash } from 'node:crypto';
import { ByteReader } from '../../bytes/reader.ts';
import { ByteWriter } from '../../bytes/writer.ts';
import { TvmmpError } from '../../errors.ts';
import { TPM_ALG } from '../algorithms.ts';
import { formatPcrSelection } from '../pcr-selection.ts';
import { approvalMessage } from '../policy.ts';
import type { Attestation, PcrSelection, PolicyApproval, TpmProperties } from '../port.ts';
import { nameOf, parsePublicArea } from '../public-area.ts';
import { NONE, NULL, PASSWORD, input, output, word } from './connection.ts';
import type { Connection } from './connection.ts';
import { RH_OWNER, sized, structure, unsized, withTransient, wordOf } from './objects.ts';

/** The smallest digest of a TPM that supports SHA-256: what every TPM takes as qualifying data. */
const QUALIFYING_BYTES_MAX = 32;
const RANDOM_BYTES_MAX = 1024;
const RANDOM_CHUNK_BYTES = 32;
const CAP_TPM_PROPERTIES = 6;
const PT_FIXED = 0x100;
const PT_REVISION = 0x102;
const PT_MANUFACTURER = 0x105;
const PT_VENDOR_STRINGS = [0x106, 0x107, 0x108, 0x109];
const PT_FIRMWARE_1 = 0x10b;
const PT_FIRMWARE_2 = 0x10c;
const PROPERTIES_READ = 32;

/** The key's own scheme: TPMT_SIG_SCHEME of TPM_ALG_NULL. */
const KEY_SCHEME = new ByteWriter().u16be(TPM_ALG.NULL).finish();

/** TPM2_Quote (Part 3, 18.4). */
export function quote(
  connection: Connection,
  akHandle: number,
  qualifyingData: Uint8Array,
  selection: PcrSelection,
): Attestation {
  const answers = connection.send(
    'Quote',
    connection.object(akHandle),
    PASSWORD,
    NONE,
    NONE,
    input('TPM2B_DATA', qualifying(qualifyingData)),
    input('TPMT_SIG_SCHEME', KEY_SCHEME),
    input('TPML_PCR_SELECTION', formatPcrSelection(selection)),
    output('TPM2B_ATTEST'),
    output('TPMT_SIGNATURE'),
  );
  return { attest: unsized(structure(answers, 0)), signature: structure(answers, 1) };
}

/** TPM2_Certify (Part 3, 18.2), where the object's ADMIN role takes its (empty) password. */
export function certify(
  connection: Connection,
  objectHandle: number,
  akHandle: number,
  qualifyingData: Uint8Array,
): Attestation {
  const answers = connection.send(
    'Certify',
    connection.object(objectHandle),
    connection.object(akHandle),
    PASSWORD,
    PASSWORD,
    NONE,
    input('TPM2B_DATA', qualifying(qualifyingData)),
    input('TPMT_SIG_SCHEME', KEY_SCHEME),
    output('TPM2B_ATTEST'),
    output('TPMT_SIGNATURE'),
  );
  return { attest: unsized(structure(answers, 0)), signature: structure(answers, 1) };
}

/** TPM2_GetRandom, in chunks that every TPM gives. */
export function random(connection: Connection, count: number): Uint8Array {
  if (!Number.isInteger(count) || count < 1 || count > RANDOM_BYTES_MAX) {
    throw new TvmmpError('limit-exceeded', `1 to ${RANDOM_BYTES_MAX} random bytes`);
  }
  const bytes = new Uint8Array(count);
  for (let filled = 0; filled < count;) {
    const wanted = Math.min(RANDOM_CHUNK_BYTES, count - filled);
    const chunk = unsized(
      structure(connection.send('GetRandom', NONE, NONE, NONE, wanted, output('TPM2B_DIGEST'))),
    );
    if (chunk.byteLength === 0 || chunk.byteLength > wanted) {
      throw new TvmmpError(
        'tpm-structure-invalid',
        `${chunk.byteLength} random bytes where ${wanted} were asked for`,
      );
    }
    bytes.set(chunk, filled);
    filled += chunk.byteLength;
  }
  return bytes;
}

/** TPM2_LoadExternal and TPM2_VerifySignature (Part 3, 12.3 and 20.1). */
export function verifyPolicyApproval(
  connection: Connection,
  publicArea: Uint8Array,
  approvedPolicy: Uint8Array,
  policyRef: Uint8Array,
  signature: Uint8Array,
): PolicyApproval {
  const { nameHash } = parsePublicArea(publicArea);
  const digest = createHash(nameHash).update(approvalMessage(approvedPolicy, policyRef)).digest();
  // In the owner hierarchy, since tickets of the null hierarchy end with the next reset.
  const loaded = connection.send(
    'LoadExternal',
    NONE,
    NONE,
    NONE,
    NULL,
    input('TPM2B_PUBLIC', sized(publicArea)),
    RH_OWNER,
    word,
  );
  const key = wordOf(loaded);
  return withTransient(connection, key, () => {
    const answers = connection.send(
      'VerifySignature',
      key,
      NONE,
      NONE,
      NONE,
      input('TPM2B_DIGEST', sized(digest)),
      input('TPMT_SIGNATURE', signature),
      output('TPMT_TK_VERIFIED'),
    );
    return { ticket: structure(answers), keyName: nameOf(publicArea) };
  });
}

/** TPM2_GetCapability of the fixed properties, and TPM2_ReadClock. */
export function properties(connection: Connection): TpmProperties {
  const fixed = fixedProperties(connection);
  const value = (property: number): number => fixed.get(property) ?? 0;
  const clock: ByteReader = new ByteReader(
    structure(connection.send('ReadClock', NONE, NONE, NONE, output('TPMS_TIME_INFO'))),
    { what: 'TPMS_TIME_INFO', code: 'tpm-structure-invalid' },
  );
  clock.u64be();
  const hex = (half: number): string => half.toString(16).padStart(8, '0');
  return {
    manufacturer: ascii([value(PT_MANUFACTURER)]),
    vendor: ascii(PT_VENDOR_STRINGS.map(value)),
    firmwareVersion: `${hex(value(PT_FIRMWARE_1))}.${hex(value(PT_FIRMWARE_2))}`,
    specificationRevision: value(PT_REVISION),
    clockMs: clock.u64be(),
    resetCount: clock.u32be(),
    restartCount: clock.u32be(),
    clockSafe: clock.u8() === 1,
  };
}

function fixedProperties(connection: Connection): Map<number, number> {
  const answers = connection.send(
    'GetCapability',
    NONE,
    NONE,
    NONE,
    CAP_TPM_PROPERTIES,
    PT_FIXED,
    PROPERTIES_READ,
    word,
    output('TPMS_CAPABILITY_DATA'),
  );
  const reader: ByteReader = new ByteReader(structure(answers), {
    what: 'TPMS_CAPABILITY_DATA',
    code: 'tpm-structure-invalid',
  });
  if (reader.u32be() !== CAP_TPM_PROPERTIES) reader.fail('not a list of properties');
  const fixed = new Map<number, number>();
  for (let count = reader.u32be(); count > 0; count--) fixed.set(reader.u32be(), reader.u32be());
  reader.end();
  return fixed;
}

/** Four characters a word, without the NULs and blanks that fill them up. */
function ascii(words: readonly number[]): string {
  const bytes = words.reduce((writer, value) => writer.u32be(value), new ByteWriter()).finish();
  return Buffer.from(bytes).toString('latin1').replaceAll('\0', '').trim();
}

function qualifying(data: Uint8Array): Uint8Array {
  if (data.byteLength > QUALIFYING_BYTES_MAX) {
    throw new TvmmpError('limit-exceeded', `qualifying data of at most ${QUALIFYING_BYTES_MAX} bytes`);
  }
  return sized(data);
}
