/** tvmmp authority escrow, and escrow in policies as the commands show it. */
import { strict as assert } from 'node:assert';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { initAuthority } from '../../../lib/authority/authority.ts';
import { policyText } from '../authority/policy-fixture.ts';
import { json, tvmmp } from './run-cli.ts';

describe('tvmmp authority escrow', () => {
  let directory: string;
  const path = (name: string): string => join(directory, name);
  const init = (...more: string[]): ReturnType<typeof tvmmp> =>
    tvmmp(['authority', 'escrow', 'init', path('authority'), ...more]);

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-escrow-'));
    (await initAuthority(path('authority'), { name: 'Test' })).close();
    writeFileSync(path('passphrase'), 'of the escrow key alone\n');
  });
  afterEach(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  it('makes a key of its own, encrypted, and tells the member that switches escrow on', async () => {
    const made = await init('--passphrase-file', path('passphrase'), '--json');
    assert.equal(made.code, 0, made.stderr);
    const { escrow } = json(made) as { escrow: { key: string } };
    const file = path('authority/escrow-key.pem');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const privateKey = createPrivateKey({
      key: readFileSync(file, 'utf8'),
      passphrase: 'of the escrow key alone',
    });
    const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
    assert.equal(escrow.key, spki.toString('base64'));
    const told = createPublicKey(readFileSync(path('authority/escrow.pem'), 'utf8'));
    assert.ok(told.equals(createPublicKey(privateKey)));
    for (const other of ['root-key.pem', 'policy-key.pem'])
      assert.ok(!createPublicKey(readFileSync(path(`authority/${other}`), 'utf8')).equals(told), other);
  });

  it('makes it once: copies that hosts keep would not open with another', async () => {
    assert.equal((await init()).code, 0);
    const before = readFileSync(path('authority/escrow-key.pem'), 'utf8');
    const again = await init();
    assert.equal(again.code, 2);
    assert.match(again.stderr, /has an escrow key.*\(authority-invalid\)/);
    assert.equal(readFileSync(path('authority/escrow-key.pem'), 'utf8'), before);
  });

  it('leaves nothing behind where it fails', async () => {
    const before = readdirSync(path('authority'));
    const run = await init('--passphrase-file', path('nowhere'));
    assert.equal(run.code, 2);
    assert.match(run.stderr, /nowhere/);
    assert.deepEqual(readdirSync(path('authority')), before);
    const elsewhere = await tvmmp(['authority', 'escrow', 'init', directory]);
    assert.equal(elsewhere.code, 2);
    assert.match(elsewhere.stderr, /not an authority's directory/);
  });

  it('is switched on by a policy that is signed, and said of it', async () => {
    const { escrow } = json(await init('--json')) as { escrow: { key: string } };
    const draft = JSON.parse(policyText(1)) as object;
    writeFileSync(path('without.json'), JSON.stringify(draft));
    writeFileSync(path('draft.json'), JSON.stringify({ ...draft, escrow }));
    const checked = await tvmmp(['policy', 'check', path('draft.json')]);
    assert.match(checked.stdout, /^escrow: on: whoever has the private half of key [0-9a-f]{64} can open/m);
    const difference = await tvmmp(['policy', 'diff', path('without.json'), path('draft.json')]);
    assert.match(difference.stdout, /^escrow +off -> on: whoever has/m);
    const signed = await tvmmp([
      ...['policy', 'sign', path('authority'), path('draft.json')],
      ...['-o', path('policy.json')],
    ]);
    assert.equal(signed.code, 0, signed.stderr);
    const shown = await tvmmp(['policy', 'show', path('policy.json'), '--json']);
    assert.deepEqual((json(shown) as { escrow: unknown }).escrow, escrow);
  });

  it('is no key that signs: such a policy is not signed', async () => {
    const key = createPublicKey(readFileSync(path('authority/policy-key.pem'), 'utf8'));
    const spki = key.export({ format: 'der', type: 'spki' }).toString('base64');
    writeFileSync(
      path('draft.json'),
      JSON.stringify({ ...(JSON.parse(policyText(1)) as object), escrow: { key: spki } }),
    );
    const run = await tvmmp([
      ...['policy', 'sign', path('authority'), path('draft.json')],
      ...['-o', path('policy.json')],
    ]);
    assert.equal(run.code, 1);
    assert.match(run.stderr, /root key or policy key/);
  });

  it('opens nothing for a request that cannot be read, and takes one passphrase alone from standard input', async () => {
    await init();
    writeFileSync(path('request'), 'no such thing');
    const release = [
      'authority',
      'escrow',
      'release',
      path('authority'),
      path('request'),
      '-o',
      path('rescue'),
    ];
    const unread = await tvmmp(release);
    assert.equal(unread.code, 2);
    assert.match(unread.stderr, /\(encoding-invalid\)/);
    const both = await tvmmp([...release, '--passphrase-file', '-', '--escrow-passphrase-file', '-']);
    assert.equal(both.code, 2);
    assert.match(both.stderr, /one passphrase alone can come from standard input/);
    assert.ok(!existsSync(path('rescue')));
  });
});
