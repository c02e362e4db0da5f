/** What is said of sessions that are over (SPEC 6.8 to 6.10), from the journal. */
import { hex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';
import type { SessionRecord } from '../ledger/records.ts';
import { decodeEntry, decodeSignedEntry } from '../proof/entry.ts';
import type { SignedEntry } from '../proof/entry.ts';
import type { Channel } from '../protocol/channel.ts';
import type { Arrived, Message, Question } from '../protocol/messages.ts';
import { departingOf, verifyArrived } from './arrival.ts';
import { disclaim } from './disclaimers.ts';
import { discardIncoming } from './incoming.ts';
import type { Services } from './services.ts';
import { departedMessage } from './source-entries.ts';
import { arrivedMessage } from './target-entries.ts';

/** A session that is over: its outcome is repeated to a peer that has not heard it (SPEC 6.8). */
export async function repeatOutcome(
  services: Services,
  channel: Channel,
  message: Message,
  record: SessionRecord,
): Promise<void> {
  if (record.role === 'source' && record.state === 'departed' && message.kind === 'arrived') {
    const departures = services.host.journal.departures(record.vm).map(decodeSignedEntry);
    const entry = departures.find((signed) => sessionOf(signed) === hex(record.id));
    if (entry !== undefined) await channel.send(departedMessage(services, record.id, entry));
  } else if (record.role === 'source' && record.state === 'resolved' && message.kind === 'arrived') {
    noteContradiction(services, message, record);
    await channel.send({ kind: 'refused', session: record.id, hint: null });
  } else if (message.kind === 'abort' || message.kind === 'query') {
    await disclaimAgain(services, channel, message, record);
  }
}

/** What a crash or a fault left of a session that came to nothing is thrown away before it is signed that nothing is left. */
async function disclaimAgain(
  services: Services,
  channel: Channel,
  question: Question,
  record: SessionRecord,
): Promise<void> {
  if (record.role !== 'target' || (record.state !== 'aborted' && record.state !== 'refused')) return;
  await discardIncoming(services, record.vm, record.id);
  await channel.send(await disclaim(services, question));
}

/** Both hosts have the VM: nothing is destroyed, the operator is told (SPEC 6.9). Gives what was noted; throws where *arrived* does not verify. */
export function noteContradiction(services: Services, message: Arrived, record: SessionRecord): string {
  const departing = departingOf(services, record.vm, record.id);
  if (departing === null) throw new TvmmpError('internal', 'a resolved session without its departing entry');
  verifyArrived(services, departing.state, message);
  const { journal, now } = services.host;
  const problem = `hand-over-conflict: ${record.peer} says that the VM arrived there, and an administrator kept it here`;
  journal.noteProblem(record.id, problem, now());
  return problem;
}

/** Our *arrived* of a session, from the journal. */
export function arrivedOf(services: Services, vm: string, session: Uint8Array): Arrived | null {
  const entries = services.host.journal.entries(vm).map(decodeSignedEntry);
  const entry = entries.findLast(
    (signed) => decodeEntry(signed.entry).kind === 'arrived' && sessionOf(signed) === hex(session),
  );
  return entry === undefined ? null : arrivedMessage(services, session, entry);
}

function sessionOf(signed: SignedEntry): string {
  const { session } = decodeEntry(signed.entry);
  return session === null ? '' : hex(session);
}
