/** A source that lies: mallory, enrolled and approved, offers VMs to beta's and alpha's agents. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnvelope, signEnvelope } from '../../lib/appraisal/dsse.ts';
import { signRecovery } from '../../lib/appraisal/recovery.ts';
import { TENANT_PAYLOAD_TYPE, verifyTenantPolicy } from '../../lib/appraisal/tenant-policy.ts';
import { sha256 } from '../../lib/encoding/hash.ts';
import type { Claim } from '../../lib/evidence/claim.ts';
import type { HostId } from '../../lib/evidence/identity.ts';
import { evidenceStatement } from '../../lib/evidence/statement.ts';
import { statements } from '../../lib/migration/hello.ts';
import { decodeEntry, encodeEntry, entryHash } from '../../lib/proof/entry.ts';
import { decodeProof } from '../../lib/proof/proof.ts';
import type { Hello, Message } from '../../lib/protocol/messages.ts';
import { attackLab, victim, victimUuid } from '../support/attacker-lab.ts';
import { AttackerChain, hostOf } from '../support/attacker-chain.ts';
import { expectMessage, fresh } from '../support/attacker.ts';
import { Tenant } from '../support/proof-world.ts';
import { testKeyPair } from '../support/test-authority.ts';

/** What an offer is made from, once the target has attested itself. */
interface Attested {
  readonly chain: AttackerChain;
  readonly session: Uint8Array;
  readonly target: HostId;
  /** What the source has to state (SPEC 6.4). */
  readonly statement: Uint8Array;
}

/** What an attack puts into its offer. */
interface Offered {
  readonly claim: Claim;
  readonly proof: Uint8Array;
}

/** A tenant policy with a condition that is nested deeper than is read, and the digest of its payload. */
function bombPolicy(tenant: Tenant): readonly [envelope: string, digest: Uint8Array] {
  const { payload } = JSON.parse(tenant.policy('level >= 2')) as { payload: string };
  const condition = `${'('.repeat(200)}level >= 2${')'.repeat(200)}`;
  const text = Buffer.from(payload, 'base64').toString().replace('level >= 2', condition);
  return [signEnvelope(TENANT_PAYLOAD_TYPE, Buffer.from(text), tenant.keys), sha256(Buffer.from(text))];
}

