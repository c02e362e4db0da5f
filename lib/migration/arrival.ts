import { tenantFault } from '../appraisal/tenant-policy.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { TvmmpError } from '../errors.ts';
import type { ChainState } from '../proof/chain.ts';
import { decodeEntry, encodeSignedEntry } from '../proof/entry.ts';
import type { Entry } from '../proof/entry.ts';
import { verifyNext } from '../proof/verify.ts';
import type { VerifiedStep } from '../proof/verify.ts';
import type { Arrived } from '../protocol/messages.ts';
import { ProtocolViolation } from '../protocol/step.ts';
import { credentialsOf } from './credentials.ts';
import { rootsFor, seenAtHome, sideOfHead } from './crossing.ts';
import type { Services } from './services.ts';
import { tenantOf } from './tenant.ts';

/** The target's statement that the VM runs there, quoted by the AK that *departing* named, on a host that the VM's tenant wants. Throws `ProtocolViolation`. */
export function verifyArrived(services: Services, chain: ChainState, arrived: Arrived): VerifiedStep {
  const { host } = services;
  const { policy } = decodeEntry(arrived.entry.entry);
  const crosses = policy.id !== chain.policy.id;
  const from = crosses ? sideOfHead(host, chain) : undefined;
  const step = verifyNext(chain, {
    signed: arrived.entry,
    credentials: { certificates: arrived.certificates, policies: arrived.policies },
    ...rootsFor(host, policy),
    ...(from === undefined ? {} : { from }),
  });
  if (step.outcome === 'fault')
    throw new ProtocolViolation(`arrived does not verify: ${step.check}: ${step.message}`);
  if (step.entry.entry.kind !== 'arrived')
    throw new ProtocolViolation(`${step.entry.entry.kind} where arrived is due`);
  const tenant = tenantOf(host, chain);
  const fault =
    tenant === null ? null : tenantFault(tenant, seenAtHome(host, chain, step.entry, from ?? null));
  if (fault !== null) throw new ProtocolViolation(`arrived does not verify: tenant: ${fault}`);
  return step;
}

/** Verifies *arrived* and makes it the head of our copy of the chain: the VM is gone, its copy here is to be destroyed. */
export function recordArrival(services: Services, uuid: string, session: Uint8Array, arrived: Arrived): void {
  const { journal, now } = services.host;
  const chain = services.chains.require(uuid);
  const step = verifyArrived(services, chain, arrived);
  journal.transaction(() => {
    const record = journal.vm(uuid);
    if (record === null) throw new TvmmpError('vm-unknown', `VM ${uuid} vanished from the journal`);
    const { epoch, sequence, head, holder } = step.head;
    journal.appendEntry(uuid, sequence, encodeSignedEntry(arrived.entry));
    journal.putCredentials(uuid, credentialsOf(arrived));
    journal.putVm({ ...record, state: 'gone', epoch, sequence, head, holder: holder.name });
    journal.changeSession(session, { state: 'destroying' }, now());
    services.ledgerNews.noted(step.head);
  });
  services.chains.adopt(step.head);
}

/** The *departing* entry of a session in this host's copy of the chain, and where the chain stood with it; null without one. */
export function departingOf(
  services: Services,
  uuid: string,
  session: Uint8Array,
): { readonly entry: Entry; readonly state: ChainState } | null {
  const found = services.chains
    .history(uuid)
    .find(
      ({ entry }) =>
        entry.kind === 'departing' && entry.session !== null && bytesEqual(entry.session, session),
    );
  return found ?? null;
}
