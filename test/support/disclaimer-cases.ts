/** The disclaimers that test vectors are made of (SPEC 6.10): good ones, and bad ones with one fault each. */
import { sha256 } from '../../lib/encoding/hash.ts';
import { evidenceStatement } from '../../lib/evidence/statement.ts';
import { disclaimerStatement } from '../../lib/proof/disclaimer.ts';
import type { Disclaimed } from '../../lib/proof/disclaimer.ts';
import { decodeEntry } from '../../lib/proof/entry.ts';
import type { ProofCheck } from '../../lib/proof/fault.ts';
import { encodeMessage } from '../../lib/protocol/codec.ts';
import type { Aborted } from '../../lib/protocol/messages.ts';
import { makeTestAuthority } from './test-authority.ts';
import { ChainBuilder, pcrsOf } from './proof-world.ts';
import type { World } from './proof-world.ts';
import { quoted, saidAbout } from './quoted-statement.ts';
import type { StatementFlaws } from './quoted-statement.ts';

/** How a disclaimer departs from what an honest target would say. */
export interface DisclaimerFlaws extends StatementFlaws {
  readonly about?: Partial<Disclaimed>;
  readonly time?: number;
  /** Statements and entries that the quote covers beside it. */
  readonly beside?: { readonly entries: readonly Uint8Array[]; readonly statements: readonly Uint8Array[] };
  readonly message?: Partial<Aborted>;
}

/** *aborted* of beta, which this chain departed to. */
export function disclaim(chain: ChainBuilder, flaws: DisclaimerFlaws = {}): Aborted {
  const { world } = chain;
  const host = flaws.host ?? world.beta;
  const policy = flaws.policy ?? chain.policy;
  const stated = { host: host.id, policy: policy.id, time: flaws.time ?? chain.time + 1000 };
  const about = { session: chain.session, head: chain.head, ...flaws.about };
  const quote = quoted(disclaimerStatement(about, stated), { host, policy }, flaws, flaws.beside);
  return {
    kind: 'aborted',
    session: chain.session,
    disclaimer: { ...stated, ...quote },
    certificates: [host.certificate, world.authority.policySigner],
    policies: [policy.text],
    ...flaws.message,
  };
}

/** One *aborted*, the proof of the source at whose end it must hold or fail, and why. */
export interface DisclaimerCase {
  readonly name: string;
  readonly why: string;
  readonly expect: 'verified' | ProofCheck;
  readonly build: (world: World) => Promise<{ readonly chain: ChainBuilder; readonly aborted: Aborted }>;
}

function left(world: World): ChainBuilder {
  return new ChainBuilder(world).live('created', 'started').departing(world.beta);
}

const said = saidAbout(left, (chain, flaws?: DisclaimerFlaws) => ({ aborted: disclaim(chain, flaws) }));

async function withRaisedPolicy(
  world: World,
  said: 'now' | 'before',
): Promise<{ chain: ChainBuilder; aborted: Aborted }> {
  const chain = new ChainBuilder(world).live('created', 'started');
  const before = chain.policy;
  chain.policy = world.signPolicy({ version: 4 });
  chain.departing(world.beta);
  return Promise.resolve({
    chain,
    aborted: disclaim(chain, said === 'now' ? {} : { policy: before }),
  });
}

