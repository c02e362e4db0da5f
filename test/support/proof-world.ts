/** An authority, enrolled hosts with software TPMs, and a builder of proofs, for tests and test vectors. */
import { randomBytes } from 'node:crypto';
import { receivePolicyOf, verifySignedPolicy } from '../../lib/appraisal/policy.ts';
import type { Policy, PolicyDraft } from '../../lib/appraisal/policy.ts';
import { signRecovery } from '../../lib/appraisal/recovery.ts';
import type { RecoveryDocument } from '../../lib/appraisal/recovery.ts';
import { parseEnvelope } from '../../lib/appraisal/dsse.ts';
import { H, sha256 } from '../../lib/encoding/hash.ts';
import { stepChain } from '../../lib/proof/chain.ts';
import type { ChainState } from '../../lib/proof/chain.ts';
import { summaryDigest, summaryOf } from '../../lib/proof/checkpoint.ts';
import { decodeEntry, encodeEntry, entryHash, noPrevious } from '../../lib/proof/entry.ts';
import type { Entry, EntryKind, HostId, PolicyId, SignedEntry } from '../../lib/proof/entry.ts';
import { encodeProof } from '../../lib/proof/proof.ts';
import type { Proof } from '../../lib/proof/proof.ts';
import { proofFrom } from '../../lib/proof/shorten.ts';
import { prepareBatch } from '../../lib/proof/signing.ts';
import type { PcrSelection } from '../../lib/tpm/port.ts';
import { SoftwareTpm } from './software-tpm.ts';
import type { Pcrs, QuoteFlaws } from './software-tpm.ts';
import { makeTestAuthority } from './test-authority.ts';
import type { TestAuthority } from './test-authority.ts';
import type { HostAttributes } from '../../lib/certificates/attributes.ts';
import { signTenantPolicy, verifyTenantPolicy } from '../../lib/appraisal/tenant-policy.ts';
import type { TenantDocument } from '../../lib/appraisal/tenant-policy.ts';
import { testKeyPair } from './test-authority.ts';
import type { KeyPair, Validity } from '../../lib/certificates/issue.ts';

/** When worlds begin: 2026-06-01. */
export const worldStart = Date.UTC(2026, 5, 1);
export const worldVm = '6b1a6f4e-0f1d-4c64-9d0a-3f5b8c1e2a77';
export const worldSelection: PcrSelection = [{ bank: 'sha256', pcrs: [0, 4, 7] }];
export const factsOf = (text: string): Uint8Array => H('tvmmp/facts/1', text);
export const worldVtpm = Uint8Array.from([0, 11, ...sha256(Buffer.from('EK of the vTPM'))]);

/** A platform state by the name of what runs there. */
export function pcrsOf(image: string): Pcrs {
  return new Map([0, 4, 7].map((pcr) => [pcr, sha256(Buffer.from(`${image}/${pcr}`))]));
}

/** A policy in force, with its envelope. */
export interface WorldPolicy {
  readonly id: PolicyId;
  readonly text: string;
  readonly policy: Policy;
}

/** An enrolled host. */
export interface WorldHost {
  readonly id: HostId;
  readonly tpm: SoftwareTpm;
  readonly certificate: Uint8Array;
}

/** One authority with what it has enrolled and signed. */
export interface World {
  readonly authority: TestAuthority;
  readonly policy: WorldPolicy;
  readonly alpha: WorldHost;
  readonly beta: WorldHost;
  readonly gamma: WorldHost;
  signPolicy(change?: Partial<PolicyDraft>): WorldPolicy;
  enrol(
    name: string,
    options?: { pcrs?: Pcrs; tpm?: SoftwareTpm; validity?: Validity; attributes?: HostAttributes },
  ): Promise<WorldHost>;
}

