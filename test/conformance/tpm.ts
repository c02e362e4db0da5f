/**
 * What every adapter of the TPM port must do, against a swtpm of its own. Call `describeTpmConformance` from a test of
 * the adapter. tpm2-tools, an implementation that is not ours, does the counter-checks.
 */
import assert from 'node:assert/strict';
import { X509Certificate, createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeCredential } from '../../lib/tpm/credential.ts';
import { AK_HANDLE, RECEIVE_KEY_HANDLE, SRK_HANDLE, VTPM_CA_KEY_HANDLE } from '../../lib/tpm/handles.ts';
import { formatPcrSelection } from '../../lib/tpm/pcr-selection.ts';
import {
  approvalMessage,
  pcrDigest,
  policyAuthorize,
  policyKeyPublicArea,
  policyPcr,
} from '../../lib/tpm/policy.ts';
import type { EkKind, PcrSelection, Tpm } from '../../lib/tpm/port.ts';
import {
  ecdsaFromP1363,
  formatSignature,
  keyObjectOf,
  nameOf,
  parseAttest,
  parsePublicArea,
  parseSignature,
  verifySignature,
} from '../support/tpm-structures.ts';
import {
  akTemplate,
  ekTemplate,
  matchesTemplate,
  receiveKeyTemplate,
  srkTemplate,
  vtpmCaTemplate,
} from '../../lib/tpm/templates.ts';
import { Swtpm, swtpmMissing } from '../support/swtpm.ts';
import { skipWithout } from '../support/skip.ts';

const EK_KINDS: readonly EkKind[] = ['rsa-2048', 'ecc-p256', 'ecc-p384'];
const PCRS: PcrSelection = [{ bank: 'sha256', pcrs: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16] }];
const FREE_NV_INDEX = 0x01800100;

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const hexHandle = (handle: number): string => `0x${handle.toString(16)}`;

