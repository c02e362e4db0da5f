/** Terms of the exchange (SPEC 4-6), from which a mutant leaves parts out. */

/** A defence of the exchange, that a variant can lack; exchange-suite.ts says what the attacker does then. */
export type ExchangeDefence =
  | 'exporter'
  | 'tls-certificates'
  | 'session-once'
  | 'source-hello'
  | 'target-hello'
  | 'source-nonce'
  | 'target-nonce'
  | 'role'
  | 'transcript-label'
  | 'entry-label'
  | 'quote-signature'
  | 'quote-type'
  | 'quote-binding'
  | 'pcr-state'
  | 'ak-certificate'
  | 'receive-key'
  | 'peer-name'
  | 'policy-version'
  | 'pcr-in-seal'
  | 'key-context'
  | 'departing'
  | 'session'
  | 'peer'
  | 'epoch'
  | 'previous'
  | 'facts'
  | 'signer'
  | 'kind'
  | 'disclaimer-signature'
  | 'disclaimer-session';

/** An entry of the proof, its members in the order of SPEC 4. */
export interface EntryTerms {
  readonly kind: 'departing' | 'arrived' | 'departed';
  readonly vm: string;
  readonly epoch: string;
  readonly previous: string;
  readonly facts: string;
  readonly host: string;
  readonly policy: string;
  readonly peer: string;
  readonly session: string;
}

/** Writes terms; knows which defences there are. */
export class Terms {
  readonly #without: ReadonlySet<ExchangeDefence>;

  constructor(without: ReadonlySet<ExchangeDefence>) {
    this.#without = without;
  }

  has(defence: ExchangeDefence): boolean {
    return !this.#without.has(defence);
  }

  /** The term, or nothing in its place: a member that is not there. */
  kept(defence: ExchangeDefence, term: string): string {
    return this.has(defence) ? term : 'none';
  }

  /** The term, or a variable in its place: a check that nobody makes. */
  checked(defence: ExchangeDefence, term: string, anything: string): string {
    return this.has(defence) ? term : anything;
  }

  /** The condition, or none. */
  where(defence: ExchangeDefence, ...atoms: readonly string[]): readonly string[] {
    return this.has(defence) ? atoms : [];
  }

  /** SPEC 6: a hello. */
  hello(
    role: 's' | 't',
    session: string,
    vm: string,
    nonce: string,
    host: string,
    cert: string,
    key: string,
    policy: string,
  ): string {
    const fresh = this.kept(role === 's' ? 'source-nonce' : 'target-nonce', nonce);
    return `hello(${[this.kept('role', role), session, vm, fresh, host, cert, key, policy].join(',')})`;
  }

  /** SPEC 6.2: T1. */
  t1(exporter: string, target: string, source: string, sourceHello: string, targetHello: string): string {
    const parts = [
      this.kept('exporter', exporter),
      this.kept('tls-certificates', target),
      this.kept('tls-certificates', source),
      this.kept('source-hello', sourceHello),
      this.kept('target-hello', targetHello),
    ];
    return `t1(${parts.join(',')})`;
  }

  /** SPEC 6.2: T2. */
  t2(t1: string, evidence: string): string {
    return this.has('transcript-label') ? `t2(${t1},${evidence})` : t1;
  }

  /** SPEC 6.3, 6.4: the leaf that a host states. */
  statement(role: 's' | 't', transcript: string): string {
    return `st(${this.kept('role', role)},${transcript})`;
  }

  /** SPEC 6.10: the leaf that a target states when it disclaims a departure. */
  disclaimer(session: string, departing: string, host: string): string {
    return `dis(${this.kept('disclaimer-session', session)},${departing},${host})`;
  }

  /** SPEC 5.3: a sealed key. */
  seal(recipient: string, vm: string, epoch: string, session: string, key: string): string {
    const context = this.kept('key-context', `kc(${vm},${epoch},${session})`);
    return `seal(${recipient},${context},${key})`;
  }

  /** SPEC 4: an entry. */
  entry(entry: EntryTerms): string {
    const parts = [
      this.kept('kind', `k_${entry.kind}`),
      entry.vm,
      this.kept('epoch', entry.epoch),
      this.kept('previous', entry.previous),
      this.kept('facts', entry.facts),
      entry.host,
      entry.policy,
      this.kept('peer', entry.peer),
      this.kept('session', entry.session),
    ];
    return `en(${parts.join(',')})`;
  }
}
