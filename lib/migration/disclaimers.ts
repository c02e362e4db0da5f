import { TvmmpError } from '../errors.ts';
import { disclaimerStatement, verifyDisclaimer } from '../proof/disclaimer.ts';
import type { Disclaimed } from '../proof/disclaimer.ts';
import { entryHash } from '../proof/entry.ts';
import { decodeProof } from '../proof/proof.ts';
import type { Aborted, Offer } from '../protocol/messages.ts';
import { ProtocolViolation } from '../protocol/step.ts';
import { rootsFor, sideOfHead } from './crossing.ts';
import type { Services } from './services.ts';

/**
 * Signs *aborted* (SPEC 6.10): one quote. Only for a session whose id is used up in the journal, and of whose VM nothing is left
 * here: what is signed holds for ever.
 */
export async function disclaim(services: Services, { session, head }: Disclaimed): Promise<Aborted> {
  const { host, quotes, anchor } = services;
  requireMemory(services, host.journal.session(session)?.started ?? null);
  await anchor.settle();
  const { policy, envelope } = host.policy();
  const { id, akCertificate, signerCertificates } = host.identity;
  const stated = {
    host: id,
    policy: { id: policy.id, version: policy.version, digest: policy.digest },
    time: host.now(),
  };
  const statement = disclaimerStatement({ session, head }, stated);
  const signed = await quotes.sign(policy.selection, [], [statement]);
  const { attest, signature, statementPaths } = signed;
  return {
    kind: 'aborted',
    session,
    disclaimer: { ...stated, path: statementPaths[0] ?? [], attest, signature },
    certificates: [akCertificate, ...signerCertificates],
    policies: [envelope],
  };
}

/** Throws `journal-rolled-back` for a session from before this host's journal went back, and (null) for one that it does not know since (SPEC 8.8). */
export function requireMemory({ anchor }: Services, started: number | null): void {
  const { rolledBackAt } = anchor;
  if (rolledBackAt === null || (started !== null && started > rolledBackAt)) return;
  throw new TvmmpError(
    'journal-rolled-back',
    'the disk of this host was put back to an earlier state: what became of a migration of before is not known here',
  );
}

/** Whether the target of this VM's departure has disclaimed it in this session. Throws `ProtocolViolation` for any other word. */
export function requireDisclaimer(
  services: Services,
  uuid: string,
  { disclaimer, certificates, policies }: Aborted,
): void {
  const chain = services.chains.require(uuid);
  const { host } = services;
  const verified = verifyDisclaimer({
    chain,
    disclaimer,
    credentials: { certificates, policies },
    ...rootsFor(host, disclaimer.policy),
    ...(disclaimer.policy.id === chain.policy.id ? {} : { from: sideOfHead(host, chain) }),
  });
  if (verified.outcome === 'fault')
    throw new ProtocolViolation(`aborted does not verify: ${verified.check}: ${verified.message}`);
}

/** Hash of the *departing* entry that an offer ends with, as it tells; null where it has none. */
export function offeredHead(offer: Offer): Uint8Array | null {
  try {
    const last = decodeProof(offer.proof).entries.at(-1);
    return last === undefined ? null : entryHash(last.entry);
  } catch (error) {
    if (error instanceof TvmmpError && (error.code === 'encoding-invalid' || error.code === 'limit-exceeded'))
      return null;
    throw error;
  }
}
