import { TvmmpError } from '../errors.ts';
import type { HostId } from '../evidence/identity.ts';
import { GroupCommit } from '../ledger/group-commit.ts';
import type { VmRecord, VmState } from '../ledger/records.ts';
import { asksOfEveryHolder } from '../appraisal/host-rules.ts';
import { approvedState, quoteOf } from '../appraisal/quote.ts';
import { sameHost, stepChain } from '../proof/chain.ts';
import type { ChainState } from '../proof/chain.ts';
import {
  decodeEntry,
  decodeSignedEntry,
  encodeEntry,
  encodeSignedEntry,
  entryHash,
  noPrevious,
} from '../proof/entry.ts';
import type { Entry, EntryKind, SignedEntry } from '../proof/entry.ts';
import { readSummary, summaryDigest, summaryOf } from '../proof/checkpoint.ts';
import { encodeProof } from '../proof/proof.ts';
import { limits } from '../limits.ts';
import { requireNotRolledBack } from './anchor.ts';
import { credentialsOf, ownCredentials } from './credentials.ts';
import type { Host } from './host.ts';
import { KeyedMutex } from './mutex.ts';
import { Refused } from './refused.ts';
import { storedProof, storedProofFrom } from './stored-proof.ts';
import type { TenantInForce } from './tenant.ts';
import type { Quotes, Signed } from './quotes.ts';

/** What an entry says beyond what the chain and the host know already. */
export interface EntryDraft {
  readonly kind: EntryKind;
  readonly facts?: Uint8Array;
  readonly vtpm?: Uint8Array | null;
  readonly peer?: HostId | null;
  readonly session?: Uint8Array | null;
  readonly verdict?: Uint8Array | null;
}

/** How an entry is added. */
export interface AppendOptions {
  /** Evidence statements that share the entry's quote (SPEC 6.4). */
  readonly statements?: readonly Uint8Array[];
  /** Whether a checkpoint comes first, under the same quote (SPEC 4.1). */
  readonly checkpoint?: boolean;
  /** The tenant policy that a *bound* entry names: kept with the chain, as the proof needs it. */
  readonly tenant?: TenantInForce;
  /** Signed documents (DSSE) that an entry names: kept with the chain too. */
  readonly documents?: readonly string[];
  /** State that the VM is in on this host afterwards; by default what the chain says. */
  readonly state?: VmState;
  /** Runs in the same durable write; what it changes of the record is put with it. */
  readonly journal?: (record: VmRecord) => VmRecord;
}

/** What may follow in a chain of which this host may not know the end (SPEC 8.8): hand-overs end, and an administrator takes it up. */
const afterRollback: ReadonlySet<EntryKind> = new Set([
  'arrived',
  'aborted',
  'resolved',
  'stopped',
  'adopted',
]);

/** Kinds by which another host becomes the holder. */
const opensEpoch: ReadonlySet<EntryKind> = new Set(['arrived', 'recovered']);

/** What was added. */
export interface Appended extends Signed {
  readonly entry: SignedEntry;
  /** Hash of the entry. */
  readonly head: Uint8Array;
}

/**
 * Writes the chains of this host's VMs: makes the entry that follows, has it signed by a quote, and puts it on disk with
 * everything that belongs to the same decision. One entry at a time per VM.
 */
export class Chains {
  readonly #host: Host;
  readonly #quotes: Quotes;
  readonly #commits: GroupCommit;
  readonly #mutex = new KeyedMutex();
  readonly #states = new Map<string, ChainState>();
  /** Called within the durable write that makes a chain grow. */
  onGrown: (state: ChainState) => void = () => undefined;

