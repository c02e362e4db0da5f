/**
 * The authority's part of a rescue (SPEC 15.4): it states that the host that holds a VM is lost and which other one takes the VM up, and seals the VM's key, which
 * it opens with its escrow key, for that host.
 */
import { attributesFault } from '../appraisal/host-rules.ts';
import { signRecovery, verifyRecovery } from '../appraisal/recovery.ts';
import { revocationOf, decodeRevocations } from '../appraisal/revocation.ts';
import { tenantFault } from '../appraisal/tenant-policy.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { verifyHostCertificate } from '../certificates/host-certificate.ts';
import type { HostCertificate } from '../certificates/host-certificate.ts';
import { sha256 } from '../encoding/hash.ts';
import { TvmmpError } from '../errors.ts';
import { escrowContext } from '../migration/escrow.ts';
import { keyContext } from '../migration/key-context.ts';
import { decodeRescueRequest, encodeRescue } from '../migration/rescue-file.ts';
import type { RescueRequest } from '../migration/rescue-file.ts';
import type { Bridge, EscrowKeyFile } from '../native/bridge.ts';
import type { ChainState } from '../proof/chain.ts';
import { revocationFault, revokedSigners } from '../proof/revocation.ts';
import { recoveryFault } from '../proof/recovery.ts';
import { verifyProof } from '../proof/verify.ts';
import type { VerifiedProof } from '../proof/verify.ts';
import { nameOf } from '../tpm/public-area.ts';
import type { Authority } from './authority.ts';
import { rescueError } from './rescue-error.ts';
import { currentRevocations } from './revocations.ts';

/** What an authority made of a request. */
export interface MadeRescue {
  /** For `tvmmp vm rescue` at the new host. Nothing in it is secret. */
  readonly rescue: Uint8Array;
  readonly vm: string;
  readonly name: string;
  readonly lost: string;
  readonly to: string;
  /** Whether the statement had been signed before, for the same host. */
  readonly again: boolean;
  /** Whether it is known with which state of its vTPM the VM stopped. */
  readonly stateKnown: boolean;
}

/** How the escrow key is used. */
export interface EscrowUse {
  readonly bridge: Pick<Bridge, 'resealFromEscrow'>;
  readonly key: EscrowKeyFile;
}

/** `tvmmp authority escrow release`. Throws `rescue-refused` (reasons by name), `encoding-invalid`, `authority-invalid` without the keys. */
export async function releaseEscrow(
  authority: Authority,
  bytes: Uint8Array,
  use: EscrowUse,
  now: Date,
): Promise<MadeRescue> {
  const request = decodeRescueRequest(bytes);
  const key = requireEscrow(authority, now);
  const proof = requireProof(authority, request);
  const { head } = proof;
  const to = requireNewHost(authority, request, head, now);
  requireAgreement(authority, proof, to, now);
  const receiveKey = nameOf(request.receivePublic);
  const { registry } = authority;
  const known = registry.rescues.of(head.vm, head.birth, head.epoch);
  if (known !== null && (!bytesEqual(known.toAk, to.akName) || !bytesEqual(known.head, head.head)))
    throw rescueError(
      'already-rescued',
      `VM ${head.vm} was given to ${known.toName} at ${new Date(known.time).toISOString()}, because the holder of epoch ${head.epoch} was lost; look there`,
    );
  const statement = signRecovery(
    {
      ...{ vm: head.vm, birth: head.birth, epoch: head.epoch, head: head.head },
      lost: { name: head.holder.name, ak: head.holder.akName },
      to: { name: to.name, ak: to.akName },
      ...{ receiveKey, state: request.state, request: sha256(bytes), issuedAt: now },
    },
    authority.policyKeys(),
  );
  const signed = verifyRecovery(statement, { root: authority.root, signers: [authority.signerCertificate] });
  const host = { name: to.name, akName: to.akName, certificate: sha256(request.akCertificate) };
  const fault = recoveryFault(head, host, signed);
  if (fault !== null) throw new TvmmpError('internal', fault);
  const sealed = await reseal(request, head, key, signed.digest, use);
  registry.atomically(() => {
    const meanwhile = registry.rescues.of(head.vm, head.birth, head.epoch);
    if (meanwhile === null)
      registry.rescues.add({
        ...{ vm: head.vm, birth: head.birth, epoch: head.epoch, head: head.head },
        ...{ toAk: to.akName, toName: to.name, statement, time: now.getTime() },
      });
    else if (!bytesEqual(meanwhile.toAk, to.akName))
      throw rescueError('already-rescued', `VM ${head.vm} was given to ${meanwhile.toName} a moment ago`);
  });
  return {
    rescue: encodeRescue({ request: bytes, statement, sealed }),
    ...{ vm: head.vm, name: request.name, lost: head.holder.name, to: to.name, again: known !== null },
    stateKnown: request.state !== null,
  };
}

