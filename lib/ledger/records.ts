/** Where a VM stands on this host (SPEC 2). */
export type VmState =
  'stopped' | 'running' | 'paused' | 'saved' | 'departing' | 'staged' | 'gone' | 'destroyed';

/** One protected VM as this host knows it: the head of its chain and, while this host is the holder, its sealed key. */
export interface VmRecord {
  /** Lower case with hyphens. */
  readonly uuid: string;
  readonly name: string;
  readonly state: VmState;
  readonly epoch: number;
  /** Of the last entry. */
  readonly sequence: number;
  /** H("tvmmp/entry/1", last entry). */
  readonly head: Uint8Array;
  /** Facts digest of the last entry. */
  readonly facts: Uint8Array;
  /** Name of the vTPM's EK, 34 bytes. */
  readonly vtpm: Uint8Array | null;
  /** UUID of the libvirt secret that carries the vTPM key. */
  readonly secret: string;
  /** Sealed key and the context that it was sealed under (SPEC 5.3); null where this host does not hold the key. */
  readonly sealed: Uint8Array | null;
  readonly context: Uint8Array | null;
  /** Host name of the holder as far as this host knows. */
  readonly holder: string;
}

/** Whether the host of this name is the VM's holder, and has its key. */
export function isHeldBy({ holder, sealed }: VmRecord, host: string): boolean {
  return holder === host && sealed !== null;
}

/**
 * What this host knows of a vTPM's state file (SPEC 8.4). `at-rest`: nothing runs on it, and its digest is this. `in-use`: swtpm was
 * let start on it; the digest is that of the last look, null before there was one. `unclean`: as `in-use`, and that run is over,
 * without the agent having seen its end. `reverted`: as `at-rest`, and the disks have gone back to a snapshot since. `adopted`: as
 * `at-rest`, by an administrator's word. `rolled-back`: the journal went back with the disk, and what was last is not known (SPEC 8.8).
 */
export interface VtpmStateRecord {
  readonly vm: string;
  readonly standing: 'at-rest' | 'in-use' | 'unclean' | 'reverted' | 'adopted' | 'rolled-back';
  /** SHA-256 of the file. */
  readonly digest: Uint8Array | null;
  readonly time: number;
}

export type SessionRole = 'source' | 'target';

/** States of SPEC 6.8 that survive a restart; earlier ones die with the connection. */
export type SessionState =
  | 'open'
  | 'refused'
  | 'offered'
  | 'staged'
  | 'declined'
  | 'aborting'
  | 'destroying'
  | 'departed'
  | 'aborted'
  | 'arriving'
  | 'arrived'
  | 'done'
  /** By an administrator (SPEC 6.9). */
  | 'resolved'
  | 'giving-up'
  | 'given-up';

/** One run of the protocol. */
export interface SessionRecord {
  readonly id: Uint8Array;
  readonly vm: string;
  readonly role: SessionRole;
  readonly state: SessionState;
  /** Attested host name of the other side; empty before it is known. */
  readonly peer: string;
  /** HOST:PORT of the other side's agent. */
  readonly address: string;
  readonly started: number;
  readonly updated: number;
  /** Why it cannot go on now; '' where nothing is in its way. A code of lib/errors.ts comes first. */
  readonly problem: string;
}

/** Something that happened to a session; newest last. */
export interface SessionStep {
  readonly time: number;
  readonly state: SessionState;
  /** What was met or done; '' for a mere change of state. */
  readonly note: string;
}

/** Lets one VM in, once (SPEC 8.1). */
export interface PermitRecord {
  readonly vm: string;
  readonly session: Uint8Array;
  readonly facts: Uint8Array;
  /** Digest of the appraisal of the source: what *arrived* will state. */
  readonly verdict: Uint8Array;
  readonly expires: number;
  readonly consumed: number | null;
}

/** A decision against something, kept for the operator. */
export interface RefusalRecord {
  readonly time: number;
  readonly vm: string | null;
  readonly peer: string | null;
  /** What was refused: `migrate-in`, `migrate-out`, `start`, ... */
  readonly operation: string;
  /** One line, the reason first. */
  readonly reason: string;
  /** The verdict as JSON, where there was an appraisal. */
  readonly verdict: string | null;
}

/** Something that must travel with a proof so that it verifies offline. */
export interface Credential {
  readonly kind: 'certificate' | 'policy';
  readonly digest: Uint8Array;
  readonly bytes: Uint8Array;
}
