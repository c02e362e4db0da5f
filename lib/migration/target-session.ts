import { TvmmpError } from '../errors.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { asksOfEveryHolder, attributesFault } from '../appraisal/host-rules.ts';
import type { TrustedPeer } from '../appraisal/trusted-peer.ts';
import type { HostId } from '../evidence/identity.ts';
import { limits } from '../limits.ts';
import type { StoredChain } from '../ledger/journal.ts';
import type { SessionState, VmRecord } from '../ledger/records.ts';
import type { ChainState } from '../proof/chain.ts';
import { readSummary } from '../proof/checkpoint.ts';
import { decodeEntry, decodeSignedEntry, encodeSignedEntry, entryHash } from '../proof/entry.ts';
import type { SignedEntry } from '../proof/entry.ts';
import { decodeProof } from '../proof/proof.ts';
import type { Proof } from '../proof/proof.ts';
import { holdingsOf } from '../proof/holdings.ts';
import { revocationFault, revokedSigners } from '../proof/revocation.ts';
import { verifyNext, verifyProof } from '../proof/verify.ts';
import type { VerifiedProof } from '../proof/verify.ts';
import type { Channel } from '../protocol/channel.ts';
import type { Arrived, Departed, EvidenceMessage, Hello, Offer } from '../protocol/messages.ts';
import { ProtocolViolation } from '../protocol/step.ts';
import { stepTarget, targetStart } from '../protocol/target.ts';
import type { TargetEffect, TargetInput, TargetState } from '../protocol/target.ts';
import { credentialsFor } from './chains.ts';
import { credentialsOf } from './credentials.ts';
import type { Host } from './host.ts';
import { cameHere, claimDefinition } from './incoming-definition.ts';
import { deferred } from './deferred.ts';
import { disclaim, offeredHead } from './disclaimers.ts';
import { noteTrouble } from './problem.ts';
import { SessionDriver } from './driver.ts';
import { ownHello, requireChannel, statements, trustPeer } from './hello.ts';
import { keyContext } from './key-context.ts';
import type { Lineage } from './lineage.ts';
import { checkFacts, discardIncoming, giveKeyToLibvirt, secretUsage } from './incoming.ts';
import { hintTexts, noteRefusal, Refused } from './refused.ts';
import { giveUpCopy } from './resolution.ts';
import type { Services } from './services.ts';
import { requireTenantAgreesToUs, tenantOf } from './tenant.ts';

/** What the hook of this host was shown of the VM that comes in. */
export interface IncomingDomain {
  readonly name: string;
  /** H("tvmmp/facts/1", canonical facts) of the offered XML. */
  readonly facts: Uint8Array;
  readonly secret: string;
}

interface Accepted {
  readonly proof: Proof;
  readonly verified: VerifiedProof;
  /** Whether it continues the chain that this host knows. */
  readonly continues: boolean;
}

const journalled: Readonly<Partial<Record<TargetState['tag'], SessionState>>> = {
  refused: 'refused',
  arriving: 'arriving',
  resolved: 'resolved',
  'given-up': 'given-up',
};

/** What became of a hand-over at its target. */
type TargetOutcome = 'done' | 'aborted' | 'refused' | 'resolved' | 'given-up';

const endings: ReadonlySet<TargetState['tag']> = new Set<TargetOutcome>([
  'done',
  'aborted',
  'refused',
  'resolved',
  'given-up',
]);

/** One hand-over at the host that the VM comes to: lib/protocol/target.ts made real. */
export class TargetSession extends SessionDriver<TargetState, TargetInput, TargetEffect> {
  protected readonly role = 'target';
  readonly session: Uint8Array;
  readonly uuid: string;
  /** Null where the source opened the session: the hook brings the domain later and must find the promised facts. */
  readonly domain: IncomingDomain | null;
  /** Resolves when the VM may come in; rejects with the reason when it may not. */
  readonly admitted: Promise<undefined>;
  readonly finished: Promise<TargetOutcome>;
  readonly #services: Services;
  readonly #admit = deferred<undefined>();
  readonly #finish = deferred<TargetOutcome>();
  /** When *arrived* was signed, milliseconds since 1970. */
  arrivedAt: number | null = null;
  #accepted: Accepted | null = null;
  #source: string | null = null;

  constructor(
    services: Services,
    uuid: string,
    session: Uint8Array,
    domain: IncomingDomain | null,
    state: TargetState = targetStart,
  ) {
    super(state, null, services.host, services.timings);
    this.#services = services;
    this.uuid = uuid;
    this.session = session;
    this.domain = domain;
    this.admitted = this.#admit.promise;
    this.finished = this.#finish.promise;
  }

