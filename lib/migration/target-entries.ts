/** The entries of a hand-over at its target: *arrived*, which it signs, and *departed*, which it is told. */
import { hostOfLabel } from '../appraisal/domains.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { TvmmpError } from '../errors.ts';
import type { Journal } from '../ledger/journal.ts';
import type { ChainState } from '../proof/chain.ts';
import { decodeEntry, encodeSignedEntry } from '../proof/entry.ts';
import type { SignedEntry } from '../proof/entry.ts';
import { verifyNext } from '../proof/verify.ts';
import type { Arrived, Departed } from '../protocol/messages.ts';
import { ProtocolViolation } from '../protocol/step.ts';
import { credentialsFor, credentialsOf } from './credentials.ts';
import { homeOf, rootsFor } from './crossing.ts';
import type { Host } from './host.ts';
import { Refused } from './refused.ts';
import type { Services } from './services.ts';
import { requireTenantAgreesToUs, tenantOf } from './tenant.ts';

/** libvirt says that the CPUs run here: the next epoch opens, signed and durable before anyone is told. */
export async function signArrived(services: Services, uuid: string, session: Uint8Array): Promise<Arrived> {
  const { host, chains } = services;
  const chain = chains.state(uuid);
  const permit = host.journal.permit(uuid);
  if (chain === null || permit === null || !bytesEqual(permit.session, session)) {
    throw new TvmmpError('internal', `VM ${uuid} arrived without a permit of this session`);
  }
  requireSamePolicyOrDomain(host, chain, session);
  // Its certificate may have been renewed since: with an entry that its tenant's policy refuses, the proof would never verify again.
  const tenant = tenantOf(host, chain);
  if (tenant !== null) requireTenantAgreesToUs(tenant, host, homeOf(host, chain));
  // The source destroys its copy for this word.
  await host.files.keepArrived(uuid);
  const { entry } = await chains.append(
    uuid,
    { kind: 'arrived', peer: chain.holder, session, verdict: permit.verdict },
    {
      journal: (record) => {
        host.journal.removePermit(uuid);
        host.journal.changeSession(session, { state: 'arrived' }, host.now());
        return record;
      },
    },
  );
  host.timers.soon(() => void services.escrow.bring(uuid));
  return arrivedMessage(services, session, entry);
}

/** Another policy id than that of *departing* is one of another domain, and no other policy of this one. */
function requireSamePolicyOrDomain(host: Host, chain: ChainState, session: Uint8Array): void {
  const { id } = host.policy().policy;
  const peer = host.journal.session(session)?.peer ?? '';
  if (id !== chain.policy.id && peer === hostOfLabel(peer))
    throw new Refused(`policy-order: policy ${id} in a chain under ${chain.policy.id}`);
}

/** *arrived* with what is needed to verify it. */
export function arrivedMessage(services: Services, session: Uint8Array, entry: SignedEntry): Arrived {
  return { kind: 'arrived', session, entry, ...credentialsFor(services.host, entry) };
}

/** The source's statement that its copy is destroyed: verified, and kept with the chain. Throws `ProtocolViolation`. */
export function recordDeparture(
  { host, chains }: Services,
  uuid: string,
  session: Uint8Array,
  departed: Departed,
): void {
  if (isKnown(host.journal, uuid, session, departed.entry)) {
    host.journal.changeSession(session, { state: 'done' }, host.now());
    return;
  }
  const step = verifyNext(chains.state(uuid), {
    signed: departed.entry,
    credentials: departed,
    ...rootsFor(host, decodeEntry(departed.entry.entry).policy),
  });
  if (step.outcome === 'fault')
    throw new ProtocolViolation(`departed does not verify: ${step.check}: ${step.message}`);
  if (step.entry.entry.kind !== 'departed')
    throw new ProtocolViolation(`${step.entry.entry.kind} where departed is due`);
  host.journal.transaction(() => {
    host.journal.putDeparture(uuid, step.entry.entry.epoch, encodeSignedEntry(departed.entry));
    host.journal.putCredentials(uuid, credentialsOf(departed));
    host.journal.changeSession(session, { state: 'done' }, host.now());
  });
}

/** Whether a proof has brought it meanwhile: the VM has gone on from here, and come back. */
function isKnown(journal: Journal, uuid: string, session: Uint8Array, signed: SignedEntry): boolean {
  const entry = decodeEntry(signed.entry);
  const bytes = encodeSignedEntry(signed);
  return (
    entry.session !== null &&
    bytesEqual(entry.session, session) &&
    journal.departures(uuid).some((departure) => bytesEqual(departure, bytes))
  );
}