/** Runs the suite on an adapter; `open` connects it to a TCTI as tctildr names it. */
export function describeTpmConformance(name: string, open: (tcti: string) => Tpm): void {
  describe(`TPM port: ${name}`, () => {
    let swtpm: Swtpm;
    let tpm: Tpm;
    const policyKey = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const policyRef = randomBytes(32);
    const policyKeyArea = policyKeyPublicArea(policyKey.publicKey);
    const receivePolicy = policyAuthorize(nameOf(policyKeyArea), policyRef);

    before(async function () {
      skipWithout(this, swtpmMissing());
      swtpm = await Swtpm.start({ manufacture: true });
      tpm = open(swtpm.tcti);
      await tpm.provision({ keyAlgorithm: 'ecc-p256', receivePolicy });
    });
    after(async () => {
      await (tpm as Tpm | undefined)?.close();
      await (swtpm as Swtpm | undefined)?.close();
    });
    afterEach('leaves no transient object and no session in the TPM', () => {
      swtpm.tool('flushcontext', '--saved-session');
      assert.equal(swtpm.tool('getcap', 'handles-transient'), '');
      assert.equal(swtpm.tool('getcap', 'handles-loaded-session'), '');
    });

    const verified = async (
      akHandle: number,
      attest: Uint8Array,
      signature: Uint8Array,
    ): Promise<boolean> => {
      const { publicArea } = await tpm.readPublic(akHandle);
      return verifySignature(keyObjectOf(parsePublicArea(publicArea)), attest, parseSignature(signature));
    };

    describe('endorsement', () => {
      it('reads the certificates that swtpm_setup left, and makes the keys they certify', async () => {
        const certificates = await tpm.ekCertificates();
        assert.deepEqual(
          certificates.map(({ kind }) => kind),
          ['rsa-2048', 'ecc-p384'],
        );
        for (const { kind, der } of certificates) {
          const certificate = new X509Certificate(der);
          assert.equal(certificate.raw.byteLength, der.byteLength);
          const ek = keyObjectOf(parsePublicArea((await tpm.createEk(kind)).publicArea));
          assert.equal(certificate.publicKey.equals(ek), true);
        }
      });

      for (const kind of EK_KINDS) {
        it(`makes the same ${kind} key each time, from the profile's template`, async () => {
          const [one, two] = [await tpm.createEk(kind), await tpm.createEk(kind)];
          assert.deepEqual(one, two);
          assert.equal(matchesTemplate(one.publicArea, ekTemplate(kind)), true);
          assert.deepEqual(one.name, nameOf(one.publicArea));
        });

        it(`gives the secret of a credential made in software for its ${kind} key`, async () => {
          const secret = randomBytes(32);
          const ek = await tpm.createEk(kind);
          const { name: akName } = await tpm.readPublic(AK_HANDLE);
          const { credentialBlob, encryptedSecret } = makeCredential(ek.publicArea, akName, secret);
          assert.equal(
            hex(await tpm.activateCredential(AK_HANDLE, kind, credentialBlob, encryptedSecret)),
            hex(secret),
          );
        });

        it(`refuses a credential for another object's name, or another host's ${kind} key`, async () => {
          const ek = await tpm.createEk(kind);
          const { name: otherName } = await tpm.readPublic(SRK_HANDLE);
          const other = makeCredential(ek.publicArea, otherName, randomBytes(32));
          await assert.rejects(
            tpm.activateCredential(AK_HANDLE, kind, other.credentialBlob, other.encryptedSecret),
            { code: 'tpm-call-failed', message: /^ActivateCredential: / },
          );
          const { name: akName } = await tpm.readPublic(AK_HANDLE);
          const { credentialBlob, encryptedSecret } = makeCredential(ek.publicArea, akName, randomBytes(32));
          const last = credentialBlob.byteLength - 1;
          credentialBlob[last] = (credentialBlob[last] ?? 0) ^ 1;
          await assert.rejects(tpm.activateCredential(AK_HANDLE, kind, credentialBlob, encryptedSecret), {
            code: 'tpm-call-failed',
          });
        });
      }

      it('refuses a credential that is no TPM2B structure', async () => {
        const malformed = Uint8Array.of(0, 9, 1);
        await assert.rejects(tpm.activateCredential(AK_HANDLE, 'ecc-p256', malformed, malformed), {
          code: 'tpm-structure-invalid',
        });
      });

      it('takes the manufacturer’s nonce into the template, as tpm2_createek does', async () => {
        const plain = await tpm.createEk('ecc-p256');
        writeFileSync(join(swtpm.directory, 'nonce'), randomBytes(32));
        swtpm.tool('nvdefine', '0x01c0000b', '-C', 'o', '-s', '32', '-a', 'ownerread|ownerwrite|authread');
        try {
          swtpm.tool('nvwrite', '0x01c0000b', '-C', 'o', '-i', 'nonce');
          const nonced = await tpm.createEk('ecc-p256');
          assert.notDeepEqual(nonced.name, plain.name);
          assert.deepEqual(nonced.name, nameOf(nonced.publicArea));
        } finally {
          swtpm.tool('nvundefine', '0x01c0000b', '-C', 'o');
        }
        assert.deepEqual(await tpm.createEk('ecc-p256'), plain);
      });
    });

    describe('provisioning', () => {
      it('makes keys of the templates, with the names that their public areas give', async () => {
        const keys = await tpm.provision({ keyAlgorithm: 'ecc-p256', receivePolicy });
        assert.equal(matchesTemplate(keys.srk.publicArea, srkTemplate()), true);
        assert.equal(matchesTemplate(keys.ak.publicArea, akTemplate('ecc-p256')), true);
        assert.equal(matchesTemplate(keys.receiveKey.publicArea, receiveKeyTemplate(receivePolicy)), true);
        assert.equal(matchesTemplate(keys.vtpmCaKey.publicArea, vtpmCaTemplate(receivePolicy)), true);
        for (const key of [keys.srk, keys.ak, keys.receiveKey, keys.vtpmCaKey])
          assert.deepEqual(key.name, nameOf(key.publicArea));
      });

      it('changes nothing when asked again', async () => {
        const one = await tpm.provision({ keyAlgorithm: 'ecc-p256', receivePolicy });
        const two = await tpm.provision({ keyAlgorithm: 'ecc-p256', receivePolicy });
        assert.deepEqual(one.created, []);
        assert.deepEqual(two, one);
      });

      it('refuses another policy or algorithm, until told to replace', async () => {
        const was = await tpm.provision({ keyAlgorithm: 'ecc-p256', receivePolicy });
        const otherPolicy = new Uint8Array(32).fill(9);
        await assert.rejects(tpm.provision({ keyAlgorithm: 'ecc-p256', receivePolicy: otherPolicy }), {
          code: 'tpm-not-provisioned',
          message: /another policy/,
        });
        await assert.rejects(tpm.provision({ keyAlgorithm: 'rsa-2048', receivePolicy }), {
          code: 'tpm-not-provisioned',
          message: /another algorithm/,
        });
        assert.deepEqual(await tpm.provision({ keyAlgorithm: 'ecc-p256', receivePolicy }), was);
        const replaced = await tpm.provision({
          keyAlgorithm: 'ecc-p256',
          receivePolicy: otherPolicy,
          replace: true,
        });
        assert.deepEqual(replaced.created, ['receive-key', 'vtpm-ca-key']);
        assert.deepEqual(replaced.ak, was.ak);
        const back = await tpm.provision({ keyAlgorithm: 'ecc-p256', receivePolicy, replace: true });
        assert.notDeepEqual(back.receiveKey.name, was.receiveKey.name);
        assert.deepEqual(await tpm.readPublic(RECEIVE_KEY_HANDLE), back.receiveKey);
      });

      it('replaces the AK by an RSA key whose quotes verify', async () => {
        const keys = await tpm.provision({ keyAlgorithm: 'rsa-2048', receivePolicy, replace: true });
        assert.deepEqual(keys.created, ['ak']);
        const { attest, signature } = await tpm.quote(AK_HANDLE, randomBytes(32), PCRS);
        assert.equal(parseSignature(signature).scheme, 'rsassa');
        assert.equal(await verified(AK_HANDLE, attest, signature), true);
        await tpm.provision({ keyAlgorithm: 'ecc-p256', receivePolicy, replace: true });
      });

      it('refuses a policy that is no SHA-256 digest', async () => {
        await assert.rejects(tpm.provision({ keyAlgorithm: 'ecc-p256', receivePolicy: new Uint8Array(20) }), {
          code: 'usage-invalid',
        });
      });

      it('refuses an object that is not a storage key in the place of the storage root key', async () => {
        const other = await Swtpm.start();
        const tpmOfOther = open(other.tcti);
        try {
          other.tool(
            'createprimary',
            '-C',
            'o',
            '-G',
            'ecc256:ecdsa',
            '-a',
            'sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth',
            '-c',
            'key.ctx',
          );
          other.tool('evictcontrol', '-C', 'o', '-c', 'key.ctx', hexHandle(SRK_HANDLE));
          await assert.rejects(tpmOfOther.provision({ keyAlgorithm: 'ecc-p256', receivePolicy }), {
            code: 'tpm-not-provisioned',
            message: /not a storage root key/,
          });
        } finally {
          await tpmOfOther.close();
          await other.close();
        }
      });
    });

    describe('attestation', () => {
      it('quotes the PCRs, with the qualifying data, in a signature that Node verifies', async () => {
        const qualifyingData = randomBytes(32);
        const { attest, signature } = await tpm.quote(AK_HANDLE, qualifyingData, PCRS);
        assert.equal(await verified(AK_HANDLE, attest, signature), true);
        const quoted = parseAttest(attest);
        assert.equal(quoted.type, 'quote');
        assert.equal(hex(quoted.extraData), hex(qualifyingData));
        assert.deepEqual(quoted.pcrSelection, PCRS);
        assert.equal(hex(quoted.pcrDigest), hex(pcrDigest(PCRS, (await tpm.readPcrs(PCRS)).values)));
      });

      it('takes one command for a quote', async () => {
        await tpm.quote(AK_HANDLE, new Uint8Array(0), PCRS);
        const before = await tpm.commandCounts();
        await tpm.quote(AK_HANDLE, new Uint8Array(0), PCRS);
        assert.deepEqual(await tpm.commandCounts(), { ...before, Quote: (before['Quote'] ?? 0) + 1 });
      });

      it('answers many calls at once, each with its own result', async () => {
        const nonces = Array.from({ length: 20 }, () => randomBytes(32));
        const quotes = await Promise.all(nonces.map((nonce) => tpm.quote(AK_HANDLE, nonce, PCRS)));
        assert.deepEqual(
          quotes.map(({ attest }) => hex(parseAttest(attest).extraData)),
          nonces.map(hex),
        );
      });

      it('certifies the receive key by its name', async () => {
        const nonce = randomBytes(32);
        const { attest, signature } = await tpm.certify(RECEIVE_KEY_HANDLE, AK_HANDLE, nonce);
        assert.equal(await verified(AK_HANDLE, attest, signature), true);
        const certified = parseAttest(attest);
        assert.equal(certified.type, 'certify');
        assert.deepEqual(certified.name, (await tpm.readPublic(RECEIVE_KEY_HANDLE)).name);
        assert.equal(hex(certified.extraData), hex(nonce));
      });

      it('refuses more qualifying data than every TPM takes', async () => {
        await assert.rejects(tpm.quote(AK_HANDLE, new Uint8Array(33), PCRS), { code: 'limit-exceeded' });
        await assert.rejects(tpm.certify(RECEIVE_KEY_HANDLE, AK_HANDLE, new Uint8Array(33)), {
          code: 'limit-exceeded',
        });
      });

      it('does not sign quotes with a key that is not for signing', async () => {
        await assert.rejects(tpm.quote(SRK_HANDLE, new Uint8Array(32), PCRS), {
          code: 'tpm-call-failed',
          message: /^Quote: .*\(0x[0-9a-f]{8}\)$/,
        });
      });
    });

    describe('PCRs', () => {
      it('reads all 24, in order, as tpm2_pcrread does', async () => {
        const all = Array.from({ length: 24 }, (_, pcr) => pcr);
        const { values } = await tpm.readPcrs([{ bank: 'sha256', pcrs: all }]);
        assert.deepEqual(
          values.map(({ pcr }) => pcr),
          all,
        );
        swtpm.tool('pcrread', 'sha256:all', '-o', 'pcrs');
        assert.equal(hex(Buffer.concat(values.map(({ digest }) => digest))), hex(file('pcrs')));
      });

      it('sees an extension, and the update counter move', async () => {
        // Not PCR 16 or 21-23: the TPM does not count what anybody may reset.
        const selection: PcrSelection = [{ bank: 'sha256', pcrs: [14] }];
        const before = await tpm.readPcrs(selection);
        swtpm.tool('pcrextend', `14:sha256=${'ab'.repeat(32)}`);
        const after = await tpm.readPcrs(selection);
        assert.notDeepEqual(after.values, before.values);
        assert.ok(after.updateCounter > before.updateCounter);
      });

      it('leaves out banks that the TPM does not have', async () => {
        const selection: PcrSelection = [
          { bank: 'sha512', pcrs: [0] },
          { bank: 'sha256', pcrs: [1, 0] },
        ];
        const { values } = await tpm.readPcrs(selection);
        assert.deepEqual(
          values.map(({ bank, pcr }) => `${bank}:${pcr}`),
          ['sha256:0', 'sha256:1'],
        );
      });

      it('refuses PCRs that cannot be', async () => {
        await assert.rejects(tpm.readPcrs([{ bank: 'sha256', pcrs: [24] }]), {
          code: 'tpm-structure-invalid',
        });
      });
    });

    describe('NV memory, random numbers, properties', () => {
      it('reads an index that is larger than one command carries', async () => {
        const contents = randomBytes(1500);
        writeFileSync(join(swtpm.directory, 'contents'), contents);
        for (const attributes of ['ownerread|ownerwrite|authread', 'ownerread|ownerwrite']) {
          swtpm.tool('nvdefine', hexHandle(FREE_NV_INDEX), '-C', 'o', '-s', '1500', '-a', attributes);
          try {
            swtpm.tool('nvwrite', hexHandle(FREE_NV_INDEX), '-C', 'o', '-i', 'contents');
            assert.equal(hex(await tpm.nvRead(FREE_NV_INDEX)), hex(contents));
          } finally {
            swtpm.tool('nvundefine', hexHandle(FREE_NV_INDEX), '-C', 'o');
          }
        }
      });

      it('says in words that an index is missing', async () => {
        await assert.rejects(tpm.nvRead(FREE_NV_INDEX), { code: 'tpm-call-failed', message: /handle/ });
      });

      it('makes a counter once, which goes up by one, over power cuts, and begins above all that was when it is made again', async () => {
        assert.equal(await tpm.readCounter(FREE_NV_INDEX), null);
        const first = await tpm.makeCounter(FREE_NV_INDEX);
        assert.equal(await tpm.makeCounter(FREE_NV_INDEX), first);
        for (let n = 0; n < 3; n += 1) await tpm.incrementCounter(FREE_NV_INDEX);
        assert.equal(await tpm.readCounter(FREE_NV_INDEX), first + 3n);
        await swtpm.powerOff();
        await swtpm.powerOn();
        assert.equal(await tpm.readCounter(FREE_NV_INDEX), first + 3n);
        const told = swtpm.tool('nvreadpublic', hexHandle(FREE_NV_INDEX));
        assert.match(told, /friendly: ownerwrite\|nt=(?:0x)?1\|ownerread\|authread\|no_da\|written/);
        swtpm.tool('nvundefine', hexHandle(FREE_NV_INDEX), '-C', 'o');
        assert.equal(await tpm.readCounter(FREE_NV_INDEX), null);
        await assert.rejects(tpm.incrementCounter(FREE_NV_INDEX), { code: 'tpm-call-failed' });
        assert.ok((await tpm.makeCounter(FREE_NV_INDEX)) > first + 3n);
        swtpm.tool('nvundefine', hexHandle(FREE_NV_INDEX), '-C', 'o');
      });

      it('counts nothing in an index of another kind, and goes on with a counter that was made and never incremented', async () => {
        const place = [hexHandle(FREE_NV_INDEX), '-C', 'o', '-s', '8'];
        const attributes = 'ownerwrite|ownerread|authread|no_da';
        for (const other of [
          attributes,
          `${attributes}|nt=counter|orderly`,
          `${attributes}|nt=counter|authwrite`,
        ]) {
          swtpm.tool('nvdefine', ...place, '-a', other);
          await assert.rejects(tpm.readCounter(FREE_NV_INDEX), { code: 'tpm-not-provisioned' });
          await assert.rejects(tpm.makeCounter(FREE_NV_INDEX), { code: 'tpm-not-provisioned' });
          swtpm.tool('nvundefine', hexHandle(FREE_NV_INDEX), '-C', 'o');
        }
        swtpm.tool('nvdefine', ...place, '-a', `${attributes}|nt=counter`);
        assert.equal(await tpm.readCounter(FREE_NV_INDEX), null);
        const value = await tpm.makeCounter(FREE_NV_INDEX);
        assert.equal(await tpm.readCounter(FREE_NV_INDEX), value);
        swtpm.tool('nvundefine', hexHandle(FREE_NV_INDEX), '-C', 'o');
      });

      it('gives as many random bytes as asked for, never the same', async () => {
        for (const count of [1, 32, 33, 1024]) assert.equal((await tpm.random(count)).byteLength, count);
        assert.notDeepEqual(await tpm.random(32), await tpm.random(32));
        for (const count of [0, -1, 1.5, 1025])
          await assert.rejects(tpm.random(count), { code: 'limit-exceeded' });
      });

      it('tells who made it, and its clock', async () => {
        const properties = await tpm.properties();
        assert.equal(properties.manufacturer, 'IBM');
        assert.match(properties.firmwareVersion, /^[0-9a-f]{8}\.[0-9a-f]{8}$/);
        assert.ok(properties.specificationRevision >= 138);
        assert.ok((await tpm.properties()).clockMs >= properties.clockMs);
      });
    });

    describe('policies', () => {
      const file_ = (name_: string, bytes: Uint8Array): void => {
        writeFileSync(join(swtpm.directory, name_), bytes);
      };
      const selection: PcrSelection = [{ bank: 'sha256', pcrs: [0, 7, 16] }];
      const approve = async (): Promise<{ approvedPolicy: Uint8Array; signature: Uint8Array }> => {
        const approvedPolicy = policyPcr(
          selection,
          pcrDigest(selection, (await tpm.readPcrs(selection)).values),
        );
        const message = approvalMessage(approvedPolicy, policyRef);
        const p1363 = sign('sha256', message, { key: policyKey.privateKey, dsaEncoding: 'ieee-p1363' });
        return { approvedPolicy, signature: formatSignature(ecdsaFromP1363(p1363, 'sha256')) };
      };

      it('computes PolicyPCR and PolicyAuthorize as a trial session does', async () => {
        const { approvedPolicy } = await approve();
        file_('approved', approvedPolicy);
        file_('ref', policyRef);
        file_('key-name', nameOf(policyKeyArea));
        swtpm.tool('startauthsession', '-S', 'trial');
        try {
          swtpm.tool('policypcr', '-S', 'trial', '-l', 'sha256:0,7,16', '-L', 'policy-pcr');
          assert.equal(hex(file('policy-pcr')), hex(approvedPolicy));
          swtpm.tool(
            'policyauthorize',
            '-S',
            'trial',
            '-i',
            'approved',
            '-q',
            'ref',
            '-n',
            'key-name',
            '-L',
            'authorized',
          );
          assert.equal(hex(file('authorized')), hex(receivePolicy));
        } finally {
          swtpm.tool('flushcontext', 'trial');
        }
      });

      it('gives no ticket for a signature over another policy or reference', async () => {
        const { approvedPolicy, signature } = await approve();
        for (const [policy, ref] of [
          [new Uint8Array(32), policyRef],
          [approvedPolicy, new Uint8Array(32)],
        ] as const) {
          await assert.rejects(tpm.verifyPolicyApproval(policyKeyArea, policy, ref, signature), {
            code: 'tpm-call-failed',
            message: /^VerifySignature: .*signature/,
          });
        }
      });

      it('lets the receive key be used with an approval of the present PCRs, and not without', async () => {
        const key = hexHandle(RECEIVE_KEY_HANDLE);
        const { approvedPolicy, signature } = await approve();
        const approval = await tpm.verifyPolicyApproval(policyKeyArea, approvedPolicy, policyRef, signature);
        assert.equal(hex(approval.keyName), hex(nameOf(policyKeyArea)));
        file_('approved', approvedPolicy);
        file_('ref', policyRef);
        file_('key-name', approval.keyName);
        file_('ticket', approval.ticket);
        swtpm.tool('ecdhkeygen', '-c', key, '-u', 'point', '-o', 'shared');

        const bare = swtpm.tryTool('ecdhzgen', '-c', key, '-u', 'point', '-o', 'unlawful');
        assert.notEqual(bare.status, 0);
        assert.match(bare.stderr, /0x12F|authValue or authPolicy/);

        const authorize = ['-S', 'session', '-i', 'approved', '-q', 'ref', '-n', 'key-name', '-t', 'ticket'];
        const zGen = ['-c', key, '-u', 'point', '-o', 'recovered', '-p', 'session:session'];
        inPolicySession(() => {
          swtpm.tool('policypcr', '-S', 'session', '-l', 'sha256:0,7,16');
          swtpm.tool('policyauthorize', ...authorize);
          swtpm.tool('ecdhzgen', ...zGen);
          assert.equal(hex(file('recovered')), hex(file('shared')));
        });
        swtpm.tool('pcrextend', `16:sha256=${'cd'.repeat(32)}`);
        inPolicySession(() => {
          swtpm.tool('policypcr', '-S', 'session', '-l', 'sha256:0,7,16');
          assert.match(swtpm.tryTool('policyauthorize', ...authorize).stderr, /0x1C4|value is out of range/);
        });
        inPolicySession(() => {
          swtpm.tool('policypcr', '-S', 'session', '-l', 'sha256:0,7,16');
          assert.match(swtpm.tryTool('ecdhzgen', ...zGen).stderr, /0x99D|a policy check failed/);
        });
      });

      it('signs with the vTPM CA key in a state that was approved, and in no other, nor with a password', async () => {
        const digest = randomBytes(32);
        const { approvedPolicy, signature } = await approve();
        const { ticket, keyName } = await tpm.verifyPolicyApproval(
          policyKeyArea,
          approvedPolicy,
          policyRef,
          signature,
        );
        const approval = {
          pcrSelection: formatPcrSelection(selection),
          approvedPolicy,
          policyRef,
          keySignName: keyName,
          ticket,
        };
        const message = Buffer.from('a certificate');
        const digestOf = createHash('sha256').update(message).digest();
        const signed = await tpm.signApproved(VTPM_CA_KEY_HANDLE, digestOf, approval);
        const { publicArea } = await tpm.readPublic(VTPM_CA_KEY_HANDLE);
        const key = keyObjectOf(parsePublicArea(publicArea));
        assert.equal(verifySignature(key, message, parseSignature(signed)), true);
        await assert.rejects(tpm.signApproved(VTPM_CA_KEY_HANDLE, new Uint8Array(20), approval), {
          code: 'usage-invalid',
        });
        for (const flaw of [{ policyRef: randomBytes(32) }, { approvedPolicy: randomBytes(32) }]) {
          await assert.rejects(tpm.signApproved(VTPM_CA_KEY_HANDLE, digest, { ...approval, ...flaw }), {
            code: 'seal-refused',
          });
        }
        file_('digest', digest);
        const handle = hexHandle(VTPM_CA_KEY_HANDLE);
        const bare = swtpm.tryTool('sign', '-c', handle, '-g', 'sha256', '-d', 'digest', '-o', 'unlawful');
        assert.match(bare.stderr, /0x12F|authValue or authPolicy/);
        swtpm.tool('pcrextend', `16:sha256=${'ab'.repeat(32)}`);
        await assert.rejects(tpm.signApproved(VTPM_CA_KEY_HANDLE, digest, approval), {
          code: 'seal-refused',
        });
      });

      /** A tool that fails leaves its session loaded and its file stale: flush whatever is loaded. */
      function inPolicySession(use: () => void): void {
        swtpm.tool('startauthsession', '-S', 'session', '--policy-session');
        try {
          use();
        } finally {
          swtpm.tool('flushcontext', '--loaded-session');
          swtpm.tool('flushcontext', '--saved-session');
        }
      }
    });

    describe('failures', () => {
      it('says in words what was wrong with a handle, with command and code, and works on', async () => {
        await assert.rejects(tpm.quote(0x81005499, new Uint8Array(32), PCRS), (error: unknown) => {
          const { code, message, details } = error as {
            code: string;
            message: string;
            details: { rc: number };
          };
          assert.equal(code, 'tpm-call-failed');
          assert.match(message, /^ReadPublic: .*handle.*\(0x0000018b\)$/);
          assert.deepEqual(details, { command: 'ReadPublic', rc: 0x18b, handle: 0x81005499 });
          return true;
        });
        await tpm.quote(AK_HANDLE, new Uint8Array(32), PCRS);
      });

      it('comes back by itself after the TPM was restarted', async () => {
        const before = await tpm.properties();
        const ak = await tpm.readPublic(AK_HANDLE);
        await swtpm.powerOff();
        await swtpm.powerOn();
        const { attest, signature } = await tpm.quote(AK_HANDLE, new Uint8Array(32), PCRS);
        assert.equal(await verified(AK_HANDLE, attest, signature), true);
        assert.deepEqual(await tpm.readPublic(AK_HANDLE), ak);
        assert.ok((await tpm.properties()).resetCount > before.resetCount);
      });

      it('is unreachable while the TPM is gone, and then works again', async () => {
        await swtpm.powerOff();
        try {
          for (let i = 0; i < 3; i++) {
            await assert.rejects(tpm.incrementCounter(FREE_NV_INDEX), { code: 'tpm-unreachable' });
            await assert.rejects(tpm.quote(AK_HANDLE, new Uint8Array(32), PCRS), { code: 'tpm-unreachable' });
          }
        } finally {
          await swtpm.powerOn();
        }
        await tpm.quote(AK_HANDLE, new Uint8Array(32), PCRS);
      });

      it('is unreachable where there is no such interface', async () => {
        for (const tcti of ['device:/dev/tvmmp-no-such-tpm', 'no-such-tcti:']) {
          const nowhere = open(tcti);
          try {
            await assert.rejects(nowhere.random(8), { code: 'tpm-unreachable' });
          } finally {
            await nowhere.close();
          }
        }
      });

      it('refuses calls after it was closed, and closes twice', async () => {
        const second = open(swtpm.tcti);
        await second.random(8);
        await second.close();
        await second.close();
        await assert.rejects(second.random(8));
      });
    });

    function file(name_: string): Uint8Array {
      return readFileSync(join(swtpm.directory, name_));
    }
  });
}
