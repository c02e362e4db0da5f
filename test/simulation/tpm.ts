/** A host's TPM and the native operations on keys: real attestations by a software key, sealed keys as tickets of an oracle. */
import { randomBytes } from 'node:crypto';
import { bytesEqual } from '../../lib/bytes/compare.ts';
import { TvmmpError } from '../../lib/errors.ts';
import { envelopeOf } from '../../lib/migration/key-context.ts';
import type { Bridge, OwnSealedKey } from '../../lib/native/bridge.ts';
import type { PcrBank, Tpm } from '../../lib/tpm/port.ts';
import { nameOf } from '../../lib/tpm/public-area.ts';
import type { SoftwareTpm } from '../support/software-tpm.ts';
import type { Life } from './kernel.ts';
import type { Machine } from './machine.ts';

/** How the TPM of a host behaves. */
export interface TpmMood {
  /** Every command fails. */
  failing: boolean;
  /** The longest that a command takes. */
  delayMs: number;
  /** Its NV counter, which no power cut takes back; null where it was never made. */
  counter: bigint | null;
  /** Whether the state that its host booted into is approved: it opens no sealed key in another (SPEC 5.2). */
  approved: boolean;
}

/** What was sealed, to whom, under what context. */
interface Sealed {
  readonly key: string;
  readonly recipient: Uint8Array;
  readonly context: Uint8Array;
}

/** All sealed keys of a world. */
export class Seals {
  readonly #seals = new Map<string, Sealed>();

  /** Under the envelope of another one, or one of its own. */
  put(sealed: Sealed, like: Uint8Array | null = null): Uint8Array {
    const blob = new Uint8Array(randomBytes(126));
    if (like !== null) blob.set(like.subarray(0, 66));
    this.#seals.set(hex(blob), sealed);
    return blob;
  }

  /** As the TPM would: only the recipient's, only under the context that it was sealed with. */
  open({ blob, receivePublic, context }: OwnSealedKey): string {
    return this.openFor(nameOf(receivePublic), blob, context);
  }

  openFor(recipient: Uint8Array, blob: Uint8Array, context: Uint8Array): string {
    const sealed = this.#seals.get(hex(blob));
    if (
      sealed === undefined ||
      !bytesEqual(sealed.recipient, recipient) ||
      !bytesEqual(sealed.context, context)
    ) {
      throw new TvmmpError('seal-invalid', 'not sealed to this key under this context');
    }
    return sealed.key;
  }
}

export function tpmOf(tpm: SoftwareTpm, mood: TpmMood, life: Life): Tpm {
  const command = <T>(work: () => T): Promise<T> =>
    life.guard(
      (async () => {
        await life.kernel.sleep(life.kernel.between(0.2, mood.delayMs));
        if (mood.failing) throw new TvmmpError('tpm-call-failed', 'TPM_RC_FAILURE');
        return work();
      })(),
    );
  const absent = (): Promise<never> =>
    Promise.reject(new TvmmpError('internal', 'this TPM command has no place in the simulation'));
  return {
    ekCertificates: absent,
    createEk: absent,
    provision: absent,
    readPublic: absent,
    certify: absent,
    nvRead: absent,
    readCounter: () => command(() => mood.counter),
    makeCounter: () => command(() => (mood.counter ??= 1n)),
    incrementCounter: () =>
      command(() => {
        if (mood.counter === null) throw new TvmmpError('tpm-call-failed', 'TPM_RC_HANDLE');
        mood.counter += 1n;
      }),
    activateCredential: absent,
    random: absent,
    signApproved: absent,
    properties: absent,
    quote: (_handle, data, selection) => command(() => tpm.quote(data, selection)),
    readPcrs: (selection) =>
      command(() => ({
        updateCounter: 1,
        values: tpm
          .claimedPcrs(selection)
          .map(({ bank, index, value }) => ({ bank: bank as PcrBank, pcr: index, digest: value })),
      })),
    verifyPolicyApproval: () =>
      command(() => ({ ticket: new Uint8Array([0x80, 0x22]), keyName: new Uint8Array(34) })),
    commandCounts: () => Promise.resolve({}),
    close: () => Promise.resolve(),
  };
}

