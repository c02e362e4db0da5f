/** A destination that lies about itself: mallory, enrolled and approved, answers alpha's agent in every wrong way. */
import assert from 'node:assert/strict';
import { sign, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { evidenceStatement, greetingTranscript } from '../../lib/evidence/statement.ts';
import type { Claim } from '../../lib/evidence/claim.ts';
import type { TlsChannel } from '../../lib/agent/tls-channel.ts';
import type { Channel } from '../../lib/protocol/channel.ts';
import { entryHash } from '../../lib/proof/entry.ts';
import { decodeProof } from '../../lib/proof/proof.ts';
import { encodeMessage } from '../../lib/protocol/codec.ts';
import type { EvidenceMessage, Hello, Message } from '../../lib/protocol/messages.ts';
import { AK_HANDLE, RECEIVE_KEY_HANDLE } from '../../lib/tpm/handles.ts';
import { ecdsaFromP1363, formatSignature } from '../../lib/tpm/signature.ts';
import { attackLab, victimUuid } from '../support/attacker-lab.ts';
import { expectMessage, fresh, targetStatement } from '../support/attacker.ts';
import { makeTestAuthority, testKeyPair } from '../support/test-authority.ts';

/** A conversation up to where the target has to attest itself. */
interface Greeting {
  readonly channel: TlsChannel;
  readonly theirs: Hello;
  readonly own: Hello;
}

describe('attacks: evidence of a destination', function () {
  this.timeout(180_000);
  const world = attackLab();

  /** alpha greets mallory, mallory greets back; then `attack` says what mallory sends. Gives the CLI's words. */
  async function greeted(
    change: Partial<Hello> | ((theirs: Hello) => Partial<Hello>),
    attack: (greeting: Greeting) => Promise<void>,
  ): Promise<string> {
    const { mallory } = world();
    const asked = world().tvmmpMigrate();
    const channel = await mallory.accept();
    try {
      const theirs = await expectMessage(channel, 'hello');
      const changed = typeof change === 'function' ? change(theirs) : change;
      const own = mallory.hello('target', theirs.session, theirs.vm, changed);
      await channel.send(own);
      await attack({ channel, theirs, own });
      const result = await asked;
      assert.equal(result.status, 1, result.stderr + result.stdout);
      return result.stderr;
    } finally {
      channel.close();
    }
  }

  /** Sends this claim as evidence, waits for `refused`, and gives the names of the checks that failed. */
  async function failedChecks(
    change: Partial<Hello>,
    claimOf: (greeting: Greeting) => Promise<Claim>,
  ): Promise<readonly string[]> {
    const said = await greeted(change, async (greeting) => {
      const { channel, theirs } = greeting;
      await channel.send({ kind: 'evidence', session: theirs.session, claim: await claimOf(greeting) });
      await expectMessage(channel, 'refused');
    });
    assert.match(said, /is not trusted: /);
    const [refusal] = await world().refusals('alpha');
    assert.equal(refusal?.vm, victimUuid);
    assert.equal(refusal.operation, 'migrate-out');
    const checks = refusal.verdict?.checks ?? [];
    return checks.filter(({ outcome }) => outcome === 'fail').map(({ name }) => name);
  }

  const honestStatement = ({ channel, own, theirs }: Greeting): Uint8Array =>
    targetStatement(channel, own, theirs);

  afterEach(async () => {
    assert.equal((await world().vm('alpha'))?.state, 'running');
    await world().ticksOn('alpha');
  });

  it('takes the honest evidence that all others are a change of', async () => {
    await greeted({}, async (greeting) => {
      const { channel, theirs } = greeting;
      const claim = await world().mallory.claim(honestStatement(greeting));
      await channel.send({ kind: 'evidence', session: theirs.session, claim });
      const offer = await expectMessage(channel, 'offer');
      assert.ok(offer.sealed.length === 126);
      const head = entryHash(decodeProof(offer.proof).entries.at(-1)!.entry);
      await channel.send(await world().mallory.disclaim({ session: theirs.session, head }));
    });
    await world().becomes('alpha', 'running');
  });

  it('tells a destination that it does not trust no more than that it refuses', async () => {
    await greeted({}, async (greeting) => {
      const { channel, theirs } = greeting;
      const claim = await world().mallory.claim(fresh());
      await channel.send({ kind: 'evidence', session: theirs.session, claim });
      const answer = await expectMessage(channel, 'refused');
      assert.deepEqual(answer, { kind: 'refused', session: theirs.session, hint: null });
      await assert.rejects(channel.receive(60_000), /is gone/);
    });
  });

  it('refuses evidence that was replayed from an earlier session', async () => {
    let recorded: Claim | undefined;
    await failedChecks({ receivePublic: world().mallory.identity.akPublic }, async (greeting) => {
      return (recorded = await world().mallory.claim(honestStatement(greeting)));
    });
    const failed = await failedChecks({}, () => Promise.resolve(recorded!));
    assert.deepEqual(failed, ['quote-binding']);
  });

  it('refuses evidence that was made for another TLS channel with the same hellos', async () => {
    const failed = await failedChecks({}, async ({ channel, own, theirs }) => {
      const elsewhere = { ...viewOf(channel), exporter: fresh() };
      return world().mallory.claim(targetStatement(elsewhere, own, theirs));
    });
    assert.deepEqual(failed, ['quote-binding']);
  });

  it('refuses evidence for the same channel between other TLS certificates', async () => {
    const failed = await failedChecks({}, async ({ channel, own, theirs }) => {
      const elsewhere = { ...viewOf(channel), peerCertificateHash: fresh() };
      return world().mallory.claim(targetStatement(elsewhere, own, theirs));
    });
    assert.deepEqual(failed, ['quote-binding']);
  });

  it('refuses the evidence of beta that a relay passes on', async () => {
    const { mallory } = world();
    const asked = world().tvmmpMigrate();
    const toAlpha = await mallory.accept();
    const theirs = await expectMessage(toAlpha, 'hello');
    const toBeta = await mallory.connect('beta');
    // Mallory passes alpha's hello on as it is, and beta's answers back: bait for alpha, switch to mallory.
    await toBeta.send({ ...theirs, host: mallory.identity.id.name });
    await toAlpha.send(await expectMessage(toBeta, 'hello'));
    await toAlpha.send(await expectMessage(toBeta, 'evidence'));
    await expectMessage(toAlpha, 'refused');
    toBeta.close();
    const { status, stderr } = await asked;
    assert.equal(status, 1);
    assert.match(stderr, /peer-name: TLS mallory, hello beta, AK certificate beta/);
    assert.match(stderr, /also failed: quote-binding/);
  });

  it('refuses the AK certificate of beta with a quote of mallory', async () => {
    const beta = await betaHello();
    const { akCertificate, akPublic, receivePublic } = beta;
    const failed = await failedChecks({ akCertificate, akPublic, receivePublic }, (greeting) =>
      world().mallory.claim(honestStatement(greeting)),
    );
    assert.ok(failed.includes('peer-name'));
    assert.ok(failed.includes('quote-signature'));
  });

  it('refuses a quote over another nonce', async () => {
    const failed = await failedChecks({}, ({ channel, own, theirs }) =>
      world().mallory.claim(targetStatement(channel, { ...own, nonce: fresh() }, theirs)),
    );
    assert.deepEqual(failed, ['quote-binding']);
  });

  it('refuses a quote in the role of a source', async () => {
    const failed = await failedChecks({}, ({ channel, own, theirs }) =>
      world().mallory.claim(
        evidenceStatement(
          'source',
          greetingTranscript({
            exporter: channel.exporter,
            targetTlsCertificate: channel.ownCertificateHash,
            sourceTlsCertificate: channel.peerCertificateHash,
            sourceHello: encodeMessage(theirs),
            targetHello: encodeMessage(own),
          }),
        ),
      ),
    );
    assert.deepEqual(failed, ['quote-binding']);
  });

  it('refuses a quote for another VM', async () => {
    const failed = await failedChecks({}, ({ channel, own, theirs }) => {
      const vm = 'a84c5f1e-8f0c-4d3f-8d52-0b4a6f0e9d11';
      return world().mallory.claim(targetStatement(channel, { ...own, vm }, { ...theirs, vm }));
    });
    assert.deepEqual(failed, ['quote-binding']);
  });

  for (const [what, change] of [
    ['the source’s own role', { role: 'source' }],
    ['another session', { session: fresh() }],
    ['another VM', { vm: 'a84c5f1e-8f0c-4d3f-8d52-0b4a6f0e9d11' }],
    ['the name of the source itself', { host: 'alpha' }],
  ] as const) {
    it(`breaks off at a hello of ${what}`, async () => {
      const said = await greeted(change, async ({ channel }) => {
        await assert.rejects(channel.receive(60_000), /is gone/);
      });
      assert.match(
        said,
        /the peer broke the protocol: hello (of|for) (our own role|another session|another VM|our own host)/,
      );
    });
  }

  it('breaks off at a hello that gives the source its own nonce back', async () => {
    const said = await greeted(
      (theirs) => ({ nonce: theirs.nonce }),
      async ({ channel }) => {
        await assert.rejects(channel.receive(60_000), /is gone/);
      },
    );
    assert.match(said, /the peer broke the protocol: hello with our own nonce/);
  });

  it('refuses an AK certificate of another authority', async () => {
    const { identity } = world().mallory;
    const other = await makeTestAuthority('Rogue');
    const key = new X509Certificate(identity.akCertificate).publicKey;
    const akCertificate = await other.hostCertificate(
      { name: 'mallory', akName: identity.id.akName, receiveKeyName: identity.receiveKeyName },
      key,
    );
    const failed = await failedChecks({ akCertificate }, (greeting) =>
      world().mallory.claim(honestStatement(greeting)),
    );
    assert.ok(failed.includes('ak-certificate'));
    const [refusal] = await world().refusals('alpha');
    const check = refusal?.verdict?.checks.find(({ name }) => name === 'ak-certificate');
    assert.match(check?.expected ?? '', /an AK certificate of this authority/);
  });

  it('refuses a receive key that is not the certified one', async () => {
    const failed = await failedChecks(
      { receivePublic: await betaHello().then((h) => h.receivePublic) },
      (greeting) => world().mallory.claim(honestStatement(greeting)),
    );
    assert.deepEqual(failed, ['receive-key']);
  });

  it('refuses another AK than the certified one', async () => {
    const failed = await failedChecks({ akPublic: await betaHello().then((h) => h.akPublic) }, (greeting) =>
      world().mallory.claim(honestStatement(greeting)),
    );
    assert.deepEqual(failed, ['ak-public']);
  });

  it('refuses a quote signed by a key in software', async () => {
    const { privateKey } = testKeyPair();
    const failed = await failedChecks({}, async (greeting) => {
      const claim = await world().mallory.claim(honestStatement(greeting));
      const raw = sign('sha256', claim.attest, { key: privateKey, dsaEncoding: 'ieee-p1363' });
      return { ...claim, signature: formatSignature(ecdsaFromP1363(raw, 'sha256')) };
    });
    assert.ok(failed.includes('quote-signature'));
  });

  it('refuses an attestation of another kind that the same AK signed', async () => {
    const failed = await failedChecks({}, async (greeting) => {
      const claim = await world().mallory.claim(honestStatement(greeting));
      const { attest, signature } = await world().mallory.tpm.certify(RECEIVE_KEY_HANDLE, AK_HANDLE, fresh());
      return { ...claim, attest, signature };
    });
    assert.ok(failed.includes('quote-type'));
  });

  it('refuses a quote of fewer PCRs than the policy’s', async () => {
    const failed = await failedChecks({}, (greeting) =>
      world().mallory.claim(honestStatement(greeting), [{ bank: 'sha256', pcrs: [0, 1] }]),
    );
    assert.deepEqual(failed, ['pcr-selection', 'pcr-state']);
  });

  it('refuses PCR values that the quote does not cover', async () => {
    const failed = await failedChecks({}, async (greeting) => {
      const claim = await world().mallory.claim(honestStatement(greeting));
      return { ...claim, pcrs: claim.pcrs.map((pcr) => ({ ...pcr, value: fresh() })) };
    });
    assert.deepEqual(failed, ['pcr-values']);
  });

  it('refuses a policy that is older than the one the VM’s proof requires', async () => {
    const { policy } = world().mallory.policy;
    const older = { id: policy.id, version: policy.version - 1, digest: fresh() };
    const failed = await failedChecks({ policy: older }, (greeting) =>
      world().mallory.claim(honestStatement(greeting)),
    );
    assert.deepEqual(failed, ['policy-version']);
  });

  it('refuses a policy of another content under the same version', async () => {
    const { policy } = world().mallory.policy;
    const forged = { id: policy.id, version: policy.version, digest: fresh() };
    const failed = await failedChecks({ policy: forged }, (greeting) =>
      world().mallory.claim(honestStatement(greeting)),
    );
    assert.deepEqual(failed, ['policy-version']);
  });

  it('seals to nobody whose evidence carries another session', async () => {
    const said = await greeted({}, async (greeting) => {
      const claim = await world().mallory.claim(honestStatement(greeting));
      const message: EvidenceMessage = { kind: 'evidence', session: fresh(), claim };
      await greeting.channel.send(message);
      await assert.rejects(greeting.channel.receive(60_000), /is gone/);
    });
    assert.match(said, /the peer broke the protocol: evidence of another session/);
  });

  for (const kind of ['staged', 'aborted', 'query', 'hello'] as const) {
    it(`breaks off at ${kind} where evidence is due`, async () => {
      const said = await greeted({}, async ({ channel, theirs, own }) => {
        const { session } = theirs;
        const head = fresh();
        const words: Record<typeof kind, Message> = {
          staged: { kind: 'staged', session, head },
          query: { kind: 'query', session, head },
          aborted: await world().mallory.disclaim({ session, head }),
          hello: own,
        };
        await channel.send(words[kind]);
        await assert.rejects(channel.receive(60_000), /is gone/);
      });
      assert.match(said, new RegExp(`the peer broke the protocol: ${kind} has no place in state greeted`));
    });
  }

  it('refuses a host that has the TLS key of beta and not its TPM', async () => {
    const read = (name: string): string => readFileSync(join(world().etc('beta'), name), 'utf8');
    const beta = await betaHello();
    const stolen = { cert: read('agent-cert.pem'), key: read('agent-key.pem') };
    const { host, akCertificate, akPublic, receivePublic } = beta;
    const change = { host, akCertificate, akPublic, receivePublic };
    const failed = await world().mallory.posingWith(stolen, () =>
      failedChecks(change, (greeting) => world().mallory.claim(honestStatement(greeting))),
    );
    assert.ok(failed.includes('quote-signature'));
    assert.ok(!failed.includes('peer-name'), 'the stolen TLS key was not used');
  });

  /** What beta says of itself to anybody enrolled. */
  async function betaHello(): Promise<Hello> {
    const { mallory } = world();
    const channel = await mallory.connect('beta');
    try {
      await channel.send(mallory.hello('source', fresh(), 'c3a0a7a2-3d3f-4f5e-9a53-6b1f4f1a7e10'));
      return await expectMessage(channel, 'hello');
    } finally {
      channel.close();
    }
  }
});

/** A channel as a transcript sees it, to be changed. */
function viewOf(channel: TlsChannel): Channel {
  const { exporter, ownCertificateHash, peerCertificateHash, peerName, peerAddress } = channel;
  const none = (): Promise<never> => Promise.reject(new Error('nothing is sent over it'));
  const members = { exporter, ownCertificateHash, peerCertificateHash, peerName, peerAddress };
  return { ...members, send: none, receive: none, close: () => undefined };
}