/** A new world: policy `lab` v3 with the states `base` and `update`; hosts alpha, beta and gamma in state `base`. */
export async function makeWorld(authority?: TestAuthority, base: Partial<PolicyDraft> = {}): Promise<World> {
  const issuer = authority ?? (await makeTestAuthority());
  const signPolicy = (change: Partial<PolicyDraft> = {}): WorldPolicy => {
    const states = ['base', 'update'].map((name) => ({ name, pcrs: pcrsOf(name) }));
    const text = issuer.signPolicy({ id: 'lab', version: 3, pcrs: [0, 4, 7], states, ...change });
    const trust = { root: issuer.root, signers: [issuer.policySigner], at: new Date(worldStart) };
    const policy = verifySignedPolicy(text, trust);
    return { id: { id: policy.id, version: policy.version, digest: policy.digest }, text, policy };
  };
  const policy = signPolicy(base);
  const enrol: World['enrol'] = async (name, options = {}) => {
    const receivePolicy = receivePolicyOf(policy.policy.signerSpki);
    const tpm = options.tpm ?? new SoftwareTpm(receivePolicy, options.pcrs ?? pcrsOf('base'));
    const { akName, receiveKeyName } = tpm;
    const { attributes } = options;
    const certificate = await issuer.hostCertificate(
      { name, akName, receiveKeyName, ...(attributes === undefined ? {} : { attributes }) },
      tpm.akKey,
      options.validity,
    );
    return { id: { name, akName, certificate: sha256(certificate) }, tpm, certificate };
  };
  const [alpha, beta, gamma] = [
    await enrol('alpha.test'),
    await enrol('beta.test'),
    await enrol('gamma.test'),
  ];
  return { authority: issuer, policy, alpha, beta, gamma, signPolicy, enrol };
}

/** How an entry departs from what an honest host would write. */
export interface Flaws {
  /** Signs in place of the entry's host. */
  readonly signer?: WorldHost;
  readonly selection?: PcrSelection;
  readonly quote?: QuoteFlaws;
}

/** Writes a VM's chain, as honest hosts do unless told otherwise. */
export class ChainBuilder {
  readonly world: World;
  readonly entries: SignedEntry[] = [];
  readonly departures: SignedEntry[] = [];
  /** Of its checkpoints, by sequence. */
  readonly summaries = new Map<number, Uint8Array>();
  readonly #certificates = new Map<string, Uint8Array>();
  readonly #policies = new Map<string, string>();
  holder: WorldHost;
  policy: WorldPolicy;
  vm = worldVm;
  epoch = 0;
  sequence = 0;
  head: Uint8Array = noPrevious;
  facts = factsOf('as defined');
  vtpm: Uint8Array | null = worldVtpm;
  time = worldStart;
  session: Uint8Array = new Uint8Array(32);

  constructor(world: World) {
    this.world = world;
    this.holder = world.alpha;
    this.policy = world.policy;
    this.carrySigner(world.authority.policySigner);
  }

  /** The entry that an honest holder would write next. */
  draft(kind: EntryKind, change: Partial<Entry> = {}): Entry {
    return {
      version: 1,
      vm: this.vm,
      epoch: this.epoch,
      sequence: this.sequence,
      kind,
      previous: this.head,
      facts: this.facts,
      vtpm: this.vtpm,
      host: this.holder.id,
      policy: this.policy.id,
      peer: null,
      session: null,
      verdict: null,
      time: (this.time += 1000),
      ...change,
    };
  }

  /** Signs an entry by the quote of its host. */
  sign(entry: Entry, host: WorldHost, flaws: Flaws = {}): SignedEntry {
    this.carry(host);
    const { tpm } = flaws.signer ?? host;
    const batch = prepareBatch([encodeEntry(entry)]);
    const selection = flaws.selection ?? this.policy.policy.selection;
    const { attest, signature } = tpm.quote(batch.qualifyingData, selection, flaws.quote);
    if (flaws.quote?.type !== undefined) return { entry: encodeEntry(entry), path: [], attest, signature };
    const [signed] = batch.finish(attest, signature).entries;
    if (signed === undefined) throw new Error('an empty batch');
    return signed;
  }

  /** Puts a host's certificate and the policy in force into the proof. */
  carry(host: WorldHost): this {
    this.#certificates.set(Buffer.from(host.id.certificate).toString('hex'), host.certificate);
    this.#policies.set(Buffer.from(this.policy.id.digest).toString('hex'), this.policy.text);
    return this;
  }

  /** Puts a policy signer's certificate into the proof. */
  carrySigner(certificate: Uint8Array): this {
    this.#certificates.set(Buffer.from(sha256(certificate)).toString('hex'), certificate);
    return this;
  }

  /** Appends a signed entry to the chain. */
  append(signed: SignedEntry): this {
    this.entries.push(signed);
    this.head = entryHash(signed.entry);
    this.sequence += 1;
    return this;
  }

  /** The holder's next entry. */
  add(kind: EntryKind, change: Partial<Entry> = {}, flaws: Flaws = {}): this {
    return this.append(this.sign(this.draft(kind, change), this.holder, flaws));
  }

  /** Life-cycle entries one after another. */
  live(...kinds: EntryKind[]): this {
    for (const kind of kinds) this.add(kind);
    return this;
  }

  departing(to: WorldHost, change: Partial<Entry> = {}, flaws: Flaws = {}): this {
    this.session = sha256(this.head);
    const members = { peer: to.id, session: this.session, verdict: sha256(Buffer.from('accepted')) };
    return this.add('departing', { ...members, ...change }, flaws);
  }

