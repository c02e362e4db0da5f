/** The guest's half of a deep attestation (SPEC 4.4): which keys are challenged, and which quotes are believed. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { sha256 } from '../../../lib/encoding/hash.ts';
import { TvmmpError } from '../../../lib/errors.ts';
import {
  challengedNonce,
  decodeChallenge,
  encodeChallenge,
  makeChallenge,
} from '../../../lib/proof/vtpm-challenge.ts';
import type { VtpmChallenge } from '../../../lib/proof/vtpm-challenge.ts';
import { verifyVtpmQuote } from '../../../lib/proof/vtpm-quote.ts';
import type { VtpmTrust } from '../../../lib/proof/vtpm-quote.ts';
import { OBJECT_ATTRIBUTE } from '../../../lib/tpm/algorithms.ts';
import { formatPublicArea, nameOf, parsePublicArea } from '../../../lib/tpm/public-area.ts';
import type { EccPublic } from '../../../lib/tpm/public-area.ts';
import { ekTemplate } from '../../../lib/tpm/templates.ts';
import { pcrsOf, worldSelection, worldVm } from '../../support/proof-world.ts';
import { SoftwareTpm } from '../../support/software-tpm.ts';

/** Public area of an endorsement key that nobody needs the private part of. */
function endorsementKey(): Uint8Array {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
  const point = { x: Buffer.from(x, 'base64url'), y: Buffer.from(y, 'base64url') };
  return formatPublicArea({ ...(ekTemplate('ecc-p256') as EccPublic), ...point });
}

describe('the quote of a vTPM in a guest (SPEC 4.4)', () => {
  const ek = endorsementKey();
  const chain = { vm: worldVm, vtpm: nameOf(ek) };
  const guest = new SoftwareTpm(new Uint8Array(32), pcrsOf('guest'));
  const other = new SoftwareTpm(new Uint8Array(32), pcrsOf('guest'));
  const make = (ak = guest.akPublic, told = ek): VtpmChallenge =>
    makeChallenge(chain, { ek: told, ak }).challenge;
  const refused = (why: RegExp) => (error: unknown) =>
    error instanceof TvmmpError && error.code === 'vm-unsuitable' && why.test(error.message);

  /** What the verifier finds: `verified`, or the check that failed. */
  function judge(trust: VtpmTrust, qualifyingData: Uint8Array, tpm = guest, type?: 'certify'): string {
    const told = tpm.quote(qualifyingData, worldSelection, type === undefined ? {} : { type });
    const result = verifyVtpmQuote(chain, told, trust);
    return result.outcome === 'verified' ? 'verified' : result.check;
  }
  const challenged = (challenge: VtpmChallenge): VtpmTrust => ({ by: 'challenge', challenge });
  const known = (ak: KeyObject, nonce: Uint8Array): VtpmTrust => ({ by: 'known-key', ak, nonce });

  it('holds where it is over nonce and secret of the challenge', () => {
    const challenge = decodeChallenge(encodeChallenge(make()));
    assert.equal(judge(challenged(challenge), challengedNonce(challenge)), 'verified');
  });

  it('does not hold over the nonce alone: whoever made it has not shown that its key is in the vTPM', () => {
    const challenge = make();
    assert.equal(judge(challenged(challenge), challenge.nonce), 'vtpm-nonce');
    const guessed = challengedNonce({ nonce: challenge.nonce, secret: new Uint8Array(32) });
    assert.equal(judge(challenged(challenge), guessed), 'vtpm-nonce');
  });

  it('does not hold for another challenge, of which each has its own nonce and secret', () => {
    const [one, two] = [make(), make()];
    assert.notDeepEqual(one.nonce, two.nonce);
    assert.notDeepEqual(one.secret, two.secret);
    assert.equal(judge(challenged(two), challengedNonce(one)), 'vtpm-nonce');
  });

  it('does not hold by another key than the challenged one', () => {
    const challenge = make();
    assert.equal(judge(challenged(challenge), challengedNonce(challenge), other), 'vtpm-signature');
  });

  it('does not hold for a challenge to another VM or vTPM', () => {
    const challenge = make();
    for (const change of [{ vm: '11111111-2222-4333-8444-555555555555' }, { vtpm: nameOf(endorsementKey()) }])
      assert.equal(
        judge(challenged({ ...challenge, ...change }), challengedNonce(challenge)),
        'vtpm-challenge',
      );
    const unknown = { ...chain, vtpm: null };
    const told = guest.quote(challengedNonce(challenge), worldSelection);
    const result = verifyVtpmQuote(unknown, told, challenged(challenge));
    assert.ok(result.outcome === 'fault' && result.check === 'vtpm-challenge');
  });

  it('is a quote, and no other attestation', () => {
    const challenge = make();
    assert.equal(judge(challenged(challenge), challengedNonce(challenge), guest, 'certify'), 'vtpm-type');
  });

  it('holds by a key that the verifier knows, over the nonce itself', () => {
    const nonce = sha256(Buffer.from('nonce'));
    assert.equal(judge(known(guest.akKey, nonce), nonce), 'verified');
    assert.equal(judge(known(guest.akKey, nonce), sha256(nonce)), 'vtpm-nonce');
    assert.equal(judge(known(other.akKey, nonce), nonce), 'vtpm-signature');
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey;
    assert.equal(judge(known(weak, nonce), nonce), 'vtpm-ak');
  });

  it('is asked for by no challenge to an endorsement key that the proof does not name', () => {
    assert.throws(() => make(guest.akPublic, endorsementKey()), refused(/not that of the vTPM in the proof/));
    assert.throws(
      () => makeChallenge({ ...chain, vtpm: null }, { ek, ak: guest.akPublic }),
      refused(/names no vTPM/),
    );
  });

  it('is asked for by no challenge to a vTPM whose named key is none that a TPM keeps', () => {
    const area = parsePublicArea(ek);
    for (const attribute of ['fixedTpm', 'restricted', 'decrypt'] as const) {
      const bad = formatPublicArea({ ...area, attributes: area.attributes & ~OBJECT_ATTRIBUTE[attribute] });
      assert.throws(
        () => makeChallenge({ vm: worldVm, vtpm: nameOf(bad) }, { ek: bad, ak: guest.akPublic }),
        refused(/no restricted decryption key/),
        attribute,
      );
    }
  });

  it('is asked for by no challenge to a key that could be elsewhere, sign anything, or be stood for by a policy', () => {
    const area = parsePublicArea(guest.akPublic) as EccPublic;
    const without = (name: keyof typeof OBJECT_ATTRIBUTE): EccPublic => ({
      ...area,
      attributes: area.attributes & ~OBJECT_ATTRIBUTE[name],
    });
    const needed = [
      'fixedTpm',
      'fixedParent',
      'sensitiveDataOrigin',
      'userWithAuth',
      'restricted',
      'sign',
    ] as const;
    const bad: readonly EccPublic[] = [
      ...needed.map(without),
      { ...area, attributes: area.attributes | OBJECT_ATTRIBUTE.decrypt },
      { ...area, attributes: area.attributes | OBJECT_ATTRIBUTE.adminWithPolicy },
      { ...area, authPolicy: sha256(Buffer.from('a policy')) },
    ];
    for (const one of bad)
      assert.throws(
        () => make(formatPublicArea(one)),
        refused(/the attestation key is not bound to its TPM/),
      );
  });
});