export function bridgeOf(machine: Machine, seals: Seals, mood: TpmMood, life: Life): Bridge {
  const command = <T>(work: () => T): Promise<T> =>
    life.guard(
      (async () => {
        await life.kernel.sleep(life.kernel.between(1, 4 * mood.delayMs));
        if (mood.failing) throw new TvmmpError('tpm-call-failed', 'TPM_RC_FAILURE');
        return work();
      })(),
    );
  /** What uses the receive key: its policy wants an approved state. */
  const opening = <T>(work: () => T): Promise<T> =>
    command(() => {
      if (!mood.approved) throw new TvmmpError('seal-refused', 'TPM_RC_POLICY_FAIL');
      return work();
    });
  /** Envelopes that were opened ahead, until when in virtual time: what is under them opens whatever the TPM and its PCRs have come to. */
  const holds: { readonly envelope: string; until: number }[] = [];
  const opened = <T>(own: OwnSealedKey, work: () => T): Promise<T> => {
    const hold = own.hold === undefined ? undefined : holds[own.hold - 1];
    const isHeld = hold?.envelope === hex(envelopeOf(own.blob)) && life.kernel.time < hold.until;
    return isHeld ? life.guard(Promise.resolve().then(work)) : opening(work);
  };
  const cost = { tpmCommands: 4 };
  return {
    createSealedKey: ({ recipientPublic, context }) =>
      command(() =>
        seals.put({ key: randomBytes(8).toString('hex'), recipient: nameOf(recipientPublic), context }),
      ),
    resealForDestination: ({ own, destinationPublic, destinationContext }) =>
      opened(own, () => ({
        ...cost,
        blob: seals.put({
          key: seals.open(own),
          recipient: nameOf(destinationPublic),
          context: destinationContext,
        }),
      })),
    sealForEscrow: ({ own, escrowPublic, escrowContext }) =>
      command(() => ({
        ...cost,
        blob: seals.put({ key: seals.open(own), recipient: escrowPublic, context: escrowContext }),
      })),
    createEscrowKey: () => Promise.reject(new TvmmpError('internal', 'not in the simulation')),
    resealFromEscrow: ({ escrowPublic, blob, escrowContext, destinationPublic, destinationContext }) =>
      Promise.resolve(
        seals.put({
          key: seals.openFor(escrowPublic, blob, escrowContext),
          recipient: nameOf(destinationPublic),
          context: destinationContext,
        }),
      ),
    prepareReceiveKey: () => command(() => ({ tpmCommands: 3 })),
    unprepareReceiveKey: () => opening(() => ({ tpmCommands: 0 })),
    holdKeys: ({ own, lifeMs }) =>
      opening(() => {
        seals.open(own);
        const until = life.kernel.time + lifeMs;
        return { ...cost, hold: holds.push({ envelope: hex(envelopeOf(own.blob)), until }) };
      }),
    releaseKeys: ({ hold }) => {
      const held = holds[hold - 1];
      if (held !== undefined) held.until = 0;
    },
    gatherSealedKeys: ({ own, others }) =>
      opening(() => {
        seals.open(own);
        const blobs = others.map(({ blob, context }) => {
          const key = seals.open({ ...own, blob, context });
          return seals.put({ key, recipient: nameOf(own.receivePublic), context }, own.blob);
        });
        return { tpmCommands: 4 * (1 + others.length), blobs };
      }),
    unsealIntoLibvirt: (options) =>
      opened(options, () => {
        const key = seals.open(options);
        const secret = machine.secrets.get(options.secretUuid);
        if (!machine.isUp() || secret === undefined)
          throw new TvmmpError('libvirt-call-failed', 'no such secret');
        secret.value = key;
        return cost;
      }),
    convertVtpmState: () => Promise.reject(new TvmmpError('internal', 'not in the simulation')),
    manufactureVtpm: ({ stateDir, own }) =>
      opening(() => {
        const endorsement = own.receivePublic;
        machine.vtpms.set(vmOf(stateDir), { version: 0, key: seals.open(own), endorsement });
        return cost;
      }),
    vtpmEndorsementKey: ({ own, stateDir }) =>
      opening(() => ({
        ...cost,
        publicArea: machine.vtpms.get(vmOf(stateDir))?.endorsement ?? own.receivePublic,
        certificate: new Uint8Array(),
        issuer: new Uint8Array(),
      })),
    vtpmOwner: () => command(() => ({ uid: 0, gid: 0 })),
    peerCredentials: () => ({ pid: 1, uid: 0, gid: 0 }),
  };
}

/** libvirt names the directory of a vTPM by its VM. */
function vmOf(stateDir: string): string {
  return stateDir.split('/').at(-2) ?? '';
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
