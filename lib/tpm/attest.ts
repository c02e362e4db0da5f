/** TPMS_ATTEST (TPM 2.0 Part 2, 10.12.12): what the TPM says and signs in TPM2_Quote and TPM2_Certify. */
import { ByteReader } from '../bytes/reader.ts';
import { ByteWriter } from '../bytes/writer.ts';
import { formatPcrSelection, readPcrSelection } from './pcr-selection.ts';
import type { PcrSelection } from './port.ts';

/** TPM_GENERATED_VALUE: a restricted key never signs outside data that starts with it. */
const GENERATED = 0xff544347;
const ST_ATTEST_CERTIFY = 0x8017;
const ST_ATTEST_QUOTE = 0x8018;
/** TPM2B_NAME: an algorithm and the largest digest. */
const NAME_BYTES_MAX = 66;
const DIGEST_BYTES_MAX = 64;

/** TPMS_CLOCK_INFO. */
export interface ClockInfo {
  /** Milliseconds that the TPM was powered. */
  readonly clockMs: bigint;
  readonly resetCount: number;
  readonly restartCount: number;
  /** False where the clock may have been ahead once. */
  readonly safe: boolean;
}

interface AttestHeader {
  /** Qualified name of the signing key. */
  readonly qualifiedSigner: Uint8Array;
  /** The caller's qualifying data. */
  readonly extraData: Uint8Array;
  readonly clock: ClockInfo;
  readonly firmwareVersion: bigint;
}

/** Attestation of PCRs. */
export interface QuoteAttest extends AttestHeader {
  readonly type: 'quote';
  readonly pcrSelection: PcrSelection;
  readonly pcrDigest: Uint8Array;
}

/** Attestation that an object of this name is loaded in the TPM. */
export interface CertifyAttest extends AttestHeader {
  readonly type: 'certify';
  readonly name: Uint8Array;
  readonly qualifiedName: Uint8Array;
}

/** An attestation of a kind that we use. */
export type Attest = QuoteAttest | CertifyAttest;

/** Parses TPMS_ATTEST; refuses other kinds, a wrong magic, oversize fields and trailing bytes. */
export function parseAttest(bytes: Uint8Array): Attest {
  const reader = new ByteReader(bytes, { what: 'TPMS_ATTEST', code: 'tpm-structure-invalid' });
  if (reader.u32be() !== GENERATED) reader.fail('the magic is not TPM_GENERATED_VALUE');
  const type = reader.u16be();
  if (type !== ST_ATTEST_QUOTE && type !== ST_ATTEST_CERTIFY) reader.fail(`type 0x${type.toString(16)}`);
  const header: AttestHeader = {
    qualifiedSigner: reader.sized16be(NAME_BYTES_MAX),
    extraData: reader.sized16be(DIGEST_BYTES_MAX),
    clock: readClock(reader),
    firmwareVersion: reader.u64be(),
  };
  const attest: Attest =
    type === ST_ATTEST_QUOTE
      ? {
          type: 'quote',
          ...header,
          pcrSelection: readPcrSelection(reader),
          pcrDigest: reader.sized16be(DIGEST_BYTES_MAX),
        }
      : {
          type: 'certify',
          ...header,
          name: reader.sized16be(NAME_BYTES_MAX),
          qualifiedName: reader.sized16be(NAME_BYTES_MAX),
        };
  reader.end();
  return attest;
}

/** Wire bytes of an attestation; the inverse of `parseAttest`. */
export function formatAttest(attest: Attest): Uint8Array {
  const writer = new ByteWriter()
    .u32be(GENERATED)
    .u16be(attest.type === 'quote' ? ST_ATTEST_QUOTE : ST_ATTEST_CERTIFY)
    .sized16be(attest.qualifiedSigner)
    .sized16be(attest.extraData)
    .u64be(attest.clock.clockMs)
    .u32be(attest.clock.resetCount)
    .u32be(attest.clock.restartCount)
    .u8(attest.clock.safe ? 1 : 0)
    .u64be(attest.firmwareVersion);
  if (attest.type === 'quote') {
    writer.bytes(formatPcrSelection(attest.pcrSelection)).sized16be(attest.pcrDigest);
  } else {
    writer.sized16be(attest.name).sized16be(attest.qualifiedName);
  }
  return writer.finish();
}

function readClock(reader: ByteReader): ClockInfo {
  const clockMs = reader.u64be();
  const resetCount = reader.u32be();
  const restartCount = reader.u32be();
  const safe = reader.u8();
  if (safe > 1) reader.fail(`TPMI_YES_NO is ${safe}`);
  return { clockMs, resetCount, restartCount, safe: safe === 1 };
}
