import { bytesEqual } from '../bytes/compare.ts';
import { base64 } from '../encoding/base64.ts';
import { hex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';
import type { SessionRecord } from '../ledger/records.ts';
import { resolve } from '../migration/resolution.ts';
import type { Services } from '../migration/services.ts';
import type { Sessions } from '../migration/sessions.ts';
import { isConflict, situationOf } from '../migration/situation.ts';
import type { Outcome } from '../migration/situation.ts';
import { vtpmProblem } from '../migration/vtpm-identity.ts';
import type { ControlMethod } from './control-server.ts';

/** Shorter beginnings of a session id are too easily another's. */
const prefixDigitsMin = 4;

/** What `tvmmp migration` asks for: the sessions of this host, one of them in detail, and an administrator's word on it. */
export function migrationMethods(
  services: Services,
  sessions: Sessions,
): Readonly<Record<string, ControlMethod>> {
  const { journal } = services.host;
  return {
    migrations: () => Promise.resolve(journal.sessions().map((session) => migrationJson(services, session))),
    'migration.show': (params) => {
      const session = findSession(services, params['session']);
      return Promise.resolve({
        ...migrationJson(services, session),
        steps: journal.sessionSteps(session.id),
        setAside: journal.setAside(session.id).map(base64),
      });
    },
    'migration.resolve': async (params, progress) => {
      const session = findSession(services, params['session']);
      const outcome = outcomeOf(params['outcome']);
      if (params['accepted'] !== true)
        throw new TvmmpError('usage-invalid', 'an outcome can only be stated with its risk accepted');
      progress({ step: 'ask', message: `asking ${session.peer || session.address} once more` });
      return migrationJson(services, await resolve(services, sessions, session, outcome));
    },
  };
}

/** Sessions that are not over, and those about which two hosts disagree. */
export function openMigrations(services: Services): readonly unknown[] {
  const { journal } = services.host;
  const unfinished = journal.unfinishedSessions();
  const disputed = journal
    .sessions()
    .filter((session) => isConflict(session) && !unfinished.some(({ id }) => bytesEqual(id, session.id)));
  return [...unfinished, ...disputed].map(({ id, vm, role, state, peer, problem }) => ({
    id: hex(id),
    vm,
    role,
    state,
    peer,
    problem,
  }));
}

function migrationJson(services: Services, session: SessionRecord): Readonly<Record<string, unknown>> {
  const vm = services.host.journal.vm(session.vm);
  const exchanged = exchangedBy(services, session);
  const situation = situationOf(session);
  return {
    ...session,
    id: hex(session.id),
    name: vm?.name ?? null,
    vmState: vm?.state ?? null,
    ...situation,
    ...(exchanged === null ? {} : { problem: exchanged, waitsFor: 'administrator' }),
  };
}

/** That the VM came with another vTPM than its proof names, where this is the session in which it came to stay (SPEC 4.5); null otherwise. */
function exchangedBy({ host, vtpmIdentities }: Services, { id, vm, role }: SessionRecord): string | null {
  if (role !== 'target' || !vtpmIdentities.status().exchanged.some((one) => one.vm === vm)) return null;
  const came = host.journal.sessions(vm).find(({ state }) => state === 'arrived' || state === 'done');
  const record = host.journal.vm(vm);
  return record === null || came === undefined || !bytesEqual(came.id, id)
    ? null
    : vtpmProblem(host.journal, record);
}

/** By the beginning of its id, or the latest of a VM by its name or UUID. */
function findSession(services: Services, wanted: unknown): SessionRecord {
  const { journal } = services.host;
  if (typeof wanted !== 'string' || wanted === '')
    throw new TvmmpError('usage-invalid', 'say which migration: the beginning of its id, or a VM');
  const all = journal.sessions();
  const isPrefix = /^[0-9a-f]+$/.test(wanted) && wanted.length >= prefixDigitsMin;
  const found = isPrefix ? all.filter(({ id }) => hex(id).startsWith(wanted)) : [];
  if (found.length > 1)
    throw new TvmmpError('usage-invalid', `several migrations begin with ${wanted}; give more digits`);
  const latest = found[0] ?? all.find(({ vm }) => vm === wanted || journal.vm(vm)?.name === wanted);
  if (latest === undefined)
    throw new TvmmpError('usage-invalid', `no migration of this host is ${wanted} (tvmmp migration list)`);
  return latest;
}

function outcomeOf(value: unknown): Outcome {
  if (value === 'keep' || value === 'give-up') return value;
  throw new TvmmpError('usage-invalid', 'an outcome is keep or give-up');
}
