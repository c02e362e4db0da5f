/** A host that was revoked: enrolled, approved, honest to look at, and named in the authority's list. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { signRevocations } from '../../lib/appraisal/revocation.ts';
import { statements } from '../../lib/migration/hello.ts';
import { attackLab, victim } from '../support/attacker-lab.ts';
import { AttackerChain, hostOf } from '../support/attacker-chain.ts';
import { expectMessage, fresh, targetStatement } from '../support/attacker.ts';
import { testKeyPair } from '../support/test-authority.ts';

const program = new URL('../../scripts/lab.d/bin/tvmmp', import.meta.url).pathname;

describe('attacks: a revoked host', function () {
  this.timeout(180_000);
  const world = attackLab();
  const listFile = (name: string): string => join(world().relayDirectory, name);

  /** The authority says something about mallory; the list goes to a file that every host sees. */
  const authority = (verb: 'revoke' | 'reinstate', file: string): void => {
    const directory = join(world().lab.directory, 'authority');
    execFileSync(program, ['authority', verb, directory, 'mallory', '-o', listFile(file)], { stdio: 'pipe' });
  };
  const install = (host: string, file: string): Promise<string> =>
    world().lab.on(host, 'tvmmp', 'revocation', 'install', listFile(file), '--json');
  const versionAt = async (host: string): Promise<number> =>
    (JSON.parse(await world().lab.on(host, 'tvmmp', 'revocation', 'show', '--json')) as { version: number })
      .version;
  const failedAt = async (host: string): Promise<readonly string[]> => {
    const [row] = await world().refusals(host);
    return (row?.verdict?.checks ?? []).filter(({ outcome }) => outcome === 'fail').map(({ name }) => name);
  };

  /** Mallory makes an honest offer of a VM of its own; gives the answer. */
  async function offerTo(host: string, list?: string): Promise<string> {
    const { mallory } = world();
    const chain = new AttackerChain(mallory);
    await chain.add('created');
    await chain.add('started');
    const session = fresh();
    const channel = await mallory.connect(host);
    try {
      const own = mallory.hello('source', session, chain.vm);
      await channel.send(own);
      if (list !== undefined) await channel.send({ kind: 'revocations', session, list });
      const peer = await expectMessage(channel, 'hello');
      const evidence = await expectMessage(channel, 'evidence');
      const claim = await chain.depart(
        hostOf(peer),
        session,
        statements(channel, own, peer).source(evidence),
      );
      const sealed = new Uint8Array(126).fill(1);
      await channel.send({ kind: 'offer', session, claim, proof: chain.proof(), sealed });
      let answer = await channel.receive(60_000);
      while (answer.kind === 'revocations') answer = await channel.receive(60_000);
      if (answer.kind === 'staged') {
        await channel.send({ kind: 'abort', session, head: chain.head });
        await expectMessage(channel, 'aborted');
      }
      return answer.kind;
    } finally {
      channel.close();
    }
  }

  before(async () => {
    authority('revoke', 'revoked.json');
    await install('alpha', 'revoked.json');
  });

  after(async () => {
    authority('reinstate', 'reinstated.json');
    for (const host of ['alpha', 'beta']) await install(host, 'reinstated.json');
  });

  afterEach(async () => {
    await world().becomes('alpha', 'running');
    await world().ticksOn('alpha');
  });

  it('receives nothing: its evidence is good, and it is refused for what it is', async () => {
    const { mallory } = world();
    const asked = world().tvmmpMigrate();
    const channel = await mallory.accept();
    const theirs = await expectMessage(channel, 'hello');
    const own = mallory.hello('target', theirs.session, theirs.vm);
    await channel.send(own);
    const claim = await mallory.claim(targetStatement(channel, own, theirs));
    await channel.send({ kind: 'evidence', session: theirs.session, claim });
    await expectMessage(channel, 'refused');
    const { status, stderr } = await asked;
    channel.close();
    assert.equal(status, 1, stderr);
    assert.match(stderr, /revocation: mallory, revoked since/);
    assert.deepEqual(await failedAt('alpha'), ['revocation']);
  });

  it('sends nothing', async () => {
    assert.equal(await offerTo('alpha'), 'aborted');
    assert.deepEqual(await failedAt('alpha'), ['revocation']);
  });

  it('is refused by a host that never got the list from its operator, once that has met one that did', async () => {
    assert.equal(await versionAt('beta'), 0);
    const from = world().log('beta').length;
    await world().roundTrip();
    await world().logged('beta', /a peer brought a newer revocation list/, from);
    assert.equal(await versionAt('beta'), await versionAt('alpha'));
    assert.equal(await offerTo('beta'), 'aborted');
    assert.deepEqual(await failedAt('beta'), ['revocation']);
  });

  it('does not talk itself out of it by a list of its own making', async () => {
    const version = await versionAt('beta');
    const forged = signRevocations({ version: version + 1, issuedAt: new Date(), hosts: [] }, testKeyPair());
    await assert.rejects(offerTo('beta', forged));
    assert.equal(await versionAt('beta'), version);
    assert.equal(await offerTo('beta'), 'aborted');
  });

  it('is let in neither by an old list nor after a restart', async () => {
    const [first, then] = [await versionAt('beta'), readFileSync(listFile('revoked.json'), 'utf8')];
    authority('reinstate', 'between.json');
    authority('revoke', 'again.json');
    await install('beta', 'again.json');
    assert.equal(await offerTo('beta', readFileSync(listFile('between.json'), 'utf8')), 'aborted');
    assert.equal(await offerTo('beta', then), 'aborted');
    assert.equal(await versionAt('beta'), first + 2);
    const { status, stderr } = await world().exec(
      'beta',
      'tvmmp',
      'revocation',
      'install',
      listFile('between.json'),
    );
    assert.equal(status, 1);
    assert.match(stderr, /is below \d+, in force \(policy-invalid\)/);
    await world().lab.must('stop-agent', 'beta');
    await world().lab.must('start-agent', 'beta');
    assert.equal(await offerTo('beta'), 'aborted');
    assert.deepEqual(await failedAt('beta'), ['revocation']);
  });

  it('leaves the good entries of a proof good, for an auditor with the list', async () => {
    const file = listFile('victim.tvmmp-proof');
    await world().lab.on('alpha', 'tvmmp', 'proof', 'export', victim, '-o', file);
    const root = join(world().etc('alpha'), 'authority.pem');
    const told = execFileSync(program, [
      'proof',
      'verify',
      file,
      '--authority',
      root,
      '--revocations',
      listFile('again.json'),
    ]);
    assert.match(told.toString(), /^verified: /);
  });
});