/** Every case; vectors are named after them. */
export const disclaimerCases: readonly DisclaimerCase[] = [
  said('good', 'the host that departing named disclaims this departure', 'verified'),
  said('with-others', 'sessions that end together share a quote', 'verified', (_, chain) => ({
    beside: { entries: [], statements: [sha256(Buffer.from('one')), sha256(Buffer.from('two'))] },
    time: chain.time,
  })),
  said('renewed', 'the certificate of the same AK was renewed meanwhile', 'verified', async (world) => ({
    host: await world.enrol(world.beta.id.name, { tpm: world.beta.tpm }),
  })),
  said('newer-policy', 'the target has a newer version of the policy in force', 'verified', (world) => ({
    policy: world.signPolicy({ version: 4 }),
  })),
  said('after-reboot', 'the target was updated meanwhile, to a state that is approved', 'verified', () => ({
    quote: { pcrs: pcrsOf('update') },
  })),
  said('of-other-session', 'it was signed in another session', 'quote-binding', () => ({
    about: { session: sha256(Buffer.from('another session')) },
  })),
  said(
    'of-other-departure',
    'it was signed of another departing entry, under the same session id',
    'quote-binding',
    () => ({ about: { head: sha256(Buffer.from('another entry')) } }),
  ),
  said('of-other-host', 'another enrolled host says that it has nothing of the VM', 'holder', (world) => ({
    host: world.gamma,
  })),
  said('of-source', 'the source itself says that it has nothing of the VM', 'holder', (world) => ({
    host: world.alpha,
  })),
  said(
    'by-other-ak',
    "a host that knows the target's certificate has not its AK",
    'quote-signature',
    (world) => ({
      signer: world.gamma,
    }),
  ),
  said(
    'by-other-enrolment',
    'a host of that name with another AK is another host',
    'holder',
    async (world) => ({
      host: await world.enrol(world.beta.id.name),
    }),
  ),
  said('unsigned', 'who has the TLS key of the target alone signs nothing', 'quote-signature', (_, chain) => {
    const { disclaimer } = disclaim(chain);
    const signature = disclaimer.signature.map((byte, at) => (at > 8 ? byte ^ 1 : byte));
    return { message: { disclaimer: { ...disclaimer, signature } } };
  }),
  said('certify', 'the AK certified a key whose qualifying data is the statement', 'quote-type', () => ({
    quote: { type: 'certify' },
  })),
  said('of-evidence', 'the evidence of the session is no disclaimer', 'quote-binding', () => ({
    statement: evidenceStatement('target', sha256(Buffer.from('transcript'))),
  })),
  said('of-arrived', "the target's arrived entry is no disclaimer", 'quote-binding', (world, chain) => {
    const members = { epoch: 1, host: world.beta.id, peer: world.alpha.id, session: chain.session };
    const entry = new ChainBuilder(world).sign(
      chain.draft('arrived', { ...members, verdict: chain.head }),
      world.beta,
    );
    const { path, attest, signature } = entry;
    const { host, policy, time } = decodeEntry(entry.entry);
    return { message: { disclaimer: { host, policy, time, path, attest, signature } } };
  }),
  said('bad-state', 'the target runs what nobody has approved', 'pcr-state', () => ({
    quote: { pcrs: pcrsOf('evil') },
  })),
  said('other-pcrs', 'the quote covers PCRs that nothing was measured into', 'pcr-selection', () => ({
    selection: [{ bank: 'sha256', pcrs: [4] }],
  })),
  said('without-certificate', 'its certificate is missing', 'certificate', (world) => ({
    message: { certificates: [world.authority.policySigner] },
  })),
  said('foreign-root', 'the certificate is that of another authority', 'certificate', async (world) => {
    const { akName, receiveKeyName, akKey } = world.beta.tpm;
    const other = await makeTestAuthority();
    const certificate = await other.hostCertificate({ name: 'beta.test', akName, receiveKeyName }, akKey);
    return {
      host: { ...world.beta, id: { ...world.beta.id, certificate: sha256(certificate) }, certificate },
    };
  }),
  said('expired', 'the certificate had expired when it was said', 'certificate', (_, chain) => ({
    time: chain.time + 100 * 365 * 86_400_000,
  })),
  said('without-policy', 'the policy is missing', 'policy', () => ({ message: { policies: [] } })),
  {
    name: 'raised-policy',
    why: 'the policy was raised before the VM departed',
    expect: 'verified',
    build: (world) => withRaisedPolicy(world, 'now'),
  },
  {
    name: 'old-policy',
    why: 'a state that only an older policy approves is not good enough',
    expect: 'policy-order',
    build: (world) => withRaisedPolicy(world, 'before'),
  },
  said('unused', 'it brings a certificate that nothing needs', 'unused', (world) => ({
    message: {
      certificates: [world.beta.certificate, world.authority.policySigner, world.gamma.certificate],
    },
  })),
  {
    name: 'nothing-departs',
    why: 'the VM has not departed, or is back',
    expect: 'life-cycle',
    build: (world) => {
      const chain = left(world);
      const aborted = disclaim(chain);
      return Promise.resolve({ chain: chain.add('aborted', { session: chain.session }), aborted });
    },
  },
];

/** The message of a case as it travels. */
export function abortedBytes({ aborted }: { readonly aborted: Aborted }): Uint8Array {
  return encodeMessage(aborted);
}