  /** Opens the session: our hook saw the VM come (plain `virsh migrate`). */
  async open(channel: Channel): Promise<void> {
    this.channel = channel;
    this.#source = channel.peerName;
    await this.input({ kind: 'open', own: ownHello(this.#services.host, 'target', this.session, this.uuid) });
    void this.listen();
  }

  /** Answers a source that opened it (`tvmmp migrate`). */
  async answer(channel: Channel, peer: Hello): Promise<void> {
    this.channel = channel;
    this.#source = channel.peerName;
    this.greetedBy(peer);
    await this.input({
      kind: 'answer',
      own: ownHello(this.#services.host, 'target', this.session, this.uuid),
      peer,
    });
    void this.listen();
  }

  /** Tries again to sign *arrived* (the TPM was away), or to throw away what was received (libvirt was away). */
  async redo(): Promise<void> {
    if (this.state.tag === 'arriving') {
      await this.input({ kind: 'arrival-signed', arrived: await this.#arrive() });
    } else if (this.state.tag === 'aborted') {
      await this.#discard();
    } else if (this.state.tag === 'giving-up') {
      await giveUpCopy(this.#services, this.uuid, this.session);
      await this.input({ kind: 'destroyed' });
    }
  }

  protected step(state: TargetState, input: TargetInput) {
    return stepTarget(state, input);
  }

  protected committed(state: TargetState): boolean {
    const { tag } = state;
    return tag === 'staged' || tag === 'arriving' || tag === 'arrived' || tag === 'giving-up';
  }

  protected over(state: TargetState): boolean {
    return endings.has(state.tag);
  }

  /** Who waits for a refusal hears it even where it cannot be written down (a full disk): nothing was committed. */
  protected entered(state: TargetState): void {
    const { journal, now, log } = this.#services.host;
    log.info({ vm: this.uuid, role: 'target', state: state.tag, source: this.#source }, 'session');
    if (state.tag === 'resolved' || state.tag === 'given-up') this.#finish.resolve(state.tag);
    if (state.tag === 'refused') void this.#conclude();
    if (state.tag === 'aborted') this.#admit.reject(new Refused('the migration was aborted'));
    const durable = journalled[state.tag];
    if (durable !== undefined) journal.changeSession(this.session, { state: durable }, now());
  }

  troubled(error: unknown): void {
    noteTrouble(this.#services.host, this.session, error);
  }

  /** Tells the operator why it came to nothing. A source says no more than that it refused; often we know why ourselves. */
  async #conclude(): Promise<void> {
    const { host, platform } = this.#services;
    const why = this.why ?? (await this.#guess(platform));
    this.#admit.reject(why);
    this.#finish.resolve('refused');
    noteRefusal(host, { vm: this.uuid, peer: this.#source, operation: 'migrate-in', why });
  }

  async #guess(platform: Services['platform']): Promise<Refused> {
    if (this.hint !== null) return new Refused(hintTexts[this.hint]);
    const { name } = this.#services.host.identity.id;
    const fault = await platform.ownFault();
    if (fault !== null)
      return new Refused(`${this.#source ?? 'the source'} does not trust ${name}: ${fault}`);
    return new Refused(
      `${this.#source ?? 'the source'} does not trust ${name} with this VM; the reason is at the source (tvmmp explain there)`,
    );
  }

  protected async perform(effect: TargetEffect): Promise<TargetInput | null> {
    switch (effect.do) {
      case 'send':
        await this.send(effect.message);
        return null;
      case 'attest':
        return { kind: 'signed', evidence: await this.#attest(effect.own, effect.peer) };
      case 'appraise':
        return {
          kind: 'accepted',
          trusted: this.#appraise(effect.own, effect.peer, effect.evidence, effect.offer),
        };
      case 'stage':
        return { kind: 'stored', head: await this.#stage(effect.offer, effect.trusted) };
      case 'admit':
        this.#admit.resolve(undefined);
        return null;
      case 'sign-arrived':
        return { kind: 'arrival-signed', arrived: await this.#arrive() };
      case 'verify-departure':
        return this.#verifyDeparture(effect.departed);
      case 'check-incoming':
        // The door first: what is not here after that does not come any more (SPEC 8.2).
        this.#services.admitted.delete(this.uuid);
        return (await cameHere(this.#services.host, this.uuid)) === 'no' ? { kind: 'not-incoming' } : null;
      case 'check-arrival':
        return (await cameHere(this.#services.host, this.uuid)) === 'and-stopped' ? { kind: 'moved' } : null;
      case 'discard':
        await this.#discard();
        return null;
      case 'disclaim':
        await this.#disclaim(effect.of);
        return null;
      case 'note-conflict':
        this.troubled(
          new TvmmpError(
            'hand-over-conflict',
            `an administrator of ${this.peerName ?? 'the source'} has kept the VM there: both hosts have it`,
          ),
        );
        return null;
      case 'give-up':
        await giveUpCopy(this.#services, this.uuid, this.session);
        return { kind: 'destroyed' };
    }
  }

  async #discard(): Promise<void> {
    await discardIncoming(this.#services, this.uuid, this.session);
    if (this.state.tag === 'aborted') this.#finish.resolve('aborted');
  }

  /** SPEC 6.10, where the source still listens; it asks again otherwise. Nobody departed with an offer that has no last entry. */
  async #disclaim(of: Uint8Array | Offer): Promise<void> {
    if (this.channel === null) return;
    const { session } = this;
    const head = of instanceof Uint8Array ? of : offeredHead(of);
    if (head === null) await this.send({ kind: 'refused', session, hint: null });
    else await this.send(await disclaim(this.#services, { session, head }));
  }

  /** SPEC 6.3: this host's statement, quoted. */
  async #attest(own: Hello, peer: Hello): Promise<EvidenceMessage> {
    const { host, quotes, platform } = this.#services;
    await this.#services.custody.requireAnswer();
    const statement = statements(requireChannel(this.channel), own, peer).target;
    const signed = await quotes.sign(host.policy().policy.selection, [], [statement]);
    const { attest, signature } = signed;
    const pcrs = await platform.claimedPcrs(attest);
    const claim = { attest, signature, path: signed.statementPaths[0] ?? [], pcrs };
    return { kind: 'evidence', session: this.session, claim };
  }

  /** SPEC 6.7: the source, its proof, and that all of it is about this VM, this session and this host. */
  #appraise(own: Hello, peer: Hello, evidence: EvidenceMessage, offer: Offer): TrustedPeer {
    const { host } = this.#services;
    const channel = requireChannel(this.channel);
    const proof = decodeProof(offer.proof);
    const trusted = trustPeer(host, {
      channel,
      peer,
      claim: offer.claim,
      statement: statements(channel, own, peer).source(evidence),
      requiredPolicyVersion: claimedPolicyVersion(proof),
    });
    const { name, akName, certificate } = trusted;
    const offerer = { name, akName, certificate: certificate.digest };
    const accepted = this.#verifyProof(proof, offerer);
    this.#checkDeparting(accepted.verified.head, trusted);
    const { policy } = accepted.verified.head;
    const ours = host.policy().policy;
    if (policy.id !== ours.id || policy.version > ours.version) {
      throw new Refused(
        `policy-version: the VM's proof is under policy ${policy.id} v${policy.version}, this host has ${ours.id} ` +
          `v${ours.version}; install the newer policy here (tvmmp policy install)`,
      );
    }
    requireTenantAgreesToUs(accepted.verified.tenant, host);
    this.#accepted = accepted;
    return trusted;
  }

  #verifyProof(proof: Proof, offerer: HostId): Accepted {
    const { host, chains } = this.#services;
    const record = host.journal.vm(this.uuid);
    if (record !== null && record.state !== 'gone' && record.state !== 'destroyed') {
      throw new Refused(`this host has VM ${record.name} already (${record.state}): one VM, one holder`);
    }
    const leaving = host.journal
      .unfinishedSessions()
      .some(
        ({ vm, role, state }) =>
          vm === this.uuid && (state === 'giving-up' || (role === 'source' && state !== 'open')),
      );
    if (leaving) {
      throw new Refused('this host has not finished giving this VM away yet; try again in a moment');
    }
    const { rulesOfHosts } = host.policy().policy;
    const known = chains.state(this.uuid);
    const birth = claimedBirth(proof);
    const continues = known !== null && birth !== null && bytesEqual(known.birth, birth);
    const verified = verifyProof(proof, {
      root: host.identity.root,
      ...(asksOfEveryHolder(rulesOfHosts) ? {} : { checkpoints: { notOf: offerer } }),
      ...(continues ? { known } : {}),
    });
    if (verified.outcome === 'fault') {
      throw new Refused(
        `proof: ${verified.check}: ${verified.message}; this copy of the VM must not be believed`,
      );
    }
    const revoked = revocationFault(revokedSigners(verified, host.revocations()?.list ?? null));
    if (revoked !== null) throw new Refused(`proof: ${revoked}`);
    checkHolders(verified, rulesOfHosts.backward?.attributes);
    return { proof, verified, continues };
  }

  #checkDeparting(head: ChainState, trusted: TrustedPeer): void {
    const { id } = this.#services.host.identity;
    const { departure } = head;
    if (head.vm !== this.uuid) throw new Refused(`proof: vm: it is the proof of VM ${head.vm}`);
    if (departure === null) throw new Refused('proof: life-cycle: its last entry is not departing');
    if (!bytesEqual(departure.session, this.session))
      throw new Refused('proof: session: departing is of another session');
    if (departure.to.name !== id.name || !bytesEqual(departure.to.akName, id.akName)) {
      throw new Refused(`proof: holder: departing is to ${departure.to.name}, not to this host`);
    }
    if (head.holder.name !== trusted.name || !bytesEqual(head.holder.akName, trusted.akName)) {
      throw new Refused(`proof: holder: ${head.holder.name} holds the VM, and ${trusted.name} offers it`);
    }
    if (this.domain !== null) checkFacts(departure.facts, this.domain.facts);
  }

  /** One durable write of proof, sealed key and permit; then the TPM opens the key into libvirt (SPEC 6.7). */
  async #stage(offer: Offer, trusted: TrustedPeer): Promise<Uint8Array> {
    const { host } = this.#services;
    trusted.assertFor({ vm: this.uuid, session: this.session, role: 'source', now: host.now() });
    const accepted = this.#accepted;
    if (accepted?.verified.head.departure === undefined || accepted.verified.head.departure === null) {
      throw new TvmmpError('internal', 'staging before the proof was accepted');
    }
    const { head } = accepted.verified;
    const record = this.#recordOf(accepted, offer);
    await this.#requireOwnPlace(record);
    await this.#services.custody.requireCurrent(record.name, offeredLineage(accepted));
    await claimDefinition(host, this.uuid);
    await host.files.mark(this.uuid);
    host.journal.transaction(() => {
      host.journal.replaceChain(this.uuid, storedChain(host, accepted));
      host.journal.putVm(record);
      host.journal.putPermit({
        vm: this.uuid,
        session: this.session,
        facts: head.facts,
        verdict: trusted.verdictDigest,
        expires: host.now() + limits.permitLifeMs,
        consumed: null,
      });
      host.journal.changeSession(this.session, { state: 'staged', peer: trusted.name }, host.now());
      this.#services.ledgerNews.noted(head);
    });
    this.#services.chains.adopt(head);
    if (this.domain !== null) await giveKeyToLibvirt(this.#services, record);
    return head.head;
  }

  /** A VM that this host knows by the same UUID without us, or vTPM state that is not ours, is nobody's to overwrite. */
  async #requireOwnPlace(record: VmRecord): Promise<void> {
    const { host } = this.#services;
    if (host.journal.vm(this.uuid) === null && (await host.files.hasVtpmState(this.uuid))) {
      throw new Refused(
        `this host has vTPM state of another VM with the UUID of ${record.name}; remove that one first`,
      );
    }
    const secrets = record.secret === '' ? [] : await host.hypervisor.secrets();
    const taken = secrets.some(
      ({ uuid, usageName }) => uuid === record.secret && usageName !== secretUsage(this.uuid),
    );
    if (taken) throw new Refused(`the secret of ${record.name} has the UUID of another secret of this host`);
  }

  #recordOf({ verified }: Accepted, offer: Offer): VmRecord {
    const { head } = verified;
    const before = this.#services.host.journal.vm(this.uuid);
    return {
      uuid: this.uuid,
      name: this.domain?.name ?? before?.name ?? this.uuid,
      state: 'staged',
      epoch: head.epoch,
      sequence: head.sequence,
      head: head.head,
      facts: head.facts,
      vtpm: head.vtpm,
      secret: this.domain?.secret ?? before?.secret ?? '',
      sealed: offer.sealed,
      context: keyContext({
        vm: this.uuid,
        epoch: head.epoch,
        session: this.session,
        recipient: this.#services.host.identity.receiveKeyName,
      }),
      holder: head.holder.name,
    };
  }

  /** libvirt says that the CPUs run here: the next epoch opens, signed and durable before anyone is told. */
  async #arrive(): Promise<Arrived> {
    const { host, chains } = this.#services;
    const chain = chains.state(this.uuid);
    const permit = host.journal.permit(this.uuid);
    if (chain === null || permit === null || !bytesEqual(permit.session, this.session)) {
      throw new TvmmpError('internal', `VM ${this.uuid} arrived without a permit of this session`);
    }
    // Its certificate may have been renewed since: with an entry that its tenant's policy refuses, the proof would never verify again.
    requireTenantAgreesToUs(tenantOf(host, chain), host);
    const { entry } = await chains.append(
      this.uuid,
      { kind: 'arrived', peer: chain.holder, session: this.session, verdict: permit.verdict },
      {
        journal: (record) => {
          host.journal.removePermit(this.uuid);
          host.journal.changeSession(this.session, { state: 'arrived' }, host.now());
          return record;
        },
      },
    );
    this.arrivedAt = host.now();
    return arrivedMessage(this.#services, this.session, entry);
  }

  #verifyDeparture(departed: Departed): TargetInput {
    const { host, chains } = this.#services;
    const chain = chains.state(this.uuid);
    const step = verifyNext(chain, {
      signed: departed.entry,
      credentials: departed,
      root: host.identity.root,
    });
    if (step.outcome === 'fault')
      throw new ProtocolViolation(`departed does not verify: ${step.check}: ${step.message}`);
    if (step.entry.entry.kind !== 'departed')
      throw new ProtocolViolation(`${step.entry.entry.kind} where departed is due`);
    host.journal.transaction(() => {
      host.journal.putDeparture(this.uuid, step.entry.entry.epoch, encodeSignedEntry(departed.entry));
      host.journal.putCredentials(this.uuid, credentialsOf(departed));
      host.journal.changeSession(this.session, { state: 'done' }, host.now());
    });
    this.#finish.resolve('done');
    return { kind: 'departure-verified' };
  }
}

/** *arrived* with what is needed to verify it. */
export function arrivedMessage(services: Services, session: Uint8Array, entry: SignedEntry): Arrived {
  return { kind: 'arrived', session, entry, ...credentialsFor(services.host, entry) };
}

/** The chain that a proof tells of. */
function offeredLineage({ verified }: Accepted): Lineage {
  const hashes = new Map(verified.entries.map(({ entry, hash }) => [entry.sequence, hash]));
  return { state: verified.head, hashAt: (sequence) => hashes.get(sequence) ?? null };
}

/** A verified proof in the form of the journal, with every *departed* of a hand-over in it that this host knows and the proof lacks. */
function storedChain(host: Host, { proof, verified, continues }: Accepted): StoredChain {
  const known = host.journal.departures(verified.head.vm).map(decodeSignedEntry);
  const late = known.filter((signed) => closes(verified.head, signed));
  return {
    first: verified.entries[0]?.entry.sequence ?? 0,
    summaries: verified.summaries,
    continues,
    entries: proof.entries.map(encodeSignedEntry),
    departures: new Map(
      [...proof.departures, ...late].map((signed) => [
        decodeEntry(signed.entry).epoch,
        encodeSignedEntry(signed),
      ]),
    ),
    credentials: [
      ...credentialsOf(proof),
      ...late.flatMap((signed) => credentialsOf(credentialsFor(host, signed))),
    ],
  };
}

/** Whether it is the *departed* that one of a chain's open hand-overs waits for. */
function closes({ handovers }: ChainState, signed: SignedEntry): boolean {
  const { session, epoch } = decodeEntry(signed.entry);
  return handovers.some(
    (open) => open.epoch === epoch && session !== null && bytesEqual(open.session, session),
  );
}

/** `backward` is about every host that has held the VM, not the last one alone (SPEC 10.1). */
function checkHolders(proof: VerifiedProof, condition: string | undefined): void {
  for (const { epoch, host, attributes } of holdingsOf(proof)) {
    const fault = attributesFault(condition, attributes);
    if (fault === null) continue;
    throw new Refused(
      `proof: rule-attributes: ${host.name} held the VM in epoch ${epoch} and is not ${condition ?? ''}: ${fault}`,
    );
  }
}

/** Hash of the first entry, as the proof tells it. */
function claimedBirth({ summary, entries }: Proof): Uint8Array | null {
  if (summary !== null) return readSummary(summary).birth;
  return entries[0] === undefined ? null : entryHash(entries[0].entry);
}

/** Policy version that the offered proof ends under: what the source must have too. The proof itself is verified after its bearer. */
function claimedPolicyVersion(proof: Proof): number {
  const last = proof.entries.at(-1);
  return last === undefined ? 0 : decodeEntry(last.entry).policy.version;
}
