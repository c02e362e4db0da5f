/** The proofs that test vectors are made of: good ones, and bad ones with one fault each. */
import { sha256 } from '../../lib/encoding/hash.ts';
import { encodeEntry, entryHash } from '../../lib/proof/entry.ts';
import type { SignedEntry } from '../../lib/proof/entry.ts';
import type { ProofCheck, ProofFault } from '../../lib/proof/fault.ts';
import { prepareBatch } from '../../lib/proof/signing.ts';
import { badChainCases } from './proof-cases-chain.ts';
import { badCheckpointCases, goodCheckpointCases } from './proof-cases-checkpoint.ts';
import { domainCases } from './proof-cases-domain.ts';
import { badEntryCases } from './proof-cases-entry.ts';
import { quarantineCases } from './proof-cases-quarantine.ts';
import { recoveryCases } from './proof-cases-recovery.ts';
import { tenantCases } from './proof-cases-tenant.ts';
import { ChainBuilder } from './proof-world.ts';
import type { World } from './proof-world.ts';

/** One proof and what verifying it must say. */
export interface ProofCase {
  readonly name: string;
  /** Why this vector exists: what an attacker would gain, or what must keep working. */
  readonly why: string;
  readonly expect: 'verified' | ProofCheck;
  /** Where the fault is; null for the file as a whole. */
  readonly at?: ProofFault['at'];
  readonly build: (world: World) => Uint8Array | Promise<Uint8Array>;
  /** Roots (DER) of other domains that the verifier believes. */
  readonly others?: (world: World) => Promise<readonly Uint8Array[]>;
  /** A proof of the same VM that the verifier has verified before. */
  readonly known?: (world: World, bytes: Uint8Array) => Uint8Array;
}

const chain = (world: World): ChainBuilder => new ChainBuilder(world);

function inOneQuote(world: World): Uint8Array {
  const c = chain(world).add('created');
  const first = c.draft('started');
  const second = c.draft('suspended', { sequence: 2, previous: entryHash(encodeEntry(first)) });
  const batch = prepareBatch([encodeEntry(first), encodeEntry(second)], [sha256(Buffer.from('a statement'))]);
  const { attest, signature } = world.alpha.tpm.quote(batch.qualifyingData, world.policy.policy.selection);
  for (const signed of batch.finish(attest, signature).entries) c.append(signed);
  return c.bytes();
}

async function renewed(world: World): Promise<Uint8Array> {
  const again = await world.enrol(world.alpha.id.name, { tpm: world.alpha.tpm });
  const c = chain(world).live('created', 'started');
  c.holder = again;
  return c.live('suspended').bytes();
}

function raisedPolicy(world: World): Uint8Array {
  const c = chain(world).live('created', 'started');
  c.policy = world.signPolicy({ version: 4 });
  return c.migrate(world.beta).live('suspended').bytes();
}

function lateDeparted(world: World): Uint8Array {
  const { alpha, beta, gamma } = world;
  const c = chain(world).live('created', 'started').departing(beta).arrived(beta);
  const departed = c.departed(alpha).departures.pop() as SignedEntry;
  c.live('suspended', 'resumed').migrate(gamma);
  return c.bytes({ departures: [departed, ...c.departures] });
}

const goodCases: readonly ProofCase[] = [
  {
    name: 'good-born',
    why: 'a VM that was only defined has a proof',
    expect: 'verified',
    build: (w) => chain(w).live('created').bytes(),
  },
  {
    name: 'good-unmanufactured',
    why: 'before the first start there is no vTPM to name',
    expect: 'verified',
    build: (w) => chain(w).add('created', { vtpm: null }).add('started').bytes(),
  },
  {
    name: 'good-whole-life',
    why: 'every kind of entry that needs no second host',
    expect: 'verified',
    build: (w) =>
      chain(w)
        .live(
          'created',
          'started',
          'suspended',
          'resumed',
          'saved',
          'restored',
          'suspended',
          'saved',
          'stopped',
        )
        .live('started', 'stopped', 'destroyed')
        .bytes(),
  },
  {
    name: 'good-there-and-back',
    why: 'two migrations, each with the statement of destruction',
    expect: 'verified',
    build: (w) =>
      chain(w).live('created', 'started').migrate(w.beta).live('suspended').migrate(w.alpha).bytes(),
  },
  {
    name: 'good-aborted',
    why: 'a migration that failed leaves the VM with its holder, which may try again',
    expect: 'verified',
    build: (w) => {
      const c = chain(w).live('created', 'started').departing(w.beta);
      return c.add('aborted', { session: c.session }).live('suspended').migrate(w.gamma).bytes();
    },
  },
  {
    name: 'good-resolved',
    why: 'the other host was never heard of again, and an administrator kept the VM where it was',
    expect: 'verified',
    build: (w) => {
      const c = chain(w).live('created', 'started').departing(w.beta);
      return c.add('resolved', { session: c.session, peer: w.beta.id }).migrate(w.gamma).bytes();
    },
  },
  {
    name: 'good-adopted',
    why: 'an administrator took up the vTPM state of a backup, of a VM that is off and of one that is saved',
    expect: 'verified',
    build: (w) => {
      const adopted = { verdict: sha256(Buffer.from('the state of a backup')) };
      const c = chain(w).live('created', 'started', 'stopped').add('adopted', adopted);
      return c.live('started', 'saved').add('adopted', adopted).live('restored').migrate(w.beta).bytes();
    },
  },
  {
    name: 'good-paused-migration',
    why: 'a paused VM arrives paused, so resumed may follow',
    expect: 'verified',
    build: (w) => chain(w).live('created', 'started', 'suspended').migrate(w.beta).live('resumed').bytes(),
  },
  {
    name: 'good-departed-missing',
    why: 'the old holder may never be heard of again; the proof holds and says that its destruction was not stated',
    expect: 'verified',
    build: (w) =>
      chain(w).live('created', 'started').departing(w.beta).arrived(w.beta).live('stopped').bytes(),
  },
  {
    name: 'good-departed-late',
    why: 'the new holder went on before the old one stated',
    expect: 'verified',
    build: lateDeparted,
  },
  {
    name: 'good-departing-is-head',
    why: 'what an offer carries',
    expect: 'verified',
    build: (w) => chain(w).live('created', 'started').departing(w.beta).bytes(),
  },
  {
    name: 'good-one-quote',
    why: 'entries and a statement that share a quote have paths',
    expect: 'verified',
    build: inOneQuote,
  },
  {
    name: 'good-clock-steps-back',
    why: "time is the signer's clock, and clocks step",
    expect: 'verified',
    build: (w) => {
      const c = chain(w).live('created', 'started');
      c.time -= 3_600_000;
      return c.live('suspended').bytes();
    },
  },
  {
    name: 'good-policy-raised',
    why: 'a newer version of the policy takes over within a chain',
    expect: 'verified',
    build: raisedPolicy,
  },
  {
    name: 'good-certificate-renewed',
    why: 'a new certificate for the same AK and name is the same host',
    expect: 'verified',
    build: renewed,
  },
];

/** All of them. */
export const proofCases: readonly ProofCase[] = [
  ...goodCases,
  ...goodCheckpointCases,
  ...badEntryCases,
  ...badChainCases,
  ...badCheckpointCases,
  ...tenantCases,
  ...domainCases,
  ...quarantineCases,
  ...recoveryCases,
];
