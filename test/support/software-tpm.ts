/**
 * A TPM's attestation in software, for tests alone: genuine TPMS_ATTEST and TPMT_SIGNATURE bytes, signed by an ordinary
 * EC key. What makes a TPM trustworthy (that the key signs nothing else) is of course missing.
 */
import { createPublicKey, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { sha256 } from '../../lib/encoding/hash.ts';
import type { ClaimedPcr } from '../../lib/evidence/claim.ts';
import { formatAttest } from '../../lib/tpm/attest.ts';
import type { Attestation, PcrSelection } from '../../lib/tpm/port.ts';
import { formatPublicArea, nameOf } from '../../lib/tpm/public-area.ts';
import type { EccPublic } from '../../lib/tpm/public-area.ts';
import { ecdsaFromP1363, formatSignature } from '../../lib/tpm/signature.ts';
import { akTemplate, receiveKeyTemplate } from '../../lib/tpm/templates.ts';
import { testKeyPair } from './test-authority.ts';

/** PCRs of the SHA-256 bank by index. */
export type Pcrs = ReadonlyMap<number, Uint8Array>;

/** What a quote may say otherwise than a good one would. */
export interface QuoteFlaws {
  /** Values that the PCR digest is made of. */
  readonly pcrs?: Pcrs;
  readonly type?: 'certify';
}

/** One TPM with an AK and a receive key. */
export class SoftwareTpm {
  readonly akPublic: Uint8Array;
  readonly akName: Uint8Array;
  readonly akKey: KeyObject;
  readonly receivePublic: Uint8Array;
  readonly receiveKeyName: Uint8Array;
  readonly #ak: KeyObject;
  #clockMs = 1_000n;
  /** Of its clock: one more after each reset. */
  resetCount = 1;
  pcrs: Pcrs;

  constructor(receivePolicy: Uint8Array, pcrs: Pcrs, keys: { ak?: KeyObject; receive?: KeyObject } = {}) {
    this.#ak = keys.ak ?? testKeyPair().privateKey;
    this.akKey = createPublicKey(this.#ak);
    const receive = createPublicKey(keys.receive ?? testKeyPair().privateKey);
    this.akPublic = formatPublicArea(withKey(akTemplate('ecc-p256') as EccPublic, this.akKey));
    this.akName = nameOf(this.akPublic);
    this.receivePublic = formatPublicArea(withKey(receiveKeyTemplate(receivePolicy), receive));
    this.receiveKeyName = nameOf(this.receivePublic);
    this.pcrs = pcrs;
  }

  /** TPM2_Quote. */
  quote(qualifyingData: Uint8Array, selection: PcrSelection, flaws: QuoteFlaws = {}): Attestation {
    this.#clockMs += 200n;
    const header = {
      qualifiedSigner: this.akName,
      extraData: qualifyingData,
      clock: { clockMs: this.#clockMs, resetCount: this.resetCount, restartCount: 0, safe: true },
      firmwareVersion: 0x2019_1023_0016_3636n,
    };
    const values = selectedPcrs(selection, flaws.pcrs ?? this.pcrs).map(({ value }) => value);
    const attest = formatAttest(
      flaws.type === 'certify'
        ? { type: 'certify', ...header, name: this.receiveKeyName, qualifiedName: this.receiveKeyName }
        : { type: 'quote', ...header, pcrSelection: selection, pcrDigest: sha256(...values) },
    );
    return { attest, signature: this.sign(attest) };
  }

  /** The AK's TPMT_SIGNATURE over anything: what no TPM would give. */
  sign(bytes: Uint8Array): Uint8Array {
    const signature = sign('sha256', bytes, { key: this.#ak, dsaEncoding: 'ieee-p1363' });
    return formatSignature(ecdsaFromP1363(signature, 'sha256'));
  }

  /** The PCR values that go into a claim. */
  claimedPcrs(selection: PcrSelection): ClaimedPcr[] {
    return selectedPcrs(selection, this.pcrs);
  }
}

function selectedPcrs(selection: PcrSelection, pcrs: Pcrs): ClaimedPcr[] {
  return selection.flatMap(({ bank, pcrs: indices }) =>
    indices.map((index) => ({ bank, index, value: pcrs.get(index) ?? new Uint8Array(32) })),
  );
}

function withKey(area: EccPublic, key: KeyObject): EccPublic {
  const jwk = key.export({ format: 'jwk' });
  return { ...area, x: Buffer.from(jwk.x ?? '', 'base64url'), y: Buffer.from(jwk.y ?? '', 'base64url') };
}
