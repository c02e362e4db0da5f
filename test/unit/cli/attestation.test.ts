/** A tenant asks who holds its VM now: `tvmmp vm attest` on the host, `tvmmp proof verify --attestation` with the tenant (SPEC 4.3). */
import { strict as assert } from 'node:assert';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { signRevocations } from '../../../lib/appraisal/revocation.ts';
import { certificateToPem } from '../../../lib/certificates/pem.ts';
import { encodeAttestation } from '../../../lib/proof/attestation.ts';
import { attest, caseNonce } from '../../support/attestation-cases.ts';
import { ChainBuilder, makeWorld, worldVm } from '../../support/proof-world.ts';
import type { World } from '../../support/proof-world.ts';
import { ScriptedAgent } from './scripted-agent.ts';
import { json, tvmmp } from './run-cli.ts';

const nonce = Buffer.from(caseNonce).toString('hex');

describe('tvmmp vm attest and tvmmp proof verify --attestation', () => {
  let directory: string;
  let root: string;
  let world: World;
  let chain: ChainBuilder;
  let proof: string;
  let attestation: string;
  before(async () => {
    world = await makeWorld();
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-attestation-'));
    root = write('root.pem', certificateToPem(world.authority.root.der));
    chain = new ChainBuilder(world).live('created', 'started').migrate(world.beta);
    proof = write('web.tvmmp-proof', chain.bytes());
    attestation = write('web.tvmmp-attestation', encodeAttestation(attest(chain)));
  });
  after(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  function write(name: string, contents: string | Uint8Array): string {
    const file = join(directory, name);
    writeFileSync(file, contents);
    return file;
  }

  const verify = (...more: string[]): ReturnType<typeof tvmmp> =>
    tvmmp(['proof', 'verify', proof, '--authority', root, ...more]);

  it('says who holds the VM now', async () => {
    const run = await verify('--attestation', attestation, '--nonce', nonce);
    assert.equal(run.code, 0, run.stderr);
    assert.match(run.stdout, /^attested: beta\.test holds the VM, and this proof is the whole of it$/m);
    assert.match(run.stdout, /platform +state base of policy lab v3/);
    const told = json(await verify('--attestation', attestation, '--nonce', nonce, '--json'));
    assert.equal(told['outcome'], 'verified');
    const said = told['attestation'] as Record<string, unknown>;
    assert.deepEqual([said['host'], said['pcrState'], said['nonce']], ['beta.test', 'base', nonce]);
  });

  it('refuses one for another nonce, and one that came with another proof', async () => {
    const old = await verify('--attestation', attestation, '--nonce', '00'.repeat(32));
    assert.equal(old.code, 1);
    assert.match(old.stderr, /the attestation does not hold: nonce: it was made for another nonce/);
    assert.equal(old.stdout, '');
    const told = await verify('--attestation', attestation, '--nonce', '00'.repeat(32), '--json');
    assert.deepEqual([json(told)['outcome'], json(told)['check'], told.code], ['fault', 'nonce', 1]);
    const earlier = write('earlier', new ChainBuilder(world).live('created', 'started').bytes());
    const other = await tvmmp([
      ...['proof', 'verify', earlier, '--authority', root],
      ...['--attestation', attestation, '--nonce', nonce],
    ]);
    assert.equal(other.code, 1);
    assert.match(other.stderr, /the attestation does not hold: head: /);
  });

  it('refuses one by a host that is revoked, although the proof holds', async () => {
    const { name: host, akName } = world.beta.id;
    const since = new Date('2035-01-01T00:00:00Z');
    const hosts = [{ host, akName, since, reason: 'stolen' }];
    const { policyKeys } = world.authority;
    const list = write(
      'revocations.json',
      signRevocations({ version: 1, issuedAt: new Date(0), hosts }, policyKeys),
    );
    assert.equal((await verify('--revocations', list)).code, 0);
    const run = await verify('--revocations', list, '--attestation', attestation, '--nonce', nonce);
    assert.equal(run.code, 1);
    assert.match(run.stderr, /the attestation does not hold: revocation: beta\.test is revoked: stolen/);
  });

  it('wants attestation and nonce together, and a nonce that was drawn and not thought up', async () => {
    for (const more of [
      ['--attestation', attestation],
      ['--nonce', nonce],
      ['--attestation', attestation, '--nonce', 'abcd'],
      ['--attestation', attestation, '--nonce', `${nonce}0`],
    ])
      assert.equal((await verify(...more)).code, 2, more.join(' '));
  });

  it('prints the certificate of a vTPM that the agent gives, in PEM', async () => {
    const agent = new ScriptedAgent();
    try {
      const vm = { uuid: worldVm, name: 'web', state: 'running', holder: '', epoch: 1, entries: 4, head: '' };
      const { der } = world.authority.root;
      const result = { vm, vtpm: '000b', pem: certificateToPem(der), unchained: null };
      const alone = { ...result, unchained: 'it was issued by somebody' };
      const answers = { 'vm.certificate': [{ result: result as object }] };
      await agent.listen(answers);
      const show = (): ReturnType<typeof tvmmp> =>
        tvmmp(['vm', 'certificate', 'web', '--config', agent.config]);
      const shown = await show();
      assert.deepEqual(
        [shown.code, shown.stdout.trim(), shown.stderr],
        [0, certificateToPem(der).trim(), ''],
      );
      answers['vm.certificate'] = [{ result: alone }];
      const warned = await show();
      answers['vm.certificate'] = [{ result }];
      assert.deepEqual([warned.code, warned.stdout], [0, shown.stdout]);
      assert.match(warned.stderr, /does not chain to the authority: it was issued by somebody/);
      const output = join(directory, 'ek.pem');
      const told = await tvmmp([
        'vm',
        'certificate',
        'web',
        '--json',
        '-o',
        output,
        '--config',
        agent.config,
      ]);
      assert.deepEqual([json(told)['vtpm'], json(told)['pem']], ['000b', certificateToPem(der)]);
      assert.equal(json(told)['chained'], true);
      assert.equal(readFileSync(output, 'utf8'), certificateToPem(der));
    } finally {
      await agent.close();
    }
  });

  it('asks the agent, and writes attestation and proof for the tenant', async () => {
    const agent = new ScriptedAgent();
    try {
      const vm = { uuid: worldVm, name: 'web', state: 'running', holder: '', epoch: 1, entries: 4, head: '' };
      const base64 = (file: string): string => readFileSync(file).toString('base64');
      await agent.listen({
        'vm.attest': [{ result: { vm, attestation: base64(attestation), proof: base64(proof) } }],
      });
      const config = ['--config', agent.config];
      const asked = await tvmmp(['vm', 'attest', 'web', '--nonce', nonce.toUpperCase(), ...config], {
        cwd: agent.directory,
      });
      assert.equal(asked.code, 0, asked.stderr);
      assert.deepEqual(agent.requests, [{ method: 'vm.attest', params: { vm: 'web', nonce } }]);
      const written = (name: string): Buffer => readFileSync(join(agent.directory, name));
      assert.deepEqual(written('web.tvmmp-attestation'), readFileSync(attestation));
      assert.deepEqual(written('web.tvmmp-proof'), readFileSync(proof));
      assert.equal((await tvmmp(['vm', 'attest', 'web', '--nonce', '12', ...config])).code, 2);
    } finally {
      await agent.close();
    }
  });
});
