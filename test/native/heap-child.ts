/**
 * Run by heap.test.ts as a process of its own, which never sees the passphrase in JavaScript: it works with the bridge, takes heap
 * snapshots while operations are under way and afterwards, and then waits to be looked at.
 */
import { readFileSync } from 'node:fs';
import { writeHeapSnapshot } from 'node:v8';
import { loadBridge, type OwnSealedKey } from '../../lib/native/bridge.ts';

interface Order {
  readonly own: Record<'tcti' | 'receivePublic' | 'blob' | 'context', string> & {
    readonly receiveKeyHandle: number;
    readonly approval: Record<
      'pcrSelection' | 'approvedPolicy' | 'policyRef' | 'keySignName' | 'ticket',
      string
    >;
  };
  readonly libvirtUri: string;
  readonly secretUuid: string;
  /** The authority's escrow key, in a file, and its public half. */
  readonly escrow: { readonly keyFile: string; readonly passphraseFile: string; readonly spki: string };
  readonly snapshots: readonly [string, string];
}

const order = JSON.parse(readFileSync(0, 'utf8')) as Order;
const bytes = (base64: string): Buffer => Buffer.from(base64, 'base64');
const { approval } = order.own;
const own: OwnSealedKey = {
  tcti: order.own.tcti,
  receiveKeyHandle: order.own.receiveKeyHandle,
  receivePublic: bytes(order.own.receivePublic),
  blob: bytes(order.own.blob),
  context: bytes(order.own.context),
  approval: {
    pcrSelection: bytes(approval.pcrSelection),
    approvedPolicy: bytes(approval.approvedPolicy),
    policyRef: bytes(approval.policyRef),
    keySignName: bytes(approval.keySignName),
    ticket: bytes(approval.ticket),
  },
};
const bridge = loadBridge();
const target = { libvirtUri: order.libvirtUri, secretUuid: order.secretUuid };
const reseal = { own, destinationPublic: own.receivePublic, destinationContext: own.context };
const escrowPublic = bytes(order.escrow.spki);
const escrowContext = Buffer.from('escrow-context');
const { keyFile, passphraseFile } = order.escrow;
const throughEscrow = async (): Promise<unknown> => {
  const { blob } = await bridge.sealForEscrow({ own, escrowPublic, escrowContext });
  const to = { destinationPublic: own.receivePublic, destinationContext: own.context };
  return bridge.resealFromEscrow({ keyFile, passphraseFile, escrowPublic, blob, escrowContext, ...to });
};
const operations: readonly Promise<unknown>[] = [1, 2, 3, 4].flatMap(() => [
  bridge.unsealIntoLibvirt({ ...own, ...target }),
  bridge.resealForDestination(reseal),
  throughEscrow(),
]);
writeHeapSnapshot(order.snapshots[0]);
await Promise.all(operations);
writeHeapSnapshot(order.snapshots[1]);
process.stdout.write('done\n');
setInterval(() => undefined, 60_000);
