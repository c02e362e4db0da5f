/** The logs of all sessions under way, by number: what the agent's thread for logs keeps, within one bound. */
import type { LogKind } from '../evidence/logs-wanted.ts';
import { limits } from '../limits.ts';
import { quoteOf } from './quote.ts';
import type { SignatureHash } from '../tpm/signature.ts';
import { payloadText, parseEnvelope } from './dsse.ts';
import type { ImaRuleSet } from './ima-rules.ts';
import { LogEvidence } from './log-evidence.ts';
import type { KnownLogs, LogFindings } from './log-evidence.ts';
import { parsePolicyDocument } from './policy-text.ts';
import type { PolicyDraft } from './policy-text.ts';
import { ruleSetOf } from './quoted-logs.ts';

/** What logs are held against. Its signature, its binding and what it selects are others' business. */
export interface QuoteToMatch {
  /** TPMS_ATTEST. */
  readonly attest: Uint8Array;
  /** Of the quote's signature, and so of its PCR digest. */
  readonly hash: SignatureHash;
  /** What the peer says of its PCRs of the SHA-256 bank. */
  readonly told: ReadonlyMap<number, Uint8Array>;
}

interface Prepared {
  readonly envelope: string;
  readonly policy: PolicyDraft;
  readonly rules: ImaRuleSet;
}

/** See the head of this file. Its calls are those of the thread, so that tests have the same without one. */
export class LogTable {
  readonly #open = new Map<number, LogEvidence>();
  #prepared: Prepared | null = null;

  /** Begins. `envelope`: the policy in force, which the caller has verified. */
  open(id: number, envelope: string, known: KnownLogs | null): void {
    const { policy, rules } = this.#prepare(envelope);
    this.#open.set(id, new LogEvidence(policy, rules, known));
  }

  /** Takes a piece of a log. */
  add(id: number, log: LogKind, from: number, data: Uint8Array): void {
    const evidence = this.#open.get(id);
    if (evidence === undefined) return;
    const held = [...this.#open.values()].reduce((sum, one) => sum + one.heldBytes, data.byteLength);
    if (held > limits.logsHeldBytesMax)
      evidence.refuse(log, 'this host is busy with logs of other hosts; try again in a moment');
    else evidence.add(log, from, data);
  }

  /** Ends, with what the logs say. Null for what is no quote, and for sessions that are not there. */
  finish(id: number, { attest, hash, told }: QuoteToMatch): LogFindings | null {
    const evidence = this.#open.get(id);
    this.#open.delete(id);
    const quote = quoteOf(attest);
    if (evidence === undefined || quote.type !== 'quote') return null;
    const [bank, ...others] = quote.pcrSelection;
    const pcrs = bank?.bank === 'sha256' && others.length === 0 ? bank.pcrs : [];
    return evidence.finish({ attest: quote, hash, pcrs }, told);
  }

  /** Ends without a word. */
  drop(id: number): void {
    this.#open.delete(id);
  }

  #prepare(envelope: string): Prepared {
    if (this.#prepared?.envelope !== envelope) {
      const policy = parsePolicyDocument(payloadText(parseEnvelope(envelope)));
      this.#prepared = { envelope, policy, rules: ruleSetOf(policy.rules?.ima) };
    }
    return this.#prepared;
  }
}
