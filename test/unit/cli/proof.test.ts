/** tvmmp proof on chains of the test's own and on the published vectors: offline, with two files. */
import { strict as assert } from 'node:assert';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { signRevocations } from '../../../lib/appraisal/revocation.ts';
import { certificateToPem } from '../../../lib/certificates/pem.ts';
import { ChainBuilder, makeWorld, pcrsOf, worldVm } from '../../support/proof-world.ts';
import type { World } from '../../support/proof-world.ts';
import { testKeyPair } from '../../support/test-authority.ts';
import { ScriptedAgent } from './scripted-agent.ts';
import { json, tvmmp } from './run-cli.ts';

const vectors = new URL('../../vectors/proof/', import.meta.url);

interface Holding {
  readonly host: string;
  readonly until: number | null;
  readonly destroyed: number | null;
  readonly pcrStates: readonly string[];
}

describe('tvmmp proof', () => {
  let directory: string;
  let root: string;
  let world: World;
  before(async () => {
    world = await makeWorld();
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-proof-'));
    root = join(directory, 'root.pem');
    writeFileSync(root, certificateToPem(world.authority.root.der));
  });
  after(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  function write(name: string, bytes: Uint8Array): string {
    const file = join(directory, name);
    writeFileSync(file, bytes);
    return file;
  }

  const travelled = (): ChainBuilder =>
    new ChainBuilder(world)
      .live('created', 'started')
      .migrate(world.beta)
      .departing(world.gamma)
      .arrived(world.gamma);

  it('tells when a holder said that it does not satisfy its policy, and whether that is over', async () => {
    const verdict = new Uint8Array(32);
    const chain = new ChainBuilder(world)
      .live('created', 'started')
      .add('quarantined', { verdict }, { quote: { pcrs: pcrsOf('rootkit') } });
    const said = /^entry 2: alpha\.test says at .* that it does not satisfy its policy any more$/m;
    const still = /^alpha\.test is quarantined since$/m;
    const verify = (bytes: Uint8Array, ...more: string[]): ReturnType<typeof tvmmp> =>
      tvmmp(['proof', 'verify', write('q.tvmmp-proof', bytes), '--authority', root, ...more]);
    const during = await verify(chain.bytes());
    assert.match(during.stdout, said);
    assert.match(during.stdout, still);
    assert.equal((json(await verify(chain.bytes(), '--json')) as { quarantined: boolean }).quarantined, true);
    const after = await verify(chain.live('released').bytes());
    assert.match(after.stdout, said);
    assert.doesNotMatch(after.stdout, still);
  });

  it('tells of hosts that were revoked later, and refuses what a revoked host signed', async () => {
    const file = write('revoked.tvmmp-proof', travelled().bytes());
    const listFrom = (name: string, since: string, keys = world.authority.policyKeys): string => {
      const { name: host, akName } = world.alpha.id;
      const hosts = [{ host, akName, since: new Date(since), reason: 'stolen' }];
      return write(name, Buffer.from(signRevocations({ version: 1, issuedAt: new Date(0), hosts }, keys)));
    };
    const verify = (list: string, ...more: string[]): ReturnType<typeof tvmmp> =>
      tvmmp(['proof', 'verify', file, '--authority', root, '--revocations', list, ...more]);
    const later = await verify(listFrom('later.json', '2026-06-02T00:00:00Z'));
    assert.equal(later.code, 0, later.stderr);
    assert.match(
      later.stdout,
      /^alpha\.test was revoked on 2026-06-02 00:00:00Z \(stolen\); its entries 0 to 2 were signed before and stay good; beta\.test vouches that they are older$/m,
    );
    const early = listFrom('early.json', '2026-06-01T00:00:02Z');
    const broken = await verify(early);
    assert.equal(broken.code, 1);
    assert.match(
      broken.stderr,
      /does not hold: revocation: entry 1 \(started\) was signed by alpha\.test, revoked since/,
    );
    assert.equal(broken.stdout, '');
    const told = await verify(early, '--json');
    assert.equal(told.code, 1);
    const { outcome, check, revoked } = json(told) as {
      outcome: string;
      check: string;
      revoked: { after: number }[];
    };
    assert.deepEqual([outcome, check, revoked[0]?.after], ['fault', 'revocation', 1]);
    const foreign = await verify(listFrom('foreign.json', '2026-06-02T00:00:00Z', testKeyPair()));
    assert.equal(foreign.code, 1);
    assert.match(foreign.stderr, /no known policy key signed it \(policy-invalid\)/);
  });

  it('verifies a proof offline and says who held the VM, when, and who signed destruction', async () => {
    const file = write('good.tvmmp-proof', travelled().bytes());
    const { code, stdout, stderr } = await tvmmp(['proof', 'verify', file, '--authority', root]);
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    assert.match(stdout, /^verified: 6 entries, 3 holders$/m);
    assert.match(
      stdout,
      /^0 {6}alpha\.test {2}2026-06-01 00:00:01Z {2}2026-06-01 00:00:04Z {2}lab v3 {2}base {7}signed 2026-06-01 00:00:05Z$/m,
    );
    assert.match(stdout, /^1 {6}beta\.test .* NOT SIGNED$/m);
    assert.match(stdout, /^2 {6}gamma\.test .* now .* holds it$/m);
    assert.match(
      stdout,
      /^beta\.test has not signed \(in this proof\) that its copy of epoch 1 is destroyed$/m,
    );
  });

  it('says the same in JSON', async () => {
    const file = write('good.tvmmp-proof', travelled().bytes());
    const result = json(await tvmmp(['proof', 'verify', file, '--authority', root, '--json']));
    assert.deepEqual(
      [result['outcome'], result['vm'], result['holder']],
      ['verified', worldVm, 'gamma.test'],
    );
    const holdings = result['holdings'] as Holding[];
    assert.deepEqual(
      holdings.map(({ host, until, destroyed, pcrStates }) => [
        host,
        until !== null,
        destroyed !== null,
        pcrStates,
      ]),
      [
        ['alpha.test', true, true, ['base']],
        ['beta.test', true, false, ['base']],
        ['gamma.test', false, false, ['base']],
      ],
    );
    const entries = result['entries'] as { kind: string }[];
    assert.deepEqual(
      entries.map(({ kind }) => kind),
      ['created', 'started', 'departing', 'arrived', 'departed', 'departing', 'arrived'],
    );
  });

  it('names the first thing that is wrong, and its entry, and exits 1', async () => {
    const bad = new ChainBuilder(world).live('created').add('started', {}, { signer: world.beta });
    const file = write('bad.tvmmp-proof', bad.live('suspended').bytes());
    const run = await tvmmp(['proof', 'verify', file, '--authority', root]);
    assert.equal(run.code, 1);
    assert.equal(
      run.stderr,
      "tvmmp: the proof does not verify: entry 1 (started by alpha.test): quote-signature: not signed by alpha.test's AK (refused)\n",
    );
    const fault = json(await tvmmp(['proof', 'verify', file, '--authority', root, '--json']));
    assert.deepEqual(
      [fault['outcome'], fault['check'], fault['at']],
      ['fault', 'quote-signature', { list: 'entries', index: 1 }],
    );
  });

  it('does not verify under the root of another authority', async () => {
    const file = write('good.tvmmp-proof', travelled().bytes());
    const other = join(directory, 'other.pem');
    writeFileSync(other, certificateToPem((await makeWorld()).authority.root.der));
    const run = await tvmmp(['proof', 'verify', file, '--authority', other]);
    assert.equal(run.code, 1);
    assert.match(run.stderr, /entry 0 \(created by alpha\.test\): certificate: /);
  });

  it('exits 1 for what is no proof, and 2 for what is no root certificate', async () => {
    const noise = write('noise', Buffer.from('not a proof'));
    const run = await tvmmp(['proof', 'verify', noise, '--authority', root]);
    assert.equal(run.code, 1);
    assert.match(run.stderr, /the file as a whole: encoding: /);
    assert.equal((await tvmmp(['proof', 'verify', noise, '--authority', noise])).code, 2);
  });

  it('judges published vectors as they say', async () => {
    const names = readdirSync(vectors).filter(
      (name) => name.endsWith('.json') && !name.startsWith('known-head'),
    );
    // A sample: the vectors' own test judges all of them, in one process.
    for (const name of names.filter((_, index) => index % 12 === 0)) {
      const vector = JSON.parse(readFileSync(new URL(name, vectors), 'utf8')) as Record<
        'root' | 'proof' | 'expect',
        string
      > & { readonly others?: readonly string[] };
      const file = write('vector', Buffer.from(vector.proof, 'base64'));
      const believed = [vector.root, ...(vector.others ?? [])].flatMap((root, index) => {
        const pem = join(directory, `vector-${index}.pem`);
        writeFileSync(pem, certificateToPem(Buffer.from(root, 'base64')));
        return ['--authority', pem];
      });
      const run = await tvmmp(['proof', 'verify', file, ...believed, '--json']);
      const { outcome, check } = json(run);
      assert.equal(outcome === 'verified' ? outcome : check, vector.expect, name);
      assert.equal(run.code, vector.expect === 'verified' ? 0 : 1, name);
    }
  }).timeout(60_000);

  it('loads no native code to verify', async () => {
    const probe = join(directory, 'probe.cjs');
    const list = join(directory, 'loaded.json');
    writeFileSync(
      probe,
      `process.on('exit', () => require('node:fs').writeFileSync(${JSON.stringify(list)},
        JSON.stringify(process.report.getReport().sharedObjects)));`,
    );
    const file = write('good.tvmmp-proof', travelled().bytes());
    const env = { NODE_OPTIONS: `--require ${probe}` };
    const loaded = async (args: string[]): Promise<readonly string[]> => {
      assert.equal((await tvmmp(args, { env })).code, 0);
      return JSON.parse(readFileSync(list, 'utf8')) as string[];
    };
    const native = /\.node$|libvirt|libtss2/;
    const verifying = await loaded(['proof', 'verify', file, '--authority', root]);
    assert.deepEqual(
      verifying.filter((path) => native.test(path)),
      [],
    );
    // The probe does see native code: an authority's register is one.
    const making = await loaded(['authority', 'init', join(directory, 'authority')]);
    assert.ok(making.some((path) => native.test(path)));
  });

  it('shows a timeline, verified with the root that is given, or marked as not verified', async () => {
    const file = write('good.tvmmp-proof', travelled().bytes());
    const shown = await tvmmp(['proof', 'show', file, '--authority', root]);
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(
      shown.stdout,
      /^ 3 {6}1 {6}arrived {4}beta\.test .* lab v3 {2}base .* alpha\.test {2}[0-9a-f]{8}$/m,
    );
    assert.match(shown.stdout, /^\+4 {6}0 {6}departed {3}alpha\.test /m);
    const config = join(directory, 'tvmmpd.json');
    writeFileSync(config, JSON.stringify({ directories: { identity: join(directory, 'nowhere') } }));
    const unverified = await tvmmp(['proof', 'show', file, '--config', config]);
    assert.equal(unverified.code, 0);
    assert.match(unverified.stdout, /^NOT VERIFIED/);
  });

  it('compares two proofs: equal, continued, forked, unrelated', async () => {
    const chain = new ChainBuilder(world).live('created', 'started');
    const short = write('short', chain.bytes());
    const fork = new ChainBuilder(world);
    Object.assign(fork, {
      entries: [...chain.entries],
      head: chain.head,
      sequence: chain.sequence,
      time: chain.time,
    });
    const forked = write('forked', fork.carry(world.alpha).live('stopped').bytes());
    const long = write('long', chain.live('suspended').bytes());
    const unrelated = write(
      'unrelated',
      new ChainBuilder(world).add('created', { time: 1_790_000_000_000 }).bytes(),
    );
    const compare = (a: string, b: string): ReturnType<typeof tvmmp> =>
      tvmmp(['proof', 'compare', a, b, '--authority', root]);
    assert.equal((await compare(short, short)).stdout, 'the proofs are equal\n');
    assert.equal((await compare(short, long)).stdout, `${long} continues ${short}\n`);
    const conviction = await compare(long, forked);
    assert.equal(conviction.code, 1);
    assert.match(
      conviction.stderr,
      /fork at entry 2: alpha\.test signed suspended, alpha\.test signed stopped \(refused\)/,
    );
    assert.equal((await compare(short, unrelated)).code, 1);
  });

  it('tells a proof from birth and one from a checkpoint apart, and puts parts together', async () => {
    const chain = new ChainBuilder(world).live('created', 'started').migrate(world.beta).checkpoint();
    const early = write('early.tvmmp-proof', chain.bytes());
    const late = write('late.tvmmp-proof', chain.migrate(world.gamma).from(4));
    const verify = (file: string, ...more: string[]): ReturnType<typeof tvmmp> =>
      tvmmp(['proof', 'verify', file, '--authority', root, ...more]);
    assert.match((await verify(early)).stdout, /^verified +from birth$/m);
    assert.match(
      (await verify(late)).stdout,
      /^verified +from checkpoint by beta\.test at 2026-\S+ \S+ \(entry 4\); beta\.test is believed/m,
    );
    assert.equal((await verify(early, '--from-birth')).code, 0);
    const refused = await verify(late, '--from-birth');
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /checkpoint: it begins with a checkpoint/);
    assert.deepEqual(json(await verify(late, '--json'))['from'], {
      kind: 'checkpoint',
      host: 'beta.test',
      sequence: 4,
      time: Date.UTC(2026, 5, 1, 0, 0, 6),
    });
    const output = join(directory, 'joined.tvmmp-proof');
    const joined = await tvmmp(['proof', 'join', late, early, '--authority', root, '-o', output]);
    assert.equal(joined.code, 0, joined.stderr);
    assert.match(joined.stdout, /joined\.tvmmp-proof: 7 entries from birth, verified, /);
    assert.deepEqual(new Uint8Array(readFileSync(output)), chain.bytes());
    const gap = await tvmmp(['proof', 'join', late, '--authority', root, '-o', output]);
    assert.equal(gap.code, 2);
    assert.match(gap.stderr, /entry 0 is in none of them/);
    const agent = new ScriptedAgent();
    try {
      const vm = { uuid: worldVm, name: 'web', state: 'running', holder: '', epoch: 2, entries: 7, head: '' };
      const proof = readFileSync(late).toString('base64');
      await agent.listen({ 'proof.export': [{ result: { vm, proof } }] });
      const full = await tvmmp(['proof', 'export', 'web', '--full', '--config', agent.config], {
        cwd: agent.directory,
      });
      assert.equal(full.code, 1);
      assert.match(full.stderr, /this host has 3 of 7 entries; .*tvmmp proof join/);
    } finally {
      await agent.close();
    }
  });

  it("exports and shows a VM's proof through the agent, verified with the host's own authority", async () => {
    const agent = new ScriptedAgent();
    try {
      const bytes = travelled().bytes();
      const vm = {
        uuid: worldVm,
        name: 'web',
        state: 'running',
        holder: 'gamma.test',
        epoch: 2,
        entries: 6,
        head: '',
      };
      const proof = Buffer.from(bytes).toString('base64');
      await agent.listen({ 'proof.export': [{ result: { vm, proof } }] });
      const config = ['--config', agent.config];
      const run = await tvmmp(['proof', 'export', 'web', ...config], { cwd: agent.directory });
      assert.match(run.stdout, /^web\.tvmmp-proof: 6 entries from birth on, \d+\.\d KiB\n$/);
      assert.deepEqual(new Uint8Array(readFileSync(join(agent.directory, 'web.tvmmp-proof'))), bytes);
      mkdirSync(join(agent.directory, 'etc'));
      writeFileSync(join(agent.directory, 'etc', 'authority.pem'), readFileSync(root));
      const shown = await tvmmp(['proof', 'show', 'web', ...config], { cwd: directory });
      assert.match(shown.stdout, /^verified: 6 entries, 3 holders$/m);
    } finally {
      await agent.close();
    }
  });
});
