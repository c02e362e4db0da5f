/**
 * Words for libvirt's numbers (`virDomainState` and its reasons, `virDomainEventType` and its details; libvirt-domain.h). The
 * numbers are libvirt's stable ABI; a number that is newer than libvirt 9.0 becomes `unknown`, which nobody treats as a success.
 */

const STATES = [
  'nostate',
  'running',
  'blocked',
  'paused',
  'shutdown',
  'shutoff',
  'crashed',
  'pmsuspended',
] as const;

const STATE_REASONS = {
  nostate: ['unknown'],
  running: [
    'unknown',
    'booted',
    'migrated',
    'restored',
    'from-snapshot',
    'unpaused',
    'migration-canceled',
    'save-canceled',
    'wakeup',
    'crashed',
    'postcopy',
    'postcopy-failed',
  ],
  blocked: ['unknown'],
  paused: [
    'unknown',
    'user',
    'migration',
    'save',
    'dump',
    'ioerror',
    'watchdog',
    'from-snapshot',
    'shutting-down',
    'snapshot',
    'crashed',
    'starting-up',
    'postcopy',
    'postcopy-failed',
  ],
  shutdown: ['unknown', 'user'],
  shutoff: [
    'unknown',
    'shutdown',
    'destroyed',
    'crashed',
    'migrated',
    'saved',
    'failed',
    'from-snapshot',
    'daemon',
  ],
  crashed: ['unknown', 'panicked'],
  pmsuspended: ['unknown'],
} as const;

const EVENTS = [
  'defined',
  'undefined',
  'started',
  'suspended',
  'resumed',
  'stopped',
  'shutdown',
  'pmsuspended',
  'crashed',
] as const;

const EVENT_DETAILS = {
  defined: ['added', 'updated', 'renamed', 'from-snapshot'],
  undefined: ['removed', 'renamed'],
  started: ['booted', 'migrated', 'restored', 'from-snapshot', 'wakeup'],
  suspended: [
    'paused',
    'migrated',
    'ioerror',
    'watchdog',
    'restored',
    'from-snapshot',
    'api-error',
    'postcopy',
    'postcopy-failed',
  ],
  resumed: ['unpaused', 'migrated', 'from-snapshot', 'postcopy', 'postcopy-failed'],
  stopped: ['shutdown', 'destroyed', 'crashed', 'migrated', 'saved', 'failed', 'from-snapshot'],
  shutdown: ['finished', 'guest', 'host'],
  pmsuspended: ['memory', 'disk'],
  crashed: ['panicked', 'crashloaded'],
} as const;

/** What a domain is doing; `unknown` when libvirt is newer than we are. */
export type DomainState = (typeof STATES)[number] | 'unknown';
/** Why it does so. */
export type DomainStateReason = (typeof STATE_REASONS)[keyof typeof STATE_REASONS][number] | 'unknown';
/** What happened to a domain (`virDomainEventType`). */
export type DomainEventName = (typeof EVENTS)[number] | 'unknown';
/** How it happened: `migrated` after `started` or `resumed` means here, after `stopped` or `suspended` means away. */
export type DomainEventDetail = (typeof EVENT_DETAILS)[keyof typeof EVENT_DETAILS][number] | 'unknown';

/** `virDomainGetState`'s two numbers in words. */
export function domainStateOf(
  state: number,
  reason: number,
): { state: DomainState; reason: DomainStateReason } {
  const name = STATES[state];
  if (name === undefined) return { state: 'unknown', reason: 'unknown' };
  return { state: name, reason: STATE_REASONS[name][reason] ?? 'unknown' };
}

/** A lifecycle event's two numbers in words. */
export function domainEventOf(
  event: number,
  detail: number,
): { event: DomainEventName; detail: DomainEventDetail } {
  const name = EVENTS[event];
  if (name === undefined) return { event: 'unknown', detail: 'unknown' };
  return { event: name, detail: EVENT_DETAILS[name][detail] ?? 'unknown' };
}
