/** The phases of a migration in which faults strike, in the order in which it goes through them (SPEC 6.1, 6.8; libvirt's v3 phases). */
import type { HookPlace } from './gates.ts';

/** Of a migration. */
export type Side = 'source' | 'destination';

/** TPM2_Quote and TPM2_ECDH_ZGen (TPM 2.0 Library, part 2, 6.5.2). */
export const commandCodes = { quote: 0x158, zgen: 0x154 } as const;

/** How a phase is found. */
export type Place =
  /** Held by a hook of libvirt. */
  | ({ readonly by: 'hook'; readonly side: Side } & HookPlace)
  /** Held before a command of the agent's to its TPM, after `count` of the same kind in this migration. */
  | {
      readonly by: 'tpm';
      readonly side: Side;
      readonly command: keyof typeof commandCodes;
      readonly count: number;
      /** Strikes only when `virsh migrate` has ended. */
      readonly afterLibvirt?: true;
    }
  /** Memory travels, slowly. */
  | { readonly by: 'memory' }
  /** The agent's log says so. */
  | { readonly by: 'log'; readonly side: Side; readonly state: string };

/** One phase. */
export interface Phase {
  readonly name: string;
  readonly what: string;
  readonly place: Place;
  /** Whether there is a QEMU and a swtpm of the guest on each side. */
  readonly guestAt: Readonly<Record<Side, boolean>>;
  /** A hook client waits for the destination's agent. */
  readonly hookClient: boolean;
}

const before = { source: true, destination: false } as const;
const both = { source: true, destination: true } as const;
const after = { source: false, destination: true } as const;

const migrateHook = { by: 'hook', side: 'destination', operation: 'migrate', subOperation: 'begin' } as const;

export const phases: readonly Phase[] = [
  {
    name: 'begun',
    what: 'libvirt: Begin is over at the source, the destination calls its first hook; no agent knows of it',
    place: { ...migrateHook, order: 'before' },
    guestAt: before,
    hookClient: false,
  },
  {
    name: 'hello',
    what: 'both have said hello; the destination is about to quote its evidence',
    place: { by: 'tpm', side: 'destination', command: 'quote', count: 0 },
    guestAt: before,
    hookClient: true,
  },
  {
    name: 'accepted',
    what: 'the source has appraised the destination, and is about to open the vTPM key to seal it anew',
    place: { by: 'tpm', side: 'source', command: 'zgen', count: 0 },
    guestAt: before,
    hookClient: true,
  },
  {
    name: 'signing',
    what: 'the key is sealed for the destination; the source is about to quote departing',
    place: { by: 'tpm', side: 'source', command: 'quote', count: 0 },
    guestAt: before,
    hookClient: true,
  },
  {
    name: 'offered',
    what: 'departing is signed and sent with the key; the destination has staged it durably, and is about to open the key into libvirt',
    place: { by: 'tpm', side: 'destination', command: 'zgen', count: 0 },
    guestAt: before,
    hookClient: true,
  },
  {
    name: 'staged',
    what: 'both are staged, tvmmp’s hook has let the VM in; libvirt is still in its first hook',
    place: { ...migrateHook, order: 'after' },
    guestAt: before,
    hookClient: false,
  },
  {
    name: 'prepare',
    what: 'libvirt: Prepare at the destination; the permit is used up',
    place: { by: 'hook', side: 'destination', order: 'after', operation: 'prepare', subOperation: 'begin' },
    guestAt: before,
    hookClient: false,
  },
  {
    name: 'incoming',
    what: 'libvirt: the end of Prepare; QEMU and swtpm wait at the destination for what comes',
    place: { by: 'hook', side: 'destination', order: 'after', operation: 'started', subOperation: 'begin' },
    guestAt: both,
    hookClient: false,
  },
  {
    name: 'perform',
    what: 'libvirt: Perform; memory travels',
    place: { by: 'memory' },
    guestAt: both,
    hookClient: false,
  },
  {
    name: 'finish',
    what: 'libvirt: Finish; the CPUs run at the destination, which is about to sign arrived; libvirt has not ended at the source',
    place: { by: 'tpm', side: 'destination', command: 'quote', count: 1 },
    guestAt: after,
    hookClient: false,
  },
  {
    name: 'confirm',
    what: 'libvirt: Confirm; the source has ended its QEMU, and calls its last hooks',
    place: { by: 'hook', side: 'source', order: 'before', operation: 'stopped', subOperation: 'end' },
    guestAt: after,
    hookClient: false,
  },
  {
    name: 'arriving',
    what: 'virsh migrate has ended well; arrived is not signed yet',
    place: { by: 'tpm', side: 'destination', command: 'quote', count: 1, afterLibvirt: true },
    guestAt: after,
    hookClient: false,
  },
  {
    name: 'destroying',
    what: 'arrived is verified, and the source has destroyed its copy; departed is about to be signed',
    place: { by: 'tpm', side: 'source', command: 'quote', count: 1 },
    guestAt: after,
    hookClient: false,
  },
  {
    name: 'departed',
    what: 'departed is signed, and is on its way',
    place: { by: 'log', side: 'source', state: 'departed' },
    guestAt: after,
    hookClient: false,
  },
];
