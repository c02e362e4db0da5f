/** The certificate of a vTPM's endorsement key, which its manufacture left in its NV memory, where it moves with the VM (SPEC 4.5). */
import { X509Certificate } from 'node:crypto';
import { bytesEqual } from '../bytes/compare.ts';
import { verifyVtpmChain } from '../certificates/vtpm-chain.ts';
import type { VtpmChain } from '../certificates/vtpm-chain.ts';
import { base64 } from '../encoding/base64.ts';
import { hex } from '../encoding/hex.ts';
import type { Journal } from '../ledger/journal.ts';
import type { VmRecord } from '../ledger/records.ts';
import type { ReadEndorsement, TpmCost } from '../native/bridge.ts';
import { keyObjectOf, nameOf, parsePublicArea } from '../tpm/public-area.ts';
import { isActive, lookAt } from './domain-view.ts';
import { Refused } from './refused.ts';
import type { Services } from './services.ts';

/** The certificate of a vTPM as a host hands it out, in DER. */
export interface ExportedCertificate {
  readonly certificate: Uint8Array;
  /** With all that is above it, verified; null where it does not chain to this host's authority. */
  readonly chain: VtpmChain | null;
  /** Why it does not; null where it does. */
  readonly unchained: string | null;
}

/**
 * The certificate of a VM that this host holds: as it was kept, or read now. Throws `Refused` where it cannot be
 * read, or where what lies there is not of the endorsement key that the proof names.
 */
export async function vtpmCertificate(services: Services, vm: VmRecord): Promise<ExportedCertificate> {
  const { host, platform } = services;
  if (vm.holder !== host.identity.id.name || vm.sealed === null || vm.state === 'staged')
    throw new Refused(`${vm.name} is held by ${vm.holder}: ask there for the certificate of its vTPM`);
  const kept = keptCertificate(host.journal, vm);
  if (kept !== null) return exported(services, vm, kept);
  // While it runs, as its swtpm wrote it last: when it came here, at the latest.
  const running = isActive(await lookAt(host.hypervisor, vm.uuid));
  const readFrom = (from: 'place' | 'seed'): Promise<ReadEndorsement & TpmCost> =>
    platform.withKey(vm, (own) =>
      host.bridge.vtpmEndorsementKey({
        stateDir: host.files.vtpmStateDirectory(vm.uuid),
        own,
        from,
        running,
      }),
    );
  let read = await readFrom('place');
  // A guest may have put another key in its place; what its seed gives is out of its reach.
  if (!isNamed(read, vm.vtpm)) read = await readFrom('seed');
  const why = certificateFault(read, vm.vtpm);
  if (why !== null) throw new Refused(`the vTPM of ${vm.name} ${why}`);
  keep(host.journal, vm.uuid, read);
  return exported(services, vm, read);
}

/** With the vTPM CA that issued it: this host's own, as it is now, or the one that lies beside it in the vTPM. */
function exported(
  { host }: Pick<Services, 'host'>,
  { uuid }: VmRecord,
  { certificate, issuer }: Kept,
): ExportedCertificate {
  const { vtpmIssuers, root } = host.identity;
  if (vtpmIssuers === null)
    return {
      certificate,
      chain: null,
      unchained: 'this host was enrolled before its authority had vTPM CAs',
    };
  if (issuer.byteLength === 0)
    return {
      certificate,
      chain: null,
      unchained: 'it was issued by a CA of the host where the vTPM was made',
    };
  let why = '';
  for (const ca of [vtpmIssuers.ca, issuer]) {
    const chain = { ...vtpmIssuers, ca, certificate };
    try {
      const verified = verifyVtpmChain(chain, root, new Date(host.now()));
      if (verified.uuid === uuid) return { certificate, chain, unchained: null };
      why = `it was issued for VM ${verified.uuid}`;
    } catch (error) {
      why = error instanceof Error ? error.message : String(error);
    }
  }
  return { certificate, chain: null, unchained: why };
}

/** Keeps the certificate of a vTPM that is protected now, where it has a good one. */
export function keepCertificate(journal: Journal, uuid: string, read: ReadEndorsement): void {
  if (certificateFault(read, nameOf(read.publicArea)) === null) keep(journal, uuid, read);
}

function isNamed({ publicArea }: Pick<ReadEndorsement, 'publicArea'>, vtpm: Uint8Array | null): boolean {
  return vtpm !== null && bytesEqual(nameOf(publicArea), vtpm);
}

/** Why this is not the certificate of the vTPM with this endorsement key name; null where it is. */
function certificateFault(
  { publicArea, certificate }: Pick<ReadEndorsement, 'publicArea' | 'certificate'>,
  vtpm: Uint8Array | null,
): string | null {
  if (!isNamed({ publicArea }, vtpm)) return 'has another endorsement key than its proof names';
  if (certificate.byteLength === 0) return 'has no certificate of its endorsement key';
  try {
    const { publicKey } = new X509Certificate(certificate);
    return publicKey.equals(keyObjectOf(parsePublicArea(publicArea)))
      ? null
      : 'has a certificate of another key: a guest may have put it there';
  } catch {
    return 'has something else than a certificate in the place of one: a guest may have put it there';
  }
}

const setting = (uuid: string): string => `vtpm-certificate/${uuid}`;

function keep(journal: Journal, uuid: string, { publicArea, certificate, issuer }: ReadEndorsement): void {
  const [own, above] = [certificate, issuer].map(base64);
  journal.putSetting(setting(uuid), `${hex(nameOf(publicArea))} ${own} ${above}`.trimEnd());
}

type Kept = Pick<ReadEndorsement, 'certificate' | 'issuer'>;

/** What was kept of this very vTPM: a UUID may get another one. Older journals have no issuer. */
function keptCertificate(journal: Journal, { uuid, vtpm }: VmRecord): Kept | null {
  const [name, certificate, issuer = ''] = (journal.setting(setting(uuid)) ?? '').split(' ');
  if (certificate === undefined || vtpm === null || name !== hex(vtpm)) return null;
  const der = (base64: string): Uint8Array => Uint8Array.from(Buffer.from(base64, 'base64'));
  return { certificate: der(certificate), issuer: der(issuer) };
}
