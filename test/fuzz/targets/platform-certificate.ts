/** Platform certificates that hosts show (SPEC 1.4). */
import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { parsePlatformCertificate, platformText } from '../../../lib/certificates/platform-certificate.ts';
import { certificatesFromPem } from '../../../lib/certificates/pem.ts';
import { makePlatformCertificate } from '../../support/platform-certificate.ts';
import { testKeyPair } from '../../support/test-authority.ts';
import type { Target } from '../target.ts';

const { privateKey, publicKey } = testKeyPair();
const [signer, , ekCertificate] = certificatesFromPem(
  readFileSync(new URL('ek-chain.pem', import.meta.url), 'utf8'),
);
if (signer === undefined || ekCertificate === undefined)
  throw new Error('ek-chain.pem holds three certificates');
const recipe = { ekCertificate, signer, key: privateKey };
const good = makePlatformCertificate(recipe);

const platform: Target = {
  name: 'platform-certificate',
  about: 'a platform certificate: told as it is, printable, signed for one content alone',
  seeds: () => [
    good,
    makePlatformCertificate({ ...recipe, usages: null, type: null }),
    makePlatformCertificate({ ...recipe, holder: 'digest' }),
  ],
  form: 'der',
  refusals: ['certificate-invalid'],
  bytesMax: 2048,
  executions: 1500,
  run: (input) => {
    const parsed = parsePlatformCertificate(input);
    assert.match(platformText(parsed), /^[\x20-\x7e]+$/);
    assert.ok(parsed.notAfter instanceof Date && parsed.notBefore instanceof Date);
    const told = parsePlatformCertificate(good);
    if (!parsed.signedBy(publicKey)) return;
    const { holder, issuer, notBefore, notAfter } = parsed;
    assert.deepEqual(
      { holder, issuer, notBefore, notAfter },
      { holder: told.holder, issuer: told.issuer, notBefore: told.notBefore, notAfter: told.notAfter },
    );
  },
};

export const platformTargets: readonly Target[] = [platform];
