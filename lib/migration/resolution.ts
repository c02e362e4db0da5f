import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import { isHeldBy } from '../ledger/records.ts';
import type { SessionRecord, VmRecord } from '../ledger/records.ts';
import { departingOf } from './arrival.ts';
import { removeAndCheck } from './destruction.ts';
import { isActive, jobOf, lookAt } from './domain-view.ts';
import { Refused } from './refused.ts';
import type { Services } from './services.ts';
import type { Sessions } from './sessions.ts';
import { cameHere } from './incoming-definition.ts';
import { isConflict, outcomesOf } from './situation.ts';
import type { Outcome } from './situation.ts';

const pollMs = 200;

/**
 * `tvmmp migration resolve` (SPEC 6.9): an administrator states what became of a hand-over whose other host is not heard, or
 * says something else. Asks that host once more first. Throws `Refused` where the outcome cannot be stated now.
 */
export async function resolve(
  services: Services,
  sessions: Sessions,
  session: SessionRecord,
  outcome: Outcome,
): Promise<SessionRecord> {
  const { journal, now, log } = services.host;
  requireOpen(session, outcome);
  const asked = await askOnce(services, sessions, session);
  requireOpen(asked, outcome);
  if (asked.state !== session.state && !isConflict(asked))
    throw new Refused(
      `this migration has gone on meanwhile, and is ${asked.state} now: look again (tvmmp migration show)`,
    );
  const record = journal.vm(session.vm);
  if (record === null) throw new TvmmpError('vm-unknown', `VM ${session.vm} is unknown here`);
  if (sessions.inTheMaking(record.uuid))
    throw new Refused(
      `another migration of ${record.name} is being made here: end it first, or try again in a moment`,
    );
  const unseen = asked.role === 'target' && asked.state === 'staged';
  if (unseen) await requireUnseen(services, record);
  else await (outcome === 'keep' ? requireKeepable : requireGivable)(services, asked, record);
  log.warn({ vm: session.vm, role: session.role, outcome }, 'an administrator resolves a migration');
  journal.noteStep(session.id, `an administrator resolves it: ${outcome}`, now());
  if (outcome === 'keep' && asked.state === 'resolved') journal.noteProblem(session.id, '', now());
  else if (unseen) await takeAsSeen(sessions, asked, outcome);
  else await sessions.takeUp(asked).input({ kind: outcome });
  return reread(services, session);
}

/** Destroys what this host has of a VM that it gives up; the decision is durable first (SPEC 6.9). Can be repeated. */
export async function giveUpCopy(services: Services, uuid: string, session: Uint8Array): Promise<void> {
  const { host } = services;
  const record = host.journal.vm(uuid);
  const row = host.journal.session(session);
  if (record === null || row === null) throw new TvmmpError('vm-unknown', `VM ${uuid} is unknown here`);
  if (row.state !== 'giving-up') {
    const departing = departingOf(services, uuid, session);
    if (departing === null) throw new TvmmpError('internal', 'a session without its departing entry');
    const { epoch, sequence, head, facts, vtpm } = departing.state;
    host.journal.transaction(() => {
      host.journal.rewindChain(uuid, sequence, session);
      host.journal.removePermit(uuid);
      host.journal.putVm({
        ...record,
        ...{ epoch, sequence, head, facts, vtpm },
        state: 'gone',
        holder: row.peer,
      });
      host.journal.changeSession(session, { state: 'giving-up' }, host.now());
      services.ledgerNews.gaveUp(uuid, { epoch, sequence, head });
    });
  }
  await removeAndCheck(services, uuid, () => {
    const gone = host.journal.vm(uuid);
    if (gone?.state === 'gone' && host.journal.session(session)?.state === 'giving-up') return gone;
    throw new TvmmpError('destruction-incomplete', `VM ${uuid} is not one that this session gave up`);
  });
  await services.anchor.settleOrOwe();
}

function requireOpen(session: SessionRecord, outcome: Outcome): void {
  const outcomes = outcomesOf(session);
  if (outcomes.includes(outcome)) return;
  throw new Refused(
    outcomes.length === 0
      ? `this migration is ${session.state}: there is nothing to resolve (tvmmp migration show)`
      : `a migration that is ${session.state} here can only be resolved by: ${outcomes.join(', ')}`,
  );
}

/** The peer may be back: its answer is better than an administrator's. */
async function askOnce(
  services: Services,
  sessions: Sessions,
  session: SessionRecord,
): Promise<SessionRecord> {
  if (isConflict(session)) return session;
  sessions.askAgain(session.id);
  for (let waited = 0; waited < limits.resolutionWaitMs; waited += pollMs) {
    await services.host.timers.sleep(pollMs);
    const found = reread(services, session);
    if (outcomesOf(found).length === 0 || isConflict(found)) return found;
  }
  return reread(services, session);
}

function reread(services: Services, session: SessionRecord): SessionRecord {
  return services.host.journal.session(session.id) ?? session;
}

/** SPEC 6.9: a VM that came to a target and stopped before the agent saw it, of which the source does not say that it left. */
async function requireUnseen({ host }: Services, record: VmRecord): Promise<void> {
  const came = await cameHere(host, record.uuid);
  if (came === 'and-stopped') return;
  throw new Refused(
    came === 'no'
      ? `nothing of ${record.name} has come here; that ends by itself`
      : `libvirt has ${record.name} on this host: it arrives, or is let go, by itself`,
  );
}

/** What the source, or a look at libvirt, would have said. */
async function takeAsSeen(sessions: Sessions, { vm }: SessionRecord, outcome: Outcome): Promise<void> {
  const live = sessions.stagedFor(vm);
  if (live === null) throw new Refused('this migration has gone on meanwhile: tvmmp migration show');
  await live.input({ kind: outcome === 'keep' ? 'moved' : 'not-incoming' });
}

async function requireKeepable(services: Services, session: SessionRecord, record: VmRecord): Promise<void> {
  if (session.role === 'target') return;
  const { hypervisor, files } = services.host;
  const domain = await lookAt(hypervisor, record.uuid);
  if (isActive(domain)) {
    if ((await jobOf(hypervisor, record.uuid)) !== null)
      throw new Refused(`libvirt still works on ${record.name}; wait, or end it with virsh domjobabort`);
  } else if (!(await files.vtpmIsMade(record.uuid))) {
    throw new Refused(
      `there is nothing of ${record.name} to keep: it does not run here, and its vTPM state is gone; libvirt moved it to ${session.peer}`,
    );
  }
  // The target may have told the ledger what it could not tell us.
  await services.custody.requireHolder(record);
}

async function requireGivable(services: Services, session: SessionRecord, record: VmRecord): Promise<void> {
  if (isActive(await lookAt(services.host.hypervisor, record.uuid)))
    throw new Refused(
      `libvirt runs ${record.name} on this host; stop it first (virsh destroy ${record.name})`,
    );
  const departing = departingOf(services, record.uuid, session.id);
  const states: readonly string[] =
    session.role === 'source' && session.state !== 'resolved' ? ['departing'] : ['stopped', 'saved'];
  const ours = isHeldBy(record, services.host.identity.id.name);
  const epoch = departing === null ? null : departing.entry.epoch + (session.role === 'target' ? 1 : 0);
  if (!ours || record.epoch !== epoch)
    throw new Refused(`${record.name} has moved on since (held by ${record.holder}, epoch ${record.epoch})`);
  if (!states.includes(record.state))
    throw new Refused(`${record.name} is ${record.state} according to its proof; try again in a moment`);
}
