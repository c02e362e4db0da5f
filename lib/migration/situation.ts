import type { SessionRecord, SessionState } from '../ledger/records.ts';

/** What an administrator can state about a hand-over without the other host (SPEC 6.9). */
export type Outcome = 'keep' | 'give-up';

/** On whom a session waits. */
export type WaitsFor = 'peer' | 'this-host' | 'administrator' | 'nobody';

/** A session's state in words, and what can be done about it. */
export interface Situation {
  readonly waitsFor: WaitsFor;
  readonly meaning: string;
  readonly outcomes: readonly Outcome[];
}

/** Whether both hosts keep the VM by their own word; the code comes first in a problem. */
export function isConflict({ problem }: SessionRecord): boolean {
  return problem.startsWith('hand-over-conflict:');
}

/** What `tvmmp migration resolve` accepts for a session in this state; none where this host or libvirt decides. */
export function outcomesOf(session: SessionRecord): readonly Outcome[] {
  const open: readonly SessionState[] =
    session.role === 'source' ? ['offered', 'staged', 'aborting'] : ['staged', 'arrived'];
  const reopened = session.role === 'source' && session.state === 'resolved' && isConflict(session);
  return open.includes(session.state) || reopened ? ['keep', 'give-up'] : [];
}

/** A session as `tvmmp migration show` explains it. */
export function situationOf(session: SessionRecord): Situation {
  const outcomes = outcomesOf(session);
  const [waitsFor, meaning] = describe(session);
  return { waitsFor: isConflict(session) ? 'administrator' : waitsFor, meaning, outcomes };
}

function describe({ role, state, peer }: SessionRecord): readonly [WaitsFor, string] {
  const other = peer === '' ? 'the other host' : peer;
  switch (state) {
    case 'open':
      return ['peer', 'the hosts attest themselves; nothing is committed yet'];
    case 'refused':
      return ['nobody', 'refused; nothing was committed (tvmmp explain)'];
    case 'offered':
      return ['peer', `the key is sealed for ${other}; libvirt moves the VM, or has still to`];
    case 'staged':
      return role === 'source'
        ? ['peer', `${other} is ready; libvirt moves the VM, or has still to`]
        : [
            'this-host',
            `key and permit are here; libvirt has still to bring the VM, or to let it go; if it came and stopped unseen, ${other} has to say that it left`,
          ];
    case 'declined':
      return ['this-host', `${other} will not run the VM; libvirt here has still to give the migration up`];
    case 'aborting':
      return ['peer', `libvirt’s migration is over, and ${other} has still to say where the VM runs`];
    case 'destroying':
      return ['this-host', `the VM arrived at ${other}; what is left of it here is being destroyed`];
    case 'departed':
      return ['nobody', `the VM moved to ${other}, and this host’s copy is destroyed`];
    case 'aborted':
      return [
        'nobody',
        role === 'source' ? 'given up by both hosts; the VM stayed' : 'given up; nothing of it is here',
      ];
    case 'arriving':
      return ['this-host', 'the VM runs here; arrived has still to be signed'];
    case 'arrived':
      return ['peer', `the VM runs here; ${other} has still to state that its copy is destroyed`];
    case 'done':
      return ['nobody', `the VM came here, and ${other} has stated that its copy is destroyed`];
    case 'resolved':
      return ['nobody', `kept here by an administrator without the word of ${other}`];
    case 'giving-up':
      return ['this-host', 'given up by an administrator; what is left of it here is being destroyed'];
    case 'given-up':
      return ['nobody', `given up by an administrator, without the word of ${other}; nothing of it is here`];
  }
}