  /** The new holder's first entry. */
  arrived(at: WorldHost, change: Partial<Entry> = {}, flaws: Flaws = {}): this {
    const from = this.holder;
    this.holder = at;
    this.epoch += 1;
    const members = { peer: from.id, session: this.session, verdict: sha256(Buffer.from('accepted')) };
    return this.append(this.sign(this.draft('arrived', { ...members, ...change }), at, flaws));
  }

  /** The statement of destruction of `host`, right after its successor's *arrived*. */
  departed(host: WorldHost, change: Partial<Entry> = {}, flaws: Flaws = {}): this {
    const members = { epoch: this.epoch - 1, host: host.id, peer: this.holder.id, session: this.session };
    this.departures.push(this.sign(this.draft('departed', { ...members, ...change }), host, flaws));
    return this;
  }

  /** The holder's checkpoint: it names the summary of the chain so far. */
  checkpoint(change: Partial<Entry> = {}, flaws: Flaws = {}): this {
    const summary = this.summary();
    this.summaries.set(this.sequence, summary);
    return this.add('checkpoint', { verdict: summaryDigest(summary), ...change }, flaws);
  }

  /** The summary of the chain so far. */
  summary(): Uint8Array {
    const state = this.entries.reduce<ChainState | null>(
      (before, { entry }) => stepChain(before, decodeEntry(entry), entryHash(entry)),
      null,
    );
    const summary = state === null ? null : summaryOf(state);
    if (summary === null) throw new Error('a chain that has no summary');
    return summary;
  }

  /** The proof from the checkpoint with this sequence number on. */
  from(sequence: number, change: Partial<Proof> = {}): Uint8Array {
    const summary = this.summaries.get(sequence) ?? null;
    return encodeProof({ ...proofFrom(this.proof(), sequence, summary), ...change });
  }

  /** Binds the VM to a tenant policy, and puts that into the proof. */
  bound(envelope: string, change: Partial<Entry> = {}): this {
    const { digest } = verifyTenantPolicy(envelope);
    this.#policies.set(Buffer.from(digest).toString('hex'), envelope);
    return this.add('bound', { verdict: digest, ...change });
  }

  /** Another host takes the VM up, by the authority's statement that the holder is lost; the statement goes into the proof. */
  recovered(
    at: WorldHost,
    change: Partial<RecoveryDocument> = {},
    flaws: { readonly entry?: Partial<Entry>; readonly keys?: KeyPair } = {},
  ): this {
    const from = this.holder;
    const [first] = this.entries;
    const { vm, epoch, head } = this;
    const document: RecoveryDocument = {
      ...{ vm, birth: first === undefined ? noPrevious : entryHash(first.entry), epoch, head },
      lost: { name: from.id.name, ak: from.id.akName },
      to: { name: at.id.name, ak: at.id.akName },
      ...{ receiveKey: at.tpm.receiveKeyName, state: null, request: sha256(Buffer.from('a request')) },
      issuedAt: new Date(this.time),
      ...change,
    };
    const envelope = signRecovery(document, flaws.keys ?? this.world.authority.policyKeys);
    const digest = sha256(parseEnvelope(envelope).payload);
    this.#policies.set(Buffer.from(digest).toString('hex'), envelope);
    this.holder = at;
    this.epoch += 1;
    const members = { peer: from.id, verdict: digest, ...flaws.entry };
    return this.append(this.sign(this.draft('recovered', members), at));
  }

  /** A whole migration. */
  migrate(to: WorldHost): this {
    const from = this.holder;
    return this.departing(to).arrived(to).departed(from);
  }

  proof(change: Partial<Proof> = {}): Proof {
    const { entries, departures } = this;
    const credentials = {
      certificates: [...this.#certificates.values()],
      policies: [...this.#policies.values()],
    };
    return { summary: null, entries: [...entries], departures: [...departures], ...credentials, ...change };
  }

  bytes(change: Partial<Proof> = {}): Uint8Array {
    return encodeProof(this.proof(change));
  }
}

/** A tenant with a key of its own. */
export class Tenant {
  readonly keys = testKeyPair();

  /** A policy about the VM of the tests. */
  policy(condition: string, version = 1, change: Partial<TenantDocument> = {}): string {
    const issuedAt = new Date(worldStart);
    return signTenantPolicy({ vm: worldVm, version, issuedAt, condition, ...change }, this.keys);
  }
}

/** A session id for tests. */
export function freshSession(): Uint8Array {
  return Uint8Array.from(randomBytes(32));
}
