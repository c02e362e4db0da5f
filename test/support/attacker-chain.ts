/** A VM's chain as the attacker's host writes it: born there, with real quotes, and lies where a test wants them. */
import { randomUUID } from 'node:crypto';
import type { Claim } from '../../lib/evidence/claim.ts';
import { sha256 } from '../../lib/encoding/hash.ts';
import { encodeEntry, entryHash, noPrevious } from '../../lib/proof/entry.ts';
import type { Entry, EntryKind, HostId, SignedEntry } from '../../lib/proof/entry.ts';
import { encodeProof } from '../../lib/proof/proof.ts';
import type { Proof } from '../../lib/proof/proof.ts';
import type { Hello } from '../../lib/protocol/messages.ts';
import { nameOf } from '../../lib/tpm/public-area.ts';
import { fresh } from './attacker.ts';
import type { Attacker } from './attacker.ts';

/** See the head of this file. */
export class AttackerChain {
  readonly attacker: Attacker;
  readonly vm: string;
  readonly entries: SignedEntry[] = [];
  facts: Uint8Array = fresh();
  readonly vtpm = Uint8Array.from([0, 11, ...fresh()]);
  head: Uint8Array = noPrevious;

  constructor(attacker: Attacker, vm: string = randomUUID()) {
    this.attacker = attacker;
    this.vm = vm;
  }

  /** The entry that would follow, with some members changed. */
  draft(kind: EntryKind, change: Partial<Entry> = {}): Entry {
    const { id, version, digest } = this.attacker.policy.policy;
    return {
      version: 1,
      vm: this.vm,
      epoch: 0,
      sequence: this.entries.length,
      kind,
      previous: this.head,
      facts: this.facts,
      vtpm: this.vtpm,
      host: this.attacker.identity.id,
      policy: { id, version, digest },
      peer: null,
      session: null,
      verdict: null,
      time: Date.now(),
      ...change,
    };
  }

  /** Adds an entry under a quote of its own. */
  async add(kind: EntryKind, change: Partial<Entry> = {}): Promise<void> {
    const [signed] = (await this.attacker.sign([encodeEntry(this.draft(kind, change))])).entries;
    this.#append(signed);
  }

  /** Adds *departing* under one quote with this host's evidence statement, which it gives as a claim (SPEC 6.4). */
  async depart(
    to: HostId,
    session: Uint8Array,
    statement: Uint8Array,
    change: Partial<Entry> = {},
  ): Promise<Claim> {
    const entry = this.draft('departing', { peer: to, session, verdict: fresh(), ...change });
    const { entries, claims } = await this.attacker.sign([encodeEntry(entry)], [statement]);
    this.#append(entries[0]);
    if (claims[0] === undefined) throw new Error('a quote without its statement');
    return claims[0];
  }

  /** The proof file, with some parts changed. */
  proof(change: Partial<Proof> = {}): Uint8Array {
    const { identity, policy } = this.attacker;
    return encodeProof({
      summary: null,
      entries: this.entries,
      departures: [],
      certificates: [identity.akCertificate, ...identity.signerCertificates],
      policies: [policy.envelope],
      ...change,
    });
  }

  #append(signed: SignedEntry | undefined): void {
    if (signed === undefined) throw new Error('a quote without its entry');
    this.entries.push(signed);
    this.head = entryHash(signed.entry);
  }
}

/** The host that a hello is from, as entries name it. */
export function hostOf(hello: Hello): HostId {
  return { name: hello.host, akName: nameOf(hello.akPublic), certificate: sha256(hello.akCertificate) };
}