  constructor(host: Host, quotes: Quotes) {
    this.#host = host;
    this.#quotes = quotes;
    this.#commits = new GroupCommit(host.journal, (work) => {
      host.timers.soon(work);
    });
  }

  /** Where a VM's chain stands, or null for a VM without one. */
  state(uuid: string): ChainState | null {
    const head = this.#host.journal.vm(uuid)?.head;
    const known = this.#states.get(uuid);
    if (head !== undefined && known !== undefined && Buffer.compare(known.head, head) === 0) return known;
    const [latest] = this.#host.journal.summaries(uuid);
    const state = this.#replay(uuid, latest?.sequence ?? 0, latest?.bytes ?? null);
    if (state !== null) this.#states.set(uuid, state);
    return state;
  }

  /** Where the chain of a VM stands that must have one; throws `vm-unknown`, which calls it by `name`. */
  require(uuid: string, name = uuid): ChainState {
    const state = this.state(uuid);
    if (state === null) throw noChain(name);
    return state;
  }

  /** What was verified of a chain that came from another host, and is in the journal now. */
  adopt(state: ChainState): void {
    this.#states.set(state.vm, state);
  }

  /** From an entry on whose summary is known; `visit` is shown each of them. */
  #replay(
    uuid: string,
    first: number,
    summary: Uint8Array | null,
    visit: (entry: Entry, state: ChainState) => void = () => undefined,
  ): ChainState | null {
    let state = summary === null ? null : readSummary(summary);
    for (const bytes of this.#host.journal.entries(uuid, first)) {
      const signed = decodeSignedEntry(bytes);
      const entry = decodeEntry(signed.entry);
      state = stepChain(state, entry, entryHash(signed.entry));
      visit(entry, state);
    }
    return state;
  }

  /** Every entry that this host has without a gap up to the head, and where the chain stood with it. */
  history(uuid: string): readonly { readonly entry: Entry; readonly state: ChainState }[] {
    const first = this.#host.journal.historyBegins(uuid) ?? 0;
    const steps: { entry: Entry; state: ChainState }[] = [];
    this.#replay(uuid, first, this.#host.journal.summary(uuid, first), (entry, state) => {
      steps.push({ entry, state });
    });
    return steps;
  }

  /** Bytes of the proof file of a VM, as far back as this host has its history without a gap. Throws `vm-unknown`. */
  proof(uuid: string): Uint8Array {
    return storedProof(this.#host.journal, uuid);
  }

  /**
   * What a hand-over carries: from the latest checkpoint that another host signed, so that its size does not grow with the chain. Where the policy asks
   * something of every host that has held the VM, all that there is.
   */
  proofToOffer(uuid: string): Uint8Array {
    if (asksOfEveryHolder(this.#host.policy().policy)) return this.proof(uuid);
    const base = this.#checkpoints(uuid).find(({ entry }) => !sameHost(entry.host, this.#host.identity.id));
    return base === undefined
      ? this.proof(uuid)
      : encodeProof(storedProofFrom(this.#host.journal, uuid, base.entry.sequence, base.summary));
  }

  /** Whether this host has signed no checkpoint within the last entries, or none under the policy in force. */
  checkpointIsDue(uuid: string): boolean {
    const state = this.state(uuid);
    if (state === null) return false;
    const own = this.#checkpoints(uuid).find(({ entry }) => sameHost(entry.host, this.#host.identity.id));
    const since = state.sequence - (own?.entry.sequence ?? 0);
    if (own === undefined) return since >= limits.checkpointEntries;
    const older = own.entry.policy.version !== this.#host.policy().policy.version;
    return older || since >= limits.checkpointEntries;
  }

  /** Checkpoints of which this host has the summary, the latest first. */
  #checkpoints(uuid: string): readonly { readonly entry: Entry; readonly summary: Uint8Array }[] {
    const { journal } = this.#host;
    return journal.summaries(uuid).flatMap(({ sequence, bytes }) => {
      const signed = journal.entry(uuid, sequence);
      return signed === null ? [] : [{ entry: decodeEntry(decodeSignedEntry(signed).entry), summary: bytes }];
    });
  }

  /** Begins a VM's chain with *created*, and its record with it; where there is a tenant, *bound* follows under the same quote. */
  create(
    record: Omit<VmRecord, 'state' | 'epoch' | 'sequence' | 'head' | 'holder'>,
    tenant: TenantInForce | null = null,
  ): Promise<Appended> {
    return this.#mutex.run(record.uuid, async () => {
      const before = this.#host.journal.vm(record.uuid);
      if (before !== null && before.state !== 'destroyed') {
        throw new TvmmpError('vm-protected', `VM ${record.name} is protected already`);
      }
      const blank = { ...record, state: 'stopped', epoch: 0, sequence: 0, head: noPrevious } as const;
      const fresh: VmRecord = { ...blank, holder: this.#host.identity.id.name };
      return this.#write(
        fresh,
        null,
        { kind: 'created' },
        {
          ...(tenant === null ? {} : { tenant }),
          journal: (next) => {
            this.#host.journal.removeVm(record.uuid);
            return next;
          },
        },
      );
    });
  }

  /** Adds the entry that follows the head. Throws CheckFailed (a bug or a state that does not allow it) and TPM faults. */
  append(uuid: string, draft: EntryDraft, options: AppendOptions = {}): Promise<Appended> {
    return this.#mutex.run(uuid, async () => {
      const record = this.#host.journal.vm(uuid);
      if (record === null) throw noChain(uuid);
      const state = this.require(uuid);
      return this.#write(record, state, draft, options);
    });
  }

  /** Signs the *departed* entry that closes the hand-over of `session`; it stands beside the chain (SPEC 2). */
  async depart(uuid: string, session: Uint8Array): Promise<SignedEntry> {
    const state = this.state(uuid);
    const open = state?.handovers.find((handover) => Buffer.compare(handover.session, session) === 0);
    if (open === undefined)
      throw new TvmmpError('internal', `no open hand-over of VM ${uuid} in this session`);
    const bytes = encodeEntry({
      ...this.#signer(),
      vm: uuid,
      epoch: open.epoch,
      sequence: open.sequence + 1,
      kind: 'departed',
      previous: open.arrived,
      facts: open.facts,
      vtpm: open.vtpm,
      peer: open.to,
      session,
      verdict: null,
    });
    const signed = await this.#quotes.sign(this.#host.policy().policy.selection, [bytes]);
    const [entry] = signed.entries;
    if (entry === undefined) throw new TvmmpError('internal', 'a quote without its entry');
    this.#requireApprovedState(signed.attest);
    return entry;
  }

  async #write(
    record: VmRecord,
    state: ChainState | null,
    draft: EntryDraft,
    options: AppendOptions,
  ): Promise<Appended> {
    const { journal, policy } = this.#host;
    if (!afterRollback.has(draft.kind)) requireNotRolledBack(journal, record);
    const summary = options.checkpoint === true && state !== null ? summaryOf(state) : null;
    const checkpoint =
      summary === null ? [] : [{ kind: 'checkpoint' as const, verdict: summaryDigest(summary) }];
    const { tenant } = options;
    const bound =
      tenant === undefined || draft.kind === 'bound'
        ? []
        : [{ kind: 'bound' as const, verdict: tenant.policy.digest }];
    const drafted = this.#draft(record, state, [...checkpoint, draft, ...bound]);
    const last = drafted.at(-1);
    if (last === undefined) throw new TvmmpError('internal', 'nothing to sign');
    const bytes = drafted.map((one) => one.bytes);
    const signed = await this.#quotes.sign(policy().policy.selection, bytes, options.statements ?? []);
    const signedEntry = signed.entries.at(-1);
    if (signedEntry === undefined) throw new TvmmpError('internal', 'a quote without its entry');
    if (draft.kind !== 'quarantined') this.#requireApprovedState(signed.attest);
    const { state: next, head } = last;
    await this.#commits.run(() => {
      const after: VmRecord = {
        ...record,
        state: options.state ?? next.state,
        epoch: next.epoch,
        sequence: next.sequence,
        head,
        facts: next.facts,
        vtpm: next.vtpm,
        holder: next.holder.name,
      };
      journal.putVm(options.journal?.(after) ?? after);
      signed.entries.forEach((one, index) => {
        const { sequence } = drafted[index]?.state ?? next;
        journal.appendEntry(record.uuid, sequence, encodeSignedEntry(one));
        if (index === 0 && summary !== null) journal.putSummary(record.uuid, sequence, summary);
      });
      // What the proof needs to be verified without us.
      const told = {
        certificates: [],
        policies: [...(tenant === undefined ? [] : [tenant.envelope]), ...(options.documents ?? [])],
      };
      journal.putCredentials(record.uuid, [...ownCredentials(this.#host), ...credentialsOf(told)]);
      this.onGrown(next);
    });
    this.#states.set(record.uuid, next);
    return { ...signed, entry: signedEntry, head };
  }

  /** The entries that follow the head one after another, each with the state that it leads to. Throws CheckFailed. */
  #draft(
    record: VmRecord,
    before: ChainState | null,
    drafts: readonly EntryDraft[],
  ): readonly { readonly bytes: Uint8Array; readonly head: Uint8Array; readonly state: ChainState }[] {
    let state = before;
    return drafts.map((draft) => {
      const entry: Entry = {
        ...this.#signer(),
        vm: record.uuid,
        epoch: (state?.epoch ?? 0) + (opensEpoch.has(draft.kind) ? 1 : 0),
        sequence: state === null ? 0 : state.sequence + 1,
        kind: draft.kind,
        previous: state?.head ?? noPrevious,
        facts: draft.facts ?? record.facts,
        vtpm: draft.vtpm ?? record.vtpm,
        peer: draft.peer ?? null,
        session: draft.session ?? null,
        verdict: draft.verdict ?? null,
      };
      const bytes = encodeEntry(entry);
      const head = entryHash(bytes);
      state = stepChain(state, entry, head);
      return { bytes, head, state };
    });
  }

  /** An entry that is quoted in an unapproved state would never verify, and the chain would end with it: it is not written. */
  #requireApprovedState(attest: Uint8Array): void {
    const { policy } = this.#host.policy();
    const quote = quoteOf(attest);
    if (quote.type === 'quote' && approvedState(quote, policy) !== undefined) return;
    throw new Refused(
      `pcr-state: ${this.#host.identity.id.name} is in no approved state of policy ${policy.id} v${policy.version}, so it cannot ` +
        'sign; boot an approved system, or have the authority approve this state',
    );
  }

  #signer(): Pick<Entry, 'version' | 'host' | 'policy' | 'time'> {
    const { id, version, digest } = this.#host.policy().policy;
    return {
      version: 1,
      host: this.#host.identity.id,
      policy: { id, version, digest },
      time: this.#host.now(),
    };
  }
}

function noChain(name: string): TvmmpError {
  return new TvmmpError('vm-unknown', `VM ${name} has no chain here`);
}
