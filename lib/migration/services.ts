import type { JobStatistics } from '../libvirt/job-statistics.ts';
import { Anchor } from './anchor.ts';
import { limits } from '../limits.ts';
import { Chains } from './chains.ts';
import { Escrow } from './escrow.ts';
import { Company } from './company.ts';
import { Custody } from './custody.ts';
import { Gathering } from './gathering.ts';
import { KeyTurns } from './key-turns.ts';
import { GivenKeys } from './given-keys.ts';
import { HeldKeys } from './held-keys.ts';
import type { Host } from './host.ts';
import { LedgerNews } from './ledger-news.ts';
import { LedgerView } from './ledger-view.ts';
import { LogAppraisals } from './log-appraisals.ts';
import { PeerAttestations } from './peer-attestations.ts';
import { Platform } from './platform.ts';
import { Quotes } from './quotes.ts';
import { SelfAppraisal } from './self-appraisal.ts';
import { SilentPeers } from './silent-peers.ts';
import { Slots } from './slots.ts';
import { StepTimings } from './timings.ts';
import { VtpmIdentities } from './vtpm-identity.ts';
import { VtpmStates } from './vtpm-states.ts';

/** What every part of a move shares, made once per agent. */
export interface Services {
  readonly host: Host;
  readonly quotes: Quotes;
  readonly chains: Chains;
  /** What the ledger says of this host's VMs. */
  readonly custody: Custody;
  /** What the ledger is told of them. */
  readonly ledgerNews: LedgerNews;
  readonly platform: Platform;
  /** Copies of keys for the authority's escrow key, where the policy has one. */
  readonly escrow: Escrow;
  /** How far the logs of peers are known. */
  readonly logs: LogAppraisals;
  /** Whether this host satisfies its own policy. */
  readonly selfAppraisal: SelfAppraisal;
  /** Whether it does by what its peers find, and what it finds of them. */
  readonly peerAttestations: PeerAttestations;
  /** Of whom it has not heard for long. */
  readonly silentPeers: SilentPeers;
  readonly vtpmStates: VtpmStates;
  /** Whether the vTPMs that came here are those that their proofs name. */
  readonly vtpmIdentities: VtpmIdentities;
  /** Keys of VMs that leave, and of VMs that come: opened ahead, and together. */
  readonly keys: HeldKeys;
  /** Sources that will sign *departing*: together, where the TPM is slow. */
  readonly commitments: Gathering;
  /** Targets that will attest themselves, and that have staged a VM: they come when their sources let them. */
  readonly attesting: Company;
  readonly staging: Company;
  /** Keys that libvirt waits for. */
  readonly opening: Company;
  readonly keyTurns: KeyTurns;
  /** What decisions wait for, so that they do not go back with the disk. */
  readonly anchor: Anchor;
  /** Moves that this host's operator asked for and whose memory does not travel yet. */
  readonly starts: Slots;
  /**
   * VMs that were let in and whose `prepare begin` is still to come, with the agent that their metadata named: each opens that gate once, for what
   * comes, and not for a definition of the VM that was here before (SPEC 8.2).
   */
  readonly admitted: Map<string, string>;
  /** Keys in libvirt of which it is not known yet what came. */
  readonly givenKeys: GivenKeys;
  /** How long the steps of sessions took. */
  readonly timings: StepTimings;
  /** libvirt's last word on the migrations of this host's VMs, by UUID; fed by its events. */
  readonly completedJobs: Map<string, JobStatistics>;
}

export function servicesOf(host: Host): Services {
  const anchor = new Anchor(host);
  const quotes: Quotes = new Quotes(host.tpm, host.timers, () => anchor.rest(quotes.lastMs));
  const chains = new Chains(host, quotes);
  const view = new LedgerView(host.ledger);
  const ledgerNews = new LedgerNews(host, chains, view);
  chains.onGrown = (state) => {
    ledgerNews.noted(state);
  };
  const logs = new LogAppraisals(host);
  const commitments = new Gathering(host.timers, () => quotes.lastMs, 2);
  const keyTurns = new KeyTurns(host.timers, () => quotes.lastMs);
  const isWanted = (): boolean => quotes.busy || anchor.busy || commitments.pending;
  const platform = new Platform(host, keyTurns, isWanted);
  const keys = new HeldKeys(platform, host.timers);
  return {
    host,
    quotes,
    chains,
    custody: new Custody(host, chains, view, ledgerNews),
    ledgerNews,
    logs,
    platform,
    escrow: new Escrow(host, platform, chains),
    selfAppraisal: new SelfAppraisal({ host, quotes, logs, platform }),
    peerAttestations: new PeerAttestations({ host, quotes, logs, platform }),
    silentPeers: new SilentPeers(host),
    keys,
    commitments,
    attesting: new Company(host.timers, () => quotes.lastMs, 1 / 4),
    staging: new Company(host.timers, () => quotes.lastMs),
    opening: new Company(host.timers, () => quotes.lastMs, 1 / 16),
    keyTurns,
    starts: new Slots(limits.startsMax),
    vtpmStates: new VtpmStates({
      journal: host.journal,
      files: host.files,
      now: host.now,
      self: host.identity.id.name,
      anchor,
    }),
    vtpmIdentities: new VtpmIdentities(host, platform, isWanted),
    anchor,
    completedJobs: new Map(),
    timings: new StepTimings(),
    admitted: new Map(),
    givenKeys: new GivenKeys(),
  };
}
