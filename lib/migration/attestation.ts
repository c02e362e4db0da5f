/** What this host attests to a tenant about a VM that it holds (SPEC 4.3). */
import { approvedState, quoteOf } from '../appraisal/quote.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { isHeldBy } from '../ledger/records.ts';
import type { VmRecord } from '../ledger/records.ts';
import { limits } from '../limits.ts';
import { attestationStatement, encodeAttestation, isAttestationNonce } from '../proof/attestation.ts';
import type { ChainState } from '../proof/chain.ts';
import { requireNotRolledBack } from './anchor.ts';
import { Pace } from './pace.ts';
import { Refused } from './refused.ts';
import type { Services } from './services.ts';
import { isConflict } from './situation.ts';
import { requireOwnVtpm } from './vtpm-identity.ts';

/** An attestation and the proof that it is about, as files. */
export interface Attested {
  readonly attestation: Uint8Array;
  readonly proof: Uint8Array;
}

/** A chain that grows while it is attested is attested anew; it does not grow all the time. */
const attemptsMax = 4;

/** Makes attestations, within the bounds of SPEC 11: the TPM is there for migrations first. */
export class Attestations {
  readonly #services: Services;
  readonly #pace: Pace;
  #making = 0;

  constructor(services: Services) {
    this.#services = services;
    this.#pace = new Pace(services.host.timers, limits.attestationsBurst, limits.attestationsPerMinute);
  }

  /** Throws `Refused` where this host does not hold the VM by all that it knows, or was asked too often; TPM and ledger faults pass. */
  async attest(vm: VmRecord, nonce: Uint8Array): Promise<Attested> {
    if (!isAttestationNonce(nonce))
      throw new Refused(
        `a nonce has ${limits.attestationNonceBytesMin} to ${limits.attestationNonceBytesMax} bytes, not ${nonce.byteLength}`,
      );
    this.#admit();
    this.#making += 1;
    try {
      return await this.#attest(vm, nonce);
    } finally {
      this.#making -= 1;
    }
  }

  #admit(): void {
    if (this.#making >= limits.attestationsAtOnceMax || !this.#pace.take('tenants'))
      throw new Refused('this host was asked for too many attestations; ask again in a minute');
  }

  async #attest(vm: VmRecord, nonce: Uint8Array): Promise<Attested> {
    const { chains, custody } = this.#services;
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const before = this.#held(vm);
      await custody.requireHolder(vm);
      const attestation = await this.#sign(before, nonce);
      if (!bytesEqual(this.#held(vm).head, before.head)) continue;
      return { attestation, proof: chains.proof(vm.uuid) };
    }
    throw new Refused(`the proof of ${vm.name} grows all the time; ask again`);
  }

  /** Where the chain of a VM that this host holds stands. Throws `Refused` for any other. */
  #held({ uuid, name }: VmRecord): ChainState {
    const { host, chains } = this.#services;
    requireNotRolledBack(host.journal, { uuid, name });
    const record = host.journal.vm(uuid);
    const chain = chains.state(uuid);
    if (
      record === null ||
      chain === null ||
      !isHeldBy(record, host.identity.id.name) ||
      record.state === 'staged'
    )
      throw new Refused(
        `${name} is held by ${record?.holder ?? 'another host'}: only its holder can attest it`,
      );
    if (chain.state === 'departing')
      throw new Refused(`${name} is departing; when it has moved or stayed, ask the host that holds it`);
    if (host.journal.sessions(uuid).some(isConflict))
      throw new Refused(
        `hand-over-conflict: another host says that ${name} arrived there; see tvmmp migration list`,
      );
    requireOwnVtpm(host.journal, record);
    return chain;
  }

  async #sign({ vm, head }: ChainState, nonce: Uint8Array): Promise<Uint8Array> {
    const { host, quotes } = this.#services;
    const { policy, envelope } = host.policy();
    const { id, akCertificate, signerCertificates } = host.identity;
    const said = {
      vm,
      head,
      nonce,
      host: id,
      policy: { id: policy.id, version: policy.version, digest: policy.digest },
      time: host.now(),
    };
    const { attest, signature, statementPaths } = await quotes.sign(
      policy.selection,
      [],
      [attestationStatement(said)],
    );
    const quote = quoteOf(attest);
    if (quote.type !== 'quote' || approvedState(quote, policy) === undefined)
      throw new Refused(
        `pcr-state: ${id.name} is in no approved state of policy ${policy.id} v${policy.version}: nobody would believe it`,
      );
    return encodeAttestation({
      ...said,
      path: statementPaths[0] ?? [],
      attest,
      signature,
      certificates: [akCertificate, ...signerCertificates],
      policies: [envelope],
    });
  }
}
