/**
 * Whether what agents did is a behaviour of the model: each change of a session's state in their logs has to be a transition of the
 * model, from where that session stood.
 */
import type { Role, TableRow } from './rows.ts';

/** A change of state that the model does not have. */
export interface Stray {
  readonly host: string;
  readonly role: Role;
  readonly from: string;
  readonly to: string;
}

/** What was read. */
export interface TraceReport {
  /** Changes of state that were compared. */
  readonly steps: number;
  readonly strays: readonly Stray[];
}

interface Line {
  readonly host: string;
  readonly vm: string;
  readonly role: Role;
  readonly state: string;
  readonly msg: string;
}

/**
 * Reads the lines of agents' logs (JSON, one a line, of one or several hosts, each host's in order; lines about other things are passed over). One hand-over of a
 * VM follows another in the same role: it begins where the machine's first states are, or where the journal says after a restart.
 */
export function tracesAreBehaviours(lines: readonly string[], model: readonly TableRow[]): TraceReport {
  const known = new Set(model.map(({ role, from, to }) => `${role} ${from} ${to}`));
  const standing = new Map<string, string>();
  const strays: Stray[] = [];
  let steps = 0;
  for (const { host, vm, role, state, msg } of lines.flatMap(sessionLine)) {
    const key = `${host} ${vm} ${role}`;
    const to = state.replaceAll('-', '_');
    if (msg === 'session') {
      const before = standing.get(key);
      const from = before === undefined || beginsAnew(role, before, to) ? 'idle' : before;
      steps += 1;
      if (!known.has(`${role} ${from} ${to}`)) strays.push({ host, role, from, to });
    }
    standing.set(key, to);
  }
  return { steps, strays };
}

const endings: Readonly<Record<Role, readonly string[]>> = {
  source: ['departed', 'aborted', 'refused', 'resolved', 'given_up'],
  target: ['done', 'aborted', 'refused', 'resolved', 'given_up'],
};

/** After an end comes another session; so it does after a first state, which a session that died unsaid leaves behind. */
function beginsAnew(role: Role, before: string, to: string): boolean {
  const first = to === 'hello_sent' || (to === 'greeted' && before !== 'hello_sent');
  return endings[role].includes(before) || first;
}

function sessionLine(text: string): readonly Line[] {
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch {
    return [];
  }
  if (typeof line !== 'object' || line === null) return [];
  const { host, vm, role, state, msg } = line as Partial<Record<keyof Line, unknown>>;
  const ours = msg === 'session' || msg === 'taking up an unfinished session';
  if (!ours || typeof host !== 'string' || typeof vm !== 'string' || typeof state !== 'string') return [];
  return role === 'source' || role === 'target' ? [{ host, vm, role, state, msg }] : [];
}
