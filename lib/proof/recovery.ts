/** The authority's part of a proof (SPEC 15.4): a host takes a VM up that its holder did not give away only by its statement. */
import type { RecoveryDocument, RecoveryStatement } from '../appraisal/recovery.ts';
import { bytesEqual } from '../bytes/compare.ts';
import type { ChainState } from './chain.ts';
import type { Credentials } from './credentials.ts';
import type { Side } from './crossing.ts';
import type { Entry, HostId } from './entry.ts';
import { demand } from './fault.ts';

/** `recovery`: *recovered* names a statement of the authority about exactly this step, under a policy with escrow, and the tenant has not forbidden it. Returns that one. */
export function demandRecovery(
  before: ChainState | null,
  entry: Entry,
  { root, policy }: Side,
  credentials: Credentials,
): RecoveryStatement | null {
  if (entry.kind !== 'recovered' || before === null || entry.verdict === null) return null;
  const statement = credentials.recovery(entry.verdict, entry.time, root);
  const fault = recoveryFault(before, entry.host, statement);
  demand(fault === null, 'recovery', fault ?? '');
  const { escrow } = policy;
  demand(escrow !== null, 'recovery', 'the policy that it was recovered under has no escrow');
  const tenant = before.tenant === null ? null : credentials.tenant(before.tenant, before.vm);
  demand(tenant?.escrow !== 'no', 'recovery', 'the tenant of the VM forbids escrow');
  return statement;
}

/** Why a statement does not let this host take up the VM whose chain stands there; null where it does. */
export function recoveryFault(chain: ChainState, to: HostId, statement: RecoveryDocument): string | null {
  if (statement.vm !== chain.vm) return `the recovery statement is about VM ${statement.vm}`;
  if (!bytesEqual(statement.birth, chain.birth)) return 'the recovery statement is about another birth';
  if (statement.epoch !== chain.epoch)
    return `the recovery statement is about epoch ${statement.epoch}, and the chain is in ${chain.epoch}`;
  if (!bytesEqual(statement.head, chain.head))
    return 'the recovery statement is about another last entry: the chain went on, or is cut off';
  if (!names(statement.lost, chain.holder))
    return `the recovery statement says that ${statement.lost.name} is lost, and ${chain.holder.name} is the holder`;
  if (!names(statement.to, to))
    return `the recovery statement is for ${statement.to.name}, and not for this AK of ${to.name}`;
  return null;
}

function names({ name, ak }: RecoveryDocument['to'], host: HostId): boolean {
  return name === host.name && bytesEqual(ak, host.akName);
}
