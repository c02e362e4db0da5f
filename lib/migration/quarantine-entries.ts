/** What the proofs of a host's VMs say of its quarantine (SPEC 16.3). */
import { unhex } from '../encoding/hex.ts';
import { isHeldBy } from '../ledger/records.ts';
import type { VmRecord } from '../ledger/records.ts';
import { isRolledBack } from './anchor.ts';
import { quarantineOf } from './quarantine.ts';
import { Refused } from './refused.ts';
import type { Services } from './services.ts';

/** What a host cannot say in a proof once these fail: nobody would believe its signature, nor anything after it. */
const ofItsKey: readonly string[] = ['ak-certificate', 'revocation', 'ak-public'];

/** Signs *quarantined* or *released* for each VM whose proof does not say how this host stands; what fails is tried again. */
export async function tellInProofs(services: Services): Promise<void> {
  const { host, chains } = services;
  const note = quarantineOf(host);
  if (note?.failed.some((name) => ofItsKey.includes(name)) === true) return;
  for (const record of host.journal.vms()) {
    if (!isSettled(services, record) || proofSays(services, record) === (note !== null)) continue;
    try {
      await chains.append(
        record.uuid,
        note === null ? { kind: 'released' } : { kind: 'quarantined', verdict: unhex(note.verdict) },
      );
    } catch (error) {
      const text = 'the quarantine of this host, or its end, could not be written into a proof yet';
      host.log.warn({ vm: record.uuid, error: String(error) }, text);
    }
  }
}

/** A VM leaves with a proof that says how its host stands. Throws `Refused`. */
export function requireProofSays(services: Services, record: VmRecord): void {
  const { host } = services;
  if (proofSays(services, record) === (quarantineOf(host) !== null)) return;
  throw new Refused(
    `host-quarantined: the proof of ${record.name} does not say yet that the quarantine of ${host.identity.id.name} began, or that it ended; try again in a moment`,
  );
}

function proofSays({ chains }: Services, { uuid }: VmRecord): boolean {
  return chains.state(uuid)?.quarantined === true;
}

/** Held by this host, and not on its way. */
function isSettled({ host }: Services, record: VmRecord): boolean {
  return (
    isHeldBy(record, host.identity.id.name) &&
    ['stopped', 'running', 'paused', 'saved'].includes(record.state) &&
    !isRolledBack(host.journal, record.uuid)
  );
}