/** The policy signed last has escrow. Returns the key that it names, SPKI DER. */
function requireEscrow(authority: Authority, now: Date): Uint8Array {
  const envelope = authority.currentPolicy();
  const escrow = envelope === null ? null : authority.verifyPolicy(envelope, now).escrow;
  if (escrow === null) throw rescueError('escrow-off', 'the policy signed last has no escrow');
  return escrow;
}

/** The proof holds by the revocation list signed last, its holder is in that list, and the VM did not go on. */
function requireProof(authority: Authority, { proof }: RescueRequest): VerifiedProof {
  const verified = verifyProof(proof, { root: authority.root, checkpoints: 'any' });
  if (verified.outcome === 'fault')
    throw rescueError('proof-invalid', `${verified.check}: ${verified.message}`);
  const { head } = verified;
  const envelope = currentRevocations(authority);
  const list = envelope === null ? null : decodeRevocations(envelope);
  if (revocationOf(list, head.holder.akName) === undefined)
    throw rescueError(
      'lost-host-not-revoked',
      `${head.holder.name} holds the VM, and could go on with it: tvmmp authority revoke ${head.holder.name} first`,
    );
  const revoked = revocationFault(revokedSigners(verified, list));
  if (revoked !== null) throw rescueError('proof-invalid', revoked);
  if (head.departure !== null)
    throw rescueError('not-held', `the VM was on its way to ${head.departure.to.name}: look there first`);
  if (head.state === 'destroyed') throw rescueError('not-held', 'the protection of the VM has ended');
  return verified;
}

/** Enrolled now, with these keys, not revoked, and with another AK than the lost one. */
function requireNewHost(
  authority: Authority,
  { akCertificate, receivePublic }: RescueRequest,
  { holder }: ChainState,
  now: Date,
): HostCertificate {
  const certificate = certificateOf(authority, akCertificate, now);
  const { akName, name } = certificate;
  if (bytesEqual(akName, holder.akName))
    throw rescueError('new-host-unsuitable', `${name} is the host that is said to be lost`);
  const enrolled = authority.hosts().find((host) => bytesEqual(host.akName, akName));
  if (enrolled?.name !== name)
    throw rescueError('new-host-unsuitable', `${name} is not enrolled with this key`);
  if (!bytesEqual(nameOf(receivePublic), enrolled.receiveKeyName))
    throw rescueError('new-host-unsuitable', `the receive key is not the one that ${name} was enrolled with`);
  const revoked = authority.registry.revocations.all().find((one) => bytesEqual(one.akName, akName));
  if (revoked !== undefined)
    throw rescueError('new-host-unsuitable', `${name} is revoked: ${revoked.reason}`);
  return certificate;
}

function certificateOf(authority: Authority, der: Uint8Array, now: Date): HostCertificate {
  try {
    return verifyHostCertificate(der, authority.root, now);
  } catch (cause) {
    if (!(cause instanceof TvmmpError)) throw cause;
    throw rescueError('new-host-unsuitable', `the certificate of the new host: ${cause.message}`, cause);
  }
}

/** The operator's policy and the tenant's let the new host have the VM, and let it be rescued at all. */
function requireAgreement(
  authority: Authority,
  { head, tenant }: VerifiedProof,
  to: HostCertificate,
  now: Date,
): void {
  const policy = authority.verifyPolicy(authority.currentPolicy() ?? '', now);
  if (policy.id !== head.policy.id || policy.version < head.policy.version)
    throw rescueError(
      'policy-other',
      `the proof is under ${head.policy.id} v${head.policy.version}, and the policy signed last is ${policy.id} v${policy.version}`,
    );
  const fault = attributesFault(policy.rulesOfHosts.forward?.attributes, to.attributes);
  if (fault !== null)
    throw rescueError(
      'new-host-unsuitable',
      `${to.name} is not what the policy wants to receive a VM: ${fault}`,
    );
  if (tenant === null) return;
  if (tenant.escrow === 'no') throw rescueError('tenant-forbids', 'the tenant of the VM forbids escrow');
  const forbidden = tenantFault(tenant, to.attributes);
  if (forbidden !== null) throw rescueError('tenant-forbids', `${to.name}: ${forbidden}`);
}

/** In native code alone: the key is bound to the statement, and to the host that it names. */
async function reseal(
  request: RescueRequest,
  { vm, epoch, holder }: ChainState,
  key: Uint8Array,
  session: Uint8Array,
  { bridge, key: file }: EscrowUse,
): Promise<Uint8Array> {
  const { receivePublic, escrowed } = request;
  try {
    return await bridge.resealFromEscrow({
      ...file,
      escrowPublic: key,
      blob: escrowed,
      escrowContext: escrowContext({ vm, epoch, holder: holder.akName, key }),
      destinationPublic: receivePublic,
      destinationContext: keyContext({ vm, epoch: epoch + 1, session, recipient: nameOf(receivePublic) }),
    });
  } catch (cause) {
    if (!(cause instanceof TvmmpError) || cause.code !== 'seal-invalid') throw cause;
    throw rescueError(
      'escrow-of-another',
      `the copy of the key is altered, or of another VM, epoch, host or escrow key than the proof says`,
      cause,
    );
  }
}
