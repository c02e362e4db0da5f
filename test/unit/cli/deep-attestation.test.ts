/** Deep attestation with a real (emulated) vTPM and the tools that a guest has: tpm2-tools inside, `tvmmp` with the tenant (SPEC 4.4). */
import { strict as assert } from 'node:assert';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { certificateToPem } from '../../../lib/certificates/pem.ts';
import { encodeAttestation } from '../../../lib/proof/attestation.ts';
import { nameOf } from '../../../lib/tpm/public-area.ts';
import { attest } from '../../support/attestation-cases.ts';
import { ChainBuilder, makeWorld } from '../../support/proof-world.ts';
import { Swtpm, swtpmMissing } from '../../support/swtpm.ts';
import { json, tvmmp } from './run-cli.ts';

const EK = '0x81010001';

describe('tvmmp proof challenge and verify --vtpm-quote, with tpm2-tools in the guest', () => {
  let directory: string;
  let vtpm: Swtpm;
  let stranger: Swtpm;
  let root: string;
  let proof: string;
  let chain: ChainBuilder;
  before(async function () {
    this.timeout(120_000);
    assert.equal(swtpmMissing(), undefined);
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-deep-'));
    vtpm = await Swtpm.start({ manufacture: true });
    stranger = await Swtpm.start({ manufacture: true });
    for (const tpm of [vtpm, stranger]) {
      tpm.tool('readpublic', '-c', EK, '-o', 'ek.pub');
      tpm.tool(
        'createak',
        '-C',
        EK,
        '-c',
        'ak.ctx',
        '-G',
        'ecc',
        '-g',
        'sha256',
        '-s',
        'ecdsa',
        '-u',
        'ak.pub',
      );
      tpm.tool('flushcontext', '-t');
    }
    const world = await makeWorld();
    chain = new ChainBuilder(world);
    chain.vtpm = nameOf(Uint8Array.from(readFileSync(join(vtpm.directory, 'ek.pub')).subarray(2)));
    chain.live('created', 'started').migrate(world.beta);
    root = write('root.pem', certificateToPem(world.authority.root.der));
    proof = write('web.tvmmp-proof', chain.bytes());
  });
  after(async () => {
    await vtpm.close();
    await stranger.close();
    rmSync(directory, { recursive: true, force: true });
  });

  function write(name: string, contents: string | Uint8Array): string {
    const file = join(directory, name);
    writeFileSync(file, contents);
    return file;
  }

  const challenge = (name: string, ek: string, ak: string): ReturnType<typeof tvmmp> =>
    tvmmp([
      ...['proof', 'challenge', proof, '--authority', root, '--json'],
      ...['--vtpm-ek', ek, '--vtpm-ak', ak, '-o', join(directory, name)],
    ]);

  /** In the guest: what the credential holds. */
  function activate(tpm: Swtpm, name: string): Uint8Array | null {
    tpm.tool('startauthsession', '--policy-session', '-S', 'session.ctx');
    tpm.tool('policysecret', '-S', 'session.ctx', '-c', 'e');
    const credential = join(directory, `${name}.credential`);
    const run = tpm.tryTool(
      ...(['activatecredential', '-c', 'ak.ctx', '-C', EK, '-i', credential, '-o', 'secret'] as const),
      ...(['-P', 'session:session.ctx'] as const),
    );
    tpm.tryTool('flushcontext', 'session.ctx');
    tpm.tryTool('flushcontext', '-t');
    return run.status === 0 ? readFileSync(join(tpm.directory, 'secret')) : null;
  }

  /** In the guest: a quote over this, and then the tenant's verdict with more options. */
  async function verify(tpm: Swtpm, qualifyingData: string, nonce: string, ...more: string[]) {
    const files = ['-m', 'quote.attest', '-s', 'quote.sig'];
    tpm.tool('quote', '-c', 'ak.ctx', '-l', 'sha256:0,7,11', '-q', qualifyingData, ...files);
    tpm.tryTool('flushcontext', '-t');
    const flaws = { said: { nonce: Uint8Array.from(Buffer.from(nonce, 'hex')) } };
    const attestation = write('web.tvmmp-attestation', encodeAttestation(attest(chain, flaws)));
    return tvmmp([
      ...['proof', 'verify', proof, '--authority', root, '--attestation', attestation],
      ...['--vtpm-quote', join(tpm.directory, 'quote.attest')],
      ...['--vtpm-signature', join(tpm.directory, 'quote.sig'), ...more],
    ]);
  }

  it('shows that the guest answers from the vTPM of the proof, on the host that holds it', async () => {
    const made = await challenge('web', join(vtpm.directory, 'ek.pub'), join(vtpm.directory, 'ak.pub'));
    assert.equal(made.code, 0, made.stderr);
    const nonce = String(json(made)['nonce']);
    assert.equal(statSync(join(directory, 'web.challenge')).mode & 0o777, 0o600);
    const secret = activate(vtpm, 'web');
    assert.ok(secret !== null);
    const over = createHash('sha256').update(Buffer.from(nonce, 'hex')).update(secret).digest('hex');
    const kept = ['--challenge', join(directory, 'web.challenge')];
    const run = await verify(vtpm, over, nonce, ...kept);
    assert.equal(run.code, 0, run.stderr);
    assert.match(run.stdout, /^attested: beta\.test holds the VM, and this proof is the whole of it$/m);
    assert.match(run.stdout, /^the guest has quoted its vTPM over the same nonce$/m);
    assert.match(run.stdout, /key +its attestation key is in the vTPM that the proof names/);
    const told = json(await verify(vtpm, over, nonce, ...kept, '--json'));
    const { guest } = told['attestation'] as { guest: Record<string, unknown> };
    assert.deepEqual(
      [guest['by'], guest['pcrs'], guest['qualifyingData']],
      ['challenge', 'sha256:0,7,11', over],
    );
    const alone = await verify(vtpm, nonce, nonce, ...kept);
    assert.equal(alone.code, 1);
    assert.match(alone.stderr, /the quote of the guest does not hold: vtpm-nonce: /);
    assert.equal(alone.stdout, '');
  }).timeout(120_000);

  it('takes the certificate of the endorsement key as well, as tvmmp vm certificate gives it', async () => {
    const pem = (tpm: Swtpm): string => {
      tpm.tool('nvread', '0x1C00002', '-o', 'ek.der');
      return write('ek.pem', certificateToPem(readFileSync(join(tpm.directory, 'ek.der'))));
    };
    const ak = join(vtpm.directory, 'ak.pub');
    const made = await challenge('certified', pem(vtpm), ak);
    assert.equal(made.code, 0, made.stderr);
    assert.ok(activate(vtpm, 'certified') !== null);
    const bad = await challenge('bad', pem(stranger), ak);
    assert.notEqual(bad.code, 0);
    assert.match(bad.stderr, /the endorsement key is not that of the vTPM in the proof/);
    const none = await challenge('bad', root, ak);
    assert.equal(none.code, 2);
    assert.match(none.stderr, /is no certificate of an RSA-2048 endorsement key/);
  }).timeout(120_000);

  it('is of no use with a key of another TPM: neither TPM opens the credential', async () => {
    const made = await challenge('other', join(vtpm.directory, 'ek.pub'), join(stranger.directory, 'ak.pub'));
    assert.equal(made.code, 0, made.stderr);
    assert.equal(activate(vtpm, 'other'), null);
    assert.equal(activate(stranger, 'other'), null);
    const nonce = String(json(made)['nonce']);
    const run = await verify(stranger, nonce, nonce, '--challenge', join(directory, 'other.challenge'));
    assert.equal(run.code, 1);
    assert.match(run.stderr, /vtpm-nonce/);
  }).timeout(120_000);

  it('challenges no vTPM but that of the proof', async () => {
    const made = await challenge(
      'bad',
      join(stranger.directory, 'ek.pub'),
      join(stranger.directory, 'ak.pub'),
    );
    assert.notEqual(made.code, 0);
    assert.match(made.stderr, /the endorsement key is not that of the vTPM in the proof/);
  });

  it('takes a key that the tenant knows, and says whose word that is', async () => {
    vtpm.tool('readpublic', '-c', 'ak.ctx', '-f', 'pem', '-o', 'ak.pem');
    vtpm.tryTool('flushcontext', '-t');
    const nonce = 'ab'.repeat(32);
    const more = ['--nonce', nonce, '--vtpm-ak', join(vtpm.directory, 'ak.pem')];
    const run = await verify(vtpm, nonce, nonce, ...more);
    assert.equal(run.code, 0, run.stderr);
    assert.match(run.stdout, /that its attestation key is in this vTPM is your word/);
    const other = await verify(stranger, nonce, nonce, ...more);
    assert.equal(other.code, 1);
    assert.match(other.stderr, /vtpm-signature/);
  }).timeout(120_000);

  it('wants both halves, and one way to know the key', async () => {
    const base = ['proof', 'verify', proof, '--authority', root];
    const [quote, signature] = [
      ['--vtpm-quote', proof],
      ['--vtpm-signature', proof],
    ];
    const half = ['--attestation', proof, '--nonce', 'ab'.repeat(32)];
    for (const more of [
      [...quote, ...signature, '--vtpm-ak', root],
      [...half, ...quote, '--vtpm-ak', root],
      [...half, ...quote, ...signature],
      [...half, '--vtpm-ak', root],
      [...half, '--challenge', proof],
      ['--challenge', proof],
    ])
      assert.equal((await tvmmp([...base, ...more])).code, 2, more.join(' '));
  }).timeout(60_000);
});
