import { canonicalFacts } from '../libvirt/canonical-facts.ts';
import { facts as factsOf, vtpmSecret } from '../libvirt/facts.ts';
import { H } from '../encoding/hash.ts';
import type { Journal } from '../ledger/journal.ts';
import { Refused } from './refused.ts';

/** A protected VM as its XML describes it. Nothing of it is verified. */
export interface ProtectedDomain {
  readonly uuid: string;
  readonly name: string;
  /** `H("tvmmp/facts/1", canonical facts)`. */
  readonly facts: Uint8Array;
  /** UUID of the libvirt secret that the vTPM's state is encrypted with. */
  readonly secret: string;
  /** HOST:PORT of the holder's agent: an untrusted hint. */
  readonly agent: string | null;
  /** Number of the run that the definition is of (SPEC 8.7); null at boot. Untrusted. */
  readonly run: number | null;
}

/**
 * Reads what matters of a domain's XML; null for a VM that is not protected, neither by its metadata nor by this host's journal. Throws `Refused` for one that says it is protected and has
 * no encrypted vTPM, and `domain-xml-invalid` for XML that cannot be read.
 */
export function describeDomain(xml: string, journal: Journal): ProtectedDomain | null {
  const facts = factsOf(xml);
  if (facts.metadata === null) {
    const record = journal.vm(facts.uuid);
    if (record === null || record.state === 'destroyed') return null;
    throw new Refused(
      `facts: ${facts.name} is protected, and this definition has lost its tvmmp metadata; put it back (tvmmp vm protect)`,
    );
  }
  const secret = vtpmSecret(facts);
  if (secret === null) {
    throw new Refused(`facts: the vTPM of ${facts.name} is not encrypted, so its key cannot be held back`);
  }
  return {
    uuid: facts.uuid,
    name: facts.name,
    facts: H('tvmmp/facts/1', canonicalFacts(facts)),
    secret,
    agent: facts.metadata.untrustedAgent,
    run: facts.metadata.untrustedRun,
  };
}
