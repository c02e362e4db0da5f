import assert from 'node:assert/strict';
import { generateKeyPairSync, privateEncrypt, constants, createHash, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { ImaJudge, ImaRuleSet } from '../../../lib/appraisal/ima-rules.ts';
import type { ImaRules } from '../../../lib/appraisal/log-rules.ts';
import { pcrsOfRules } from '../../../lib/appraisal/log-rules.ts';
import { formatPolicyDraft, parsePolicyText } from '../../../lib/appraisal/policy.ts';
import { ByteWriter } from '../../../lib/bytes/writer.ts';
import { ImaReplay } from '../../../lib/evidence/ima-replay.ts';
import { imaList } from '../../support/ima-builder.ts';
import type { BuiltImaEntry } from '../../support/ima-builder.ts';

const pemOf = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }) as string;
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const pem = pemOf(rsa.publicKey);

const digest = 'ab'.repeat(32);
const draft = {
  format: 'tvmmp-policy/1',
  id: 'lab',
  version: 1,
  pcrs: { sha256: [7] },
  states: [{ name: 'a', pcrs: { sha256: { 7: digest } } }],
};
const eventLog = {
  secureBoot: true,
  keys: { db: [digest] },
  firmware: [digest],
  commandLines: ['/vmlinuz quiet'],
};
const ima = {
  files: { '/bin/sh': [`sha256:${digest}`, `verity:sha256:${digest}`] },
  excluded: ['/tmp/**'],
  keys: [pem],
  allowViolations: false,
};
const read = (members: object) => parsePolicyText(JSON.stringify({ ...draft, ...members }));

describe('rules about logs in a policy', () => {
  it('are read, and written as they were read', () => {
    const policy = read({ eventLog, ima });
    assert.deepEqual(policy.rules, { eventLog, ima });
    assert.deepEqual(parsePolicyText(formatPolicyDraft(policy)), policy);
    assert.deepEqual(pcrsOfRules(policy.rules), [0, 7, 8, 10]);
    assert.equal(read({}).rules, undefined);
  });

  const faults: readonly (readonly [what: string, members: object])[] = [
    ['an unknown member', { eventlog: eventLog }],
    ['an unknown rule', { eventLog: { ...eventLog, secureboot: true } }],
    ['no rule at all', { eventLog: {} }],
    ['rules that are null', { eventLog: null }],
    ['secureBoot that is a text', { eventLog: { secureBoot: 'true' } }],
    ['keys of an unknown variable', { eventLog: { keys: { mok: [] } } }],
    ['a digest of another size', { eventLog: { firmware: ['ab'] } }],
    ['a digest in capitals', { eventLog: { firmware: [digest.toUpperCase()] } }],
    ['a command line of two lines', { eventLog: { commandLines: ['a\nb'] } }],
    ['no list of files', { ima: { excluded: [] } }],
    ['a list of files that is an array', { ima: { files: [] } }],
    ['a file digest without its algorithm', { ima: { files: { '/x': [digest] } } }],
    ['an fs-verity digest that there is not', { ima: { files: { '/x': [`verity:sm3-256:${digest}`] } } }],
    ['a key that is none', { ima: { files: {}, keys: [pem.replace(/[A-Za-z]{8}/, '????????')] } }],
    [
      'a key that is neither RSA nor ECDSA',
      { ima: { files: {}, keys: [pemOf(generateKeyPairSync('ed25519').publicKey)] } },
    ],
    [
      'an ECDSA key on another curve',
      { ima: { files: {}, keys: [pemOf(generateKeyPairSync('ec', { namedCurve: 'P-521' }).publicKey)] } },
    ],
  ];
  for (const [what, members] of faults)
    it(`are refused with ${what}`, () => {
      assert.throws(() => read(members), { code: 'policy-invalid' });
    });
});