describe('attacks: offers of a source', function () {
  this.timeout(180_000);
  const world = attackLab();

  /** Mallory opens a session and makes an offer; gives the target's answer. */
  async function offer(
    attack: (attested: Attested) => Promise<Offered>,
    options: {
      vm?: string;
      to?: string;
      hello?: Partial<Hello>;
      session?: Uint8Array;
      chain?: AttackerChain;
    } = {},
  ): Promise<Message> {
    const { mallory } = world();
    const chain = options.chain ?? new AttackerChain(mallory, options.vm);
    if (chain.entries.length === 0) {
      await chain.add('created');
      await chain.add('started');
    }
    const session = options.session ?? fresh();
    const channel = await mallory.connect(options.to ?? 'beta');
    try {
      const own = mallory.hello('source', session, chain.vm, options.hello);
      await channel.send(own);
      const peer = await expectMessage(channel, 'hello');
      const evidence = await expectMessage(channel, 'evidence');
      const statement = statements(channel, own, peer).source(evidence);
      const { claim, proof } = await attack({ chain, session, target: hostOf(peer), statement });
      await channel.send({ kind: 'offer', session, claim, proof, sealed: new Uint8Array(126).fill(1) });
      const answer = await channel.receive(60_000);
      if (answer.kind === 'staged') {
        await channel.send({ kind: 'abort', session, head: chain.head });
        await expectMessage(channel, 'aborted');
      }
      return answer;
    } finally {
      channel.close();
    }
  }

  /** The reason that the target wrote down for refusing an offer. */
  async function refusal(
    attack: (attested: Attested) => Promise<Offered>,
    options: Parameters<typeof offer>[1] = {},
  ): Promise<string> {
    assert.equal((await offer(attack, options)).kind, 'aborted');
    const [row] = await world().refusals(options.to ?? 'beta');
    assert.equal(row?.operation, 'migrate-in');
    assert.equal(row.peer, 'mallory');
    return row.reason;
  }

  async function honest({ chain, session, target, statement }: Attested): Promise<Offered> {
    const claim = await chain.depart(target, session, statement);
    return { claim, proof: chain.proof() };
  }

  afterEach(async () => {
    await world().ticksOn('alpha');
  });

  it('takes the honest offer that all others are a change of', async () => {
    assert.equal((await offer(honest)).kind, 'staged');
  });

  it('refuses the proof of a VM that another host holds', async () => {
    const file = join(world().relayDirectory, 'victim.proof');
    await world().lab.on('alpha', 'tvmmp', 'proof', 'export', victim, '-o', file);
    const stolen = decodeProof(readFileSync(file));
    const reason = await refusal(
      async ({ chain, session, target, statement }) => {
        const claim = await chain.depart(target, session, statement);
        return { claim, proof: chain.proof({ ...stolen, certificates: [...stolen.certificates] }) };
      },
      { vm: victimUuid },
    );
    assert.match(reason, /proof: life-cycle: its last entry is not departing/);
    const forged = await refusal(
      async ({ chain, session, target, statement }) => {
        const head = decodeEntry(stolen.entries.at(-1)!.entry);
        chain.entries.splice(0, 2, ...stolen.entries);
        chain.head = entryHash(stolen.entries.at(-1)!.entry);
        const { facts, vtpm, epoch } = head;
        const claim = await chain.depart(target, session, statement, { facts, vtpm, epoch });
        const certificates = [...stolen.certificates, world().mallory.identity.akCertificate];
        const policies = [...new Set([...stolen.policies, world().mallory.policy.envelope])];
        return { claim, proof: chain.proof({ certificates, policies }) };
      },
      { vm: victimUuid },
    );
    assert.match(forged, /proof: holder: /);
  });

  it('refuses a VM that its source says it recovered, on its own word, or by a statement that it signed itself', async () => {
    const file = join(world().relayDirectory, 'victim.proof');
    await world().lab.on('alpha', 'tvmmp', 'proof', 'export', victim, '-o', file);
    const stolen = decodeProof(readFileSync(file));
    const { facts, vtpm, epoch, host } = decodeEntry(stolen.entries.at(-1)!.entry);
    const { id, receiveKeyName } = world().mallory.identity;
    const document = {
      ...{ vm: victimUuid, birth: entryHash(stolen.entries[0]!.entry), epoch },
      ...{ head: entryHash(stolen.entries.at(-1)!.entry), lost: { name: host.name, ak: host.akName } },
      ...{ to: { name: id.name, ak: id.akName }, receiveKey: receiveKeyName, state: null, request: fresh() },
      issuedAt: new Date(),
    };
    const forged = signRecovery(document, testKeyPair());
    for (const [carried, says] of [
      [[], /proof: recovery: the recovery statement is not in the proof/],
      [[forged], /proof: recovery: no known policy key signed it/],
    ] as const) {
      const reason = await refusal(
        async ({ chain, session, target, statement }) => {
          chain.entries.splice(0, 2, ...stolen.entries);
          chain.head = document.head;
          const mine = { facts, vtpm, epoch: epoch + 1 };
          const verdict = sha256(parseEnvelope(forged).payload);
          await chain.add('recovered', { ...mine, peer: host, verdict });
          await chain.add('started', mine);
          const claim = await chain.depart(target, session, statement, mine);
          const certificates = [...stolen.certificates, world().mallory.identity.akCertificate];
          const policies = [...new Set([...stolen.policies, world().mallory.policy.envelope, ...carried])];
          return { claim, proof: chain.proof({ certificates, policies }) };
        },
        { vm: victimUuid },
      );
      assert.match(reason, says);
    }
  });

  it('refuses to take a VM that it holds itself', async () => {
    const reason = await refusal(honest, { vm: victimUuid, to: 'alpha' });
    assert.match(reason, /this host has VM victim already \(running\): one VM, one holder/);
    assert.equal((await world().vm('alpha'))?.holder, 'alpha');
  });

  it('refuses a proof with an entry dropped', async () => {
    const reason = await refusal(async (attested) => {
      const { claim } = await honest(attested);
      const { chain } = attested;
      return { claim, proof: chain.proof({ entries: chain.entries.filter((_, index) => index !== 1) }) };
    });
    assert.match(reason, /proof: sequence: /);
  });

  it('refuses a proof with entries in another order', async () => {
    const reason = await refusal(async (attested) => {
      const { claim } = await honest(attested);
      const [first, second, third] = attested.chain.entries;
      return { claim, proof: attested.chain.proof({ entries: [second!, first!, third!] }) };
    });
    assert.match(reason, /proof: (sequence|life-cycle|previous): /);
  });

  it('refuses a proof with an entry forged', async () => {
    const reason = await refusal(async (attested) => {
      const { claim } = await honest(attested);
      const { chain } = attested;
      const entries = chain.entries.map((signed, index) =>
        index === 1
          ? { ...signed, entry: encodeEntry({ ...decodeEntry(signed.entry), facts: fresh() }) }
          : signed,
      );
      return { claim, proof: chain.proof({ entries }) };
    });
    assert.match(reason, /proof: quote-binding: /);
  });

  it('refuses a fork of a chain that it has seen, and its continuation from an older entry', async () => {
    const chain = new AttackerChain(world().mallory);
    assert.equal((await offer(honest, { chain })).kind, 'staged');
    const seen = chain.entries.length;
    const denyDeparture = (): void => {
      chain.entries.pop();
      chain.head = entryHash(chain.entries.at(-1)!.entry);
    };
    denyDeparture();
    const instead = await refusal(honest, { chain });
    assert.match(
      instead,
      /proof: known-head: another entry 2 of this VM is known here: the chain was forked/,
    );
    denyDeparture();
    await chain.add('suspended');
    await chain.add('resumed');
    const longer = await refusal(honest, { chain });
    assert.match(longer, /proof: known-head: another entry 2 of this VM is known here: the chain was forked/);
    assert.ok(chain.entries.length > seen);
  });

  it('refuses a VM whose owner does not want its holder, or whose policy is left out or a bomb', async () => {
    const tenant = new Tenant();
    /** A chain of mallory's that is bound to a tenant policy, and whether its proof carries that. */
    const bound = async (envelope: string, verdict: Uint8Array, carried: boolean): Promise<string> => {
      const chain = new AttackerChain(world().mallory);
      await chain.add('created');
      await chain.add('bound', { verdict });
      await chain.add('started');
      const policies = [world().mallory.policy.envelope, ...(carried ? [envelope] : [])];
      return refusal(
        async (attested) => ({ ...(await honest(attested)), proof: chain.proof({ policies }) }),
        { chain },
      );
    };
    const vm = new AttackerChain(world().mallory).vm;
    const eu = tenant.policy('region == "eu"', 1, { vm });
    const { digest } = verifyTenantPolicy(eu);
    assert.match(await bound(eu, digest, true), /proof: tenant: the tenant policy is about VM /);
    assert.match(
      await bound(eu, digest, false),
      /proof: tenant: the tenant policy in force is not in the proof/,
    );
    const [bomb, payload] = bombPolicy(tenant);
    assert.match(
      await bound(bomb, payload, true),
      /proof: tenant: the tenant policy cannot be read: \/condition/,
    );
    const chain = new AttackerChain(world().mallory);
    const own = tenant.policy('region == "eu"', 1, { vm: chain.vm });
    await chain.add('created');
    await chain.add('bound', { verdict: verifyTenantPolicy(own).digest });
    await chain.add('started');
    const policies = [world().mallory.policy.envelope, own];
    const reason = await refusal(
      async (attested) => ({ ...(await honest(attested)), proof: chain.proof({ policies }) }),
      { chain },
    );
    assert.match(reason, /proof: tenant: mallory took the VM: the tenant asks for region == "eu"/);
  });

  it('refuses the good proof of another VM', async () => {
    const reason = await refusal(async ({ session, target, statement }) => {
      const other = new AttackerChain(world().mallory);
      await other.add('created');
      await other.add('started');
      const claim = await other.depart(target, session, statement);
      return { claim, proof: other.proof() };
    });
    assert.match(reason, /proof: vm: /);
  });

  it('refuses a proof that hands the VM to another host', async () => {
    const reason = await refusal(async ({ chain, session, statement }) => {
      const alpha = { name: 'alpha', akName: Uint8Array.from([0, 11, ...fresh()]), certificate: fresh() };
      const claim = await chain.depart(alpha, session, statement);
      return { claim, proof: chain.proof() };
    });
    assert.match(reason, /proof: holder: departing is to alpha, not to this host/);
  });

  it('refuses a proof that hands the VM over in another session', async () => {
    const reason = await refusal(async ({ chain, target, statement }) => {
      const claim = await chain.depart(target, fresh(), statement);
      return { claim, proof: chain.proof() };
    });
    assert.match(reason, /proof: session: departing is of another session/);
  });

  it('refuses a proof that does not end with departing', async () => {
    const reason = await refusal(async (attested) => {
      const { claim } = await honest(attested);
      const { chain } = attested;
      return { claim, proof: chain.proof({ entries: chain.entries.slice(0, -1) }) };
    });
    assert.match(reason, /proof: life-cycle: its last entry is not departing/);
  });

  it('refuses the source’s evidence of an earlier session', async () => {
    let recorded: Claim | undefined;
    await offer(async (attested) => {
      const offered = await honest(attested);
      recorded = offered.claim;
      return offered;
    });
    const reason = await refusal(async (attested) => ({ ...(await honest(attested)), claim: recorded! }));
    assert.match(reason, /source mallory is not trusted: quote-binding: /);
  });

  it('refuses the source’s evidence in the role of a target', async () => {
    const reason = await refusal(async ({ chain, session, target }) => {
      const claim = await chain.depart(target, session, evidenceStatement('target', fresh()));
      return { claim, proof: chain.proof() };
    });
    assert.match(reason, /source mallory is not trusted: quote-binding: /);
  });

  it('refuses a source whose policy is older than its VM’s proof requires', async () => {
    const { id, version } = world().mallory.policy.policy;
    const reason = await refusal(honest, {
      hello: { policy: { id, version: version - 1, digest: fresh() } },
    });
    assert.match(reason, /source mallory is not trusted: policy-version: /);
  });

  it('refuses a session id that was used before', async () => {
    const session = fresh();
    assert.equal((await offer(honest, { session })).kind, 'staged');
    await assert.rejects(offer(honest, { session }), /is gone/);
    await world().logged('beta', /session-replayed|a session id that was used before/, 0);
  });

  it('takes no part in a session that it has disclaimed', async () => {
    const about = { session: fresh(), head: fresh() };
    const channel = await world().mallory.connect('beta');
    await channel.send({ kind: 'abort', ...about });
    assert.equal((await expectMessage(channel, 'aborted')).disclaimer.host.name, 'beta');
    channel.close();
    await assert.rejects(offer(honest, { session: about.session }), /is gone/);
  });

  it('gives a VM to nobody who merely asks for it: libvirt has no migration under way', async () => {
    const { mallory } = world();
    const channel = await mallory.connect('alpha');
    const session = fresh();
    await channel.send(mallory.hello('target', session, victimUuid));
    await expectMessage(channel, 'refused');
    channel.close();
    const [row] = await world().refusals('alpha');
    assert.match(row!.reason, /libvirt has no outgoing migration of victim under way/);
    assert.equal(row!.peer, 'mallory');
  });
});
