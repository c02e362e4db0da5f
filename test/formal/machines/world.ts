/**
 * One VM, its source and its target, as the search over the shipped state machines sees them: lib/protocol steps,
 * lib/migration/resumed.ts takes up again; journals, libvirt and the channel are as small as in spin/handover.pml, of
 * which this is the twin. States are values: a step makes a new one.
 */
import type { SessionState } from '../../../lib/ledger/records.ts';
import type { Aborted, Message } from '../../../lib/protocol/messages.ts';
import type { SourceEffect, SourceState } from '../../../lib/protocol/source.ts';
import type { TargetEffect, TargetState } from '../../../lib/protocol/target.ts';
import { abort, aborted, bytes, evidence, offer, query, session } from '../../unit/protocol/session-world.ts';
import { arrived, departed, head, own } from '../spin/places.ts';

/** Messages in flight, a bit each; sent once, they can be delivered late and again until they are lost. */
export const messages = {
  'hello-source': own.source,
  'hello-target': own.target,
  evidence,
  offer,
  staged: { kind: 'staged', session, head },
  'refused-source': { kind: 'refused', session, hint: null },
  'refused-target': { kind: 'refused', session, hint: null },
  arrived,
  departed,
  abort,
  aborted,
  query,
} as const satisfies Readonly<Record<string, Message>>;
export type MessageName = keyof typeof messages;
const names = Object.keys(messages) as MessageName[];
const bits = new Map(names.map((name, index) => [name, 2 ** index]));

export function bit(name: MessageName): number {
  return bits.get(name) ?? 0;
}

export const messageNames: readonly MessageName[] = names;
export const toSource: readonly MessageName[] = [
  'hello-target',
  'evidence',
  'staged',
  'refused-target',
  'arrived',
  'aborted',
];
export const toTarget: readonly MessageName[] = names.filter((name) => !toSource.includes(name));

/** Which message a send effect puts into the channel. */
export function nameOf(message: Message, role: 'source' | 'target'): MessageName {
  if (message.kind === 'hello' || message.kind === 'refused') return `${message.kind}-${role}`;
  if (message.kind === 'revocations' || message.kind === 'log' || message.kind === 'attested')
    throw new Error('lists, logs and attestations are not part of the state machines');
  return message.kind;
}

/** Messages of another session between the same hosts, which may come at any time. */
const stale = bytes(32);
export const staleMessages: readonly Message[] = [
  { kind: 'staged', session: stale, head },
  { ...aborted, session: stale },
  { kind: 'refused', session: stale, hint: null },
  { ...abort, session: stale },
];

/** Who has the target's TLS key says *aborted* in its name, at any time, without its signature: it is never verified (SPEC 6.10). */
export const forged: Aborted = aborted;

/** libvirt's migration, as spin/handover.pml has it. */
export type Phase = 'none' | 'begin' | 'admitted' | 'stream' | 'streamed' | 'finished';
/** A QEMU process; `waits` is one whose CPUs stand still for a migration. */
export type Qemu = 'off' | 'runs' | 'waits';

export interface World {
  readonly source: SourceState | null;
  readonly sourceTodo: readonly SourceEffect[];
  readonly sourceJournal: SessionState;
  readonly sourceRecord: 'holder' | 'departing' | 'keyed' | 'none';
  readonly sourceVtpm: boolean;
  readonly sourceQemu: Qemu;
  /** libvirt's reason for a VM that is off at the source. */
  readonly reason: 'unknown' | 'migrated';
  readonly target: TargetState | null;
  readonly targetTodo: readonly (TargetEffect | { readonly do: 'open-key' } | { readonly do: 'forget' })[];
  readonly targetJournal: SessionState;
  readonly targetRecord: 'none' | 'staged' | 'holder';
  readonly targetVtpm: boolean;
  readonly targetQemu: Qemu;
  readonly permit: 'none' | 'fresh' | 'expired' | 'used';
  /** What was staged has not reached the disk. */
  readonly unsynced: boolean;
  readonly secret: boolean;
  readonly admitted: boolean;
  /** libvirt's last phase left a definition at the target. */
  readonly definition: boolean;
  /** Opened by `tvmmp migrate`. */
  readonly cli: boolean;
  readonly released: boolean;
  readonly jobs: number;
  readonly phase: Phase;
  readonly channel: number;
  readonly faults: number;
  /** libvirt itself let both run. */
  readonly split: boolean;
  /** Where the CPUs ran last. */
  readonly current: 'source' | 'target' | 'both';
  readonly signedAborted: boolean;
  readonly signedArrived: number;
}

export function firstWorld(cli: boolean, faults: number): World {
  return {
    source: { tag: 'idle' },
    sourceTodo: [],
    sourceJournal: 'open',
    sourceRecord: 'holder',
    sourceVtpm: true,
    sourceQemu: 'runs',
    reason: 'unknown',
    target: { tag: 'idle' },
    targetTodo: [],
    targetJournal: 'open',
    targetRecord: 'none',
    targetVtpm: false,
    targetQemu: 'off',
    permit: 'none',
    unsynced: false,
    secret: false,
    admitted: false,
    definition: false,
    cli,
    released: false,
    jobs: 1,
    phase: 'none',
    channel: 0,
    faults,
    split: false,
    current: 'source',
    signedAborted: false,
    signedArrived: 0,
  };
}

/** The same text for the same state: payloads are constants, so a machine's state is its tag, an effect its kind. */
export function keyOf(world: World): string {
  let key = '';
  for (const value of Object.values(world) as readonly unknown[]) key += `${shortOf(value)},`;
  return key;
}

function shortOf(value: unknown): string {
  if (value === true) return '1';
  if (value === false) return '0';
  if (typeof value === 'string' || typeof value === 'number') return String(value);
  if (value === null) return '-';
  if (Array.isArray(value)) return value.map(effectName).join('+');
  return (value as { tag: string }).tag;
}

function effectName(effect: { do: string; message?: { kind: string } }): string {
  return `${effect.do} ${effect.message?.kind ?? ''}`;
}