describe('rules about IMA entries', () => {
  const contents = 'contents';
  const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();
  const listed = (text: string): string => `sha256:${sha256(text).toString('hex')}`;

  /** security.ima of version 2 over a SHA-256 digest. */
  function signature(of: string, change: { type?: number; algorithm?: number } = {}): Uint8Array {
    const info = Buffer.concat([Buffer.from('3031300d060960864801650304020105000420', 'hex'), sha256(of)]);
    const signed = privateEncrypt({ key: rsa.privateKey, padding: constants.RSA_PKCS1_PADDING }, info);
    const head = new ByteWriter()
      .u8(change.type ?? 3)
      .u8(2)
      .u8(change.algorithm ?? 4)
      .u32be(0);
    return head.sized16be(signed).finish();
  }

  function judge(entry: BuiltImaEntry, rules: Partial<ImaRules>): boolean {
    const judging = new ImaJudge(new ImaRuleSet({ files: {}, ...rules }));
    new ImaReplay(imaList([{ path: 'boot_aggregate' }, entry]), ['sha256']).finish((one) => {
      judging.judge(one);
      return false;
    });
    return judging.files().pass;
  }

  it('take a listed digest for its own path alone', () => {
    const files = { '/bin/sh': [listed('other'), listed(contents)] };
    assert.equal(judge({ path: '/bin/sh', contents }, { files }), true);
    assert.equal(judge({ path: '/bin/sh', contents: 'changed' }, { files }), false);
    assert.equal(judge({ path: '/bin/bash', contents }, { files }), false);
    assert.equal(judge({ path: '__proto__', contents }, { files }), false);
  });

  it('exclude paths by patterns that mean no more than they say', () => {
    const is = (path: string, pattern: string): boolean => judge({ path, contents }, { excluded: [pattern] });
    assert.equal(is('/tmp/x', '/tmp/*'), true);
    assert.equal(is('/tmp/x/y', '/tmp/*'), false);
    assert.equal(is('/tmp/x/y', '/tmp/**'), true);
    assert.equal(is('/tmpx', '/tmp'), false);
    assert.equal(is('/usr/tmp/x', '/tmp/*'), false);
    assert.equal(is('/tmpa', '/tmp.'), false);
  });

  it('take the signature of a key of the policy, over this digest', () => {
    const keys = [pem];
    const signed = (bytes: Uint8Array): BuiltImaEntry => ({
      path: '/x',
      contents,
      template: 'ima-sig',
      signature: bytes,
    });
    assert.equal(judge(signed(signature(contents)), { keys }), true);
    assert.equal(judge(signed(signature(contents)), {}), false);
    assert.equal(judge(signed(signature('other')), { keys }), false);
    assert.equal(judge(signed(signature(contents, { algorithm: 5 })), { keys }), false);
    assert.equal(judge(signed(signature(contents, { type: 1 })), { keys }), false);
    assert.equal(judge(signed(signature(contents).slice(0, -1)), { keys }), false);
    assert.equal(judge(signed(Buffer.from('garbage')), { keys }), false);
    const other = pemOf(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey);
    assert.equal(judge(signed(signature(contents)), { keys: [other] }), false);
  });

  for (const curve of ['P-256', 'P-384'])
    it(`take the ECDSA signature of a key on ${curve}, over this digest`, () => {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: curve });
      const keys = [pem, pemOf(publicKey)];
      const is = (
        of: string,
        {
          by = privateKey,
          algorithm = 4,
          cut = 0,
          rules = keys,
        }: {
          readonly by?: KeyObject;
          readonly algorithm?: number;
          readonly cut?: number;
          readonly rules?: readonly string[];
        } = {},
      ): boolean => {
        const der = sign('sha256', Buffer.from(of), by);
        const head = new ByteWriter().u8(3).u8(2).u8(algorithm).u32be(0x01020304);
        const bytes = head.sized16be(der.subarray(0, der.length - cut)).finish();
        const entry = { path: '/x', contents, template: 'ima-sig', signature: bytes } as const;
        return judge(entry, { keys: rules });
      };
      assert.equal(is(contents), true);
      assert.equal(is('other'), false);
      assert.equal(is(contents, { algorithm: 5 }), false);
      assert.equal(is(contents, { cut: 1 }), false);
      assert.equal(is(contents, { rules: [pem] }), false);
      const stranger = generateKeyPairSync('ec', { namedCurve: curve });
      assert.equal(is(contents, { by: stranger.privateKey }), false);
      assert.equal(is(contents, { rules: [pemOf(stranger.publicKey)] }), false);
    });

  it('say of a file that is not listed that its signature is of no key of the policy', () => {
    const judging = new ImaJudge(new ImaRuleSet({ files: {}, keys: [pem] }));
    const entry = { path: '/x', contents, template: 'ima-sig', signature: signature('other') } as const;
    new ImaReplay(imaList([entry]), ['sha256']).finish((one) => {
      judging.judge(one);
      return false;
    });
    assert.match(
      judging.files().found,
      /\/x is not listed .*, nor is its signature one of a key of the policy/,
    );
  });

  it('take an fs-verity digest for no digest of the contents, and the other way round', () => {
    const entry = { path: '/bin/sh', contents, template: 'ima-ngv2' } as const;
    const sealed = { ...entry, type: 'verity' };
    const [plain, verity] = [listed(contents), `verity:${listed(contents)}`];
    assert.equal(judge(entry, { files: { '/bin/sh': [plain] } }), true);
    assert.equal(judge(sealed, { files: { '/bin/sh': [verity] } }), true);
    assert.equal(judge(sealed, { files: { '/bin/sh': [plain] } }), false);
    assert.equal(judge(entry, { files: { '/bin/sh': [verity] } }), false);
    const signed = { ...entry, template: 'ima-sigv2', signature: signature(contents) } as const;
    assert.equal(judge(signed, { keys: [pem] }), true);
    assert.equal(judge({ ...signed, type: 'verity' }, { keys: [pem] }), false);
  });

  it('ask for no appended signature, and do not take one', () => {
    const modsig = { digest: sha256('without'), signature: signature('without') };
    const entry = { path: '/a.ko', contents, template: 'ima-modsig', modsig } as const;
    assert.equal(judge(entry, { keys: [pem] }), false);
    assert.equal(judge(entry, { files: { '/a.ko': [listed('without')] } }), false);
    assert.equal(judge(entry, { files: { '/a.ko': [listed(contents)] } }), true);
    assert.equal(judge({ ...entry, signature: signature(contents) }, { keys: [pem] }), true);
    const judging = new ImaJudge(new ImaRuleSet({ files: {} }));
    new ImaReplay(imaList([entry]), ['sha256']).finish((one) => {
      judging.judge(one);
      return false;
    });
    assert.match(judging.files().found, /\/a\.ko is not listed .*; its appended signature is not asked/);
  });

  it('hash a buffer again before its digest counts', () => {
    const buffer = Buffer.from('6.1.0');
    const files = { kernel_version: [listed('6.1.0')] };
    const entry = { path: 'kernel_version', template: 'ima-buf', buffer } as const;
    assert.equal(judge(entry, { files }), true);
    assert.equal(
      judge({ ...entry, digest: sha256('6.1.0'), buffer: Buffer.from('6.6.6') }, { files }),
      false,
    );
  });
});
