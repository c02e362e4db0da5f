/** The entries of a hand-over at its source: *departing* with the offer that rests on it, and what ends the hand-over. */
import type { TrustedPeer } from '../appraisal/trusted-peer.ts';
import type { Claim } from '../evidence/claim.ts';
import type { HostId } from '../evidence/identity.ts';
import type { VmRecord } from '../ledger/records.ts';
import { decodeEntry, encodeSignedEntry } from '../proof/entry.ts';
import type { SignedEntry } from '../proof/entry.ts';
import type { Channel } from '../protocol/channel.ts';
import type { Departed, Offer } from '../protocol/messages.ts';
import type { SourceEffect } from '../protocol/source.ts';
import { credentialsFor, ownCredentials } from './credentials.ts';
import { statements } from './hello.ts';
import { keyContext } from './key-context.ts';
import type { Services } from './services.ts';
import { requireTenantAgreesTo } from './tenant.ts';

/** What was said before a source commits itself, and to whom. */
export type Commit = Extract<SourceEffect, { do: 'commit' }>;

/**
 * SPEC 6.4: the key for this target alone, then statement and *departing* under one quote, durable before the offer. `logged`: the
 * statement's own quote, for a target that wanted logs with it (SPEC 6.11).
 */
export async function signDeparting(
  services: Services,
  vm: VmRecord,
  session: Uint8Array,
  channel: Channel,
  { own, peer, evidence, trusted }: Commit,
  logged: Claim | null,
): Promise<{ readonly head: Uint8Array; readonly offer: Offer }> {
  const { host, chains, platform } = services;
  const hold = await services.keys.of(session, vm);
  const { blob } = await platform.withKey(
    vm,
    (key) =>
      host.bridge.resealForDestination({
        own: key,
        destinationPublic: trusted.receivePublic,
        destinationContext: keyContext({
          vm: vm.uuid,
          epoch: vm.epoch,
          session,
          recipient: trusted.receiveKeyName,
        }),
      }),
    hold,
  );
  await services.commitments.join(session);
  const appended = await chains.append(
    vm.uuid,
    { kind: 'departing', peer: hostIdOf(trusted), session, verdict: trusted.verdictDigest },
    {
      statements: logged === null ? [statements(channel, own, peer).source(evidence)] : [],
      checkpoint: chains.checkpointIsDue(vm.uuid),
      journal: (record) => {
        // The policy that departing follows: the tenant may have changed its mind until now, and can no more from here on.
        requireTenantAgreesTo(services, vm.uuid, trusted);
        host.journal.changeSession(session, { state: 'offered', peer: trusted.label }, host.now());
        return record;
      },
    },
  );
  const claim = logged ?? {
    attest: appended.attest,
    signature: appended.signature,
    path: appended.statementPaths[0] ?? [],
    pcrs: await platform.claimedPcrs(appended.attest),
  };
  const proof = trusted.domain === null ? chains.proofToOffer(vm.uuid) : chains.proof(vm.uuid);
  return { head: appended.head, offer: { kind: 'offer', session, claim, proof, sealed: blob } };
}

/**
 * The VM stays: by the word of both hosts, or by an administrator's, where the proof says who did not agree (SPEC 6.9). `problem`: what stands against that
 * word by the time that it is signed; '' where nothing does.
 */
export async function signStayed(
  { host, chains }: Services,
  { uuid, name }: VmRecord,
  session: Uint8Array,
  kind: 'aborted' | 'resolved',
  problem: () => string = () => '',
): Promise<void> {
  const peer = kind === 'aborted' ? null : (chains.require(uuid, name).departure?.to ?? null);
  await chains.append(
    uuid,
    { kind, session, peer },
    {
      journal: (record) => {
        host.journal.changeSession(session, { state: kind }, host.now());
        host.journal.noteProblem(session, problem(), host.now());
        return record;
      },
    },
  );
}

/** The VM has arrived, and nothing of it is left here. */
export async function signDeparted(services: Services, uuid: string, session: Uint8Array): Promise<Departed> {
  const { journal, now } = services.host;
  const entry = await services.chains.depart(uuid, session);
  journal.transaction(() => {
    journal.putDeparture(uuid, decodeEntry(entry.entry).epoch, encodeSignedEntry(entry));
    journal.putCredentials(uuid, ownCredentials(services.host));
    journal.changeSession(session, { state: 'departed' }, now());
  });
  return departedMessage(services, session, entry);
}

/** *departed* with what is needed to verify it. */
export function departedMessage(services: Services, session: Uint8Array, entry: SignedEntry): Departed {
  return { kind: 'departed', session, entry, ...credentialsFor(services.host, entry) };
}

/** A host as entries name it. */
export function hostIdOf(peer: TrustedPeer): HostId {
  return { name: peer.name, akName: peer.akName, certificate: peer.certificate.digest };
}
