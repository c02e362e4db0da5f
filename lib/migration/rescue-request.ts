/** What the journal of a lost host says of a VM, for the authority (SPEC 15.3). */
import type { Journal } from '../ledger/journal.ts';
import { escrowCopy } from './escrow.ts';
import { Refused } from './refused.ts';
import { encodeRescueRequest } from './rescue-file.ts';
import { storedProof } from './stored-proof.ts';

/** The host that is to take the VM up. */
export interface Rescuer {
  /** DER. */
  readonly akCertificate: Uint8Array;
  /** TPMT_PUBLIC wire bytes. */
  readonly receivePublic: Uint8Array;
}

/** Bytes of a request for the VM with this name or UUID. Throws `Refused` where the journal has nothing to rescue it by. */
export function rescueRequest(journal: Journal, vm: string, rescuer: Rescuer): Uint8Array {
  const found = journal.vms().filter(({ uuid, name }) => uuid === vm || name === vm);
  const [record, other] = found;
  if (record === undefined) throw new Refused(`that journal knows no VM ${vm}`);
  if (other !== undefined) throw new Refused(`several VMs in that journal are called ${vm}; give the UUID`);
  const { uuid, name, state, secret } = record;
  if (record.sealed === null || state === 'staged')
    throw new Refused(
      `${name} was not held there: ${record.holder} held it since epoch ${record.epoch}, as far as that journal knows`,
    );
  if (state === 'departing')
    throw new Refused(`${name} was on its way to another host: look there first (tvmmp migration list)`);
  const copy = escrowCopy(journal, uuid);
  if (copy === null)
    throw new Refused(
      `escrow-off: that host kept no copy of the key of ${name} for the authority: no escrow in its policy, or its tenant forbids it`,
    );
  const known = journal.vtpmState(uuid);
  if (known?.standing === 'rolled-back')
    throw new Refused(`journal-rolled-back: that journal is not the last one of its host`);
  const off = known !== null && known.standing !== 'in-use' && known.standing !== 'unclean';
  return encodeRescueRequest({
    name,
    secret,
    proof: storedProof(journal, uuid),
    escrowed: copy.sealed,
    state: off ? known.digest : null,
    past: journal.pastVtpmStates(uuid),
    ...rescuer,
  });
}
