import { randomBytes, randomInt } from 'node:crypto';
import { appraiseSelf } from '../appraisal/appraise.ts';
import { evidenceSelection } from '../appraisal/peer-log-checks.ts';
import type { QuarantineRule } from '../appraisal/quarantine-rule.ts';
import { failedChecks, isAccepted, verdictDigest, verdictReason } from '../appraisal/verdict.ts';
import type { Verdict } from '../appraisal/verdict.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { TvmmpError } from '../errors.ts';
import { hex } from '../encoding/hex.ts';
import { selfStatement } from '../evidence/statement.ts';
import { limits } from '../limits.ts';
import { noVm } from '../protocol/hello.ts';
import { ownHello, verdictJson } from './hello.ts';
import { ownClaim } from './own-evidence.ts';
import { readQuarantine, writeQuarantine } from './quarantine.ts';
import type { QuarantineNote } from './quarantine.ts';
import { noteRefusal, Refused } from './refused.ts';
import type { Services } from './services.ts';
import type { Timer } from './timers.ts';

/** What this needs of what all share. */
type Parts = Pick<Services, 'host' | 'quotes' | 'logs' | 'platform'>;

/** What the operator sees of it. */
export interface SelfAppraisalStatus {
  /** Null where the policy does not ask for it. */
  readonly rule: QuarantineRule | null;
  /** When the last appraisal was made, milliseconds since 1970; null before the first one of this agent. */
  readonly appraised: number | null;
  /** Why none could be made since; '' where one could. */
  readonly problem: string;
  readonly quarantine: QuarantineNote | null;
}

/** The next appraisal is due after this part of the time that the policy gives, and the rest at most: hosts do not keep step. */
const jitterFrom = 0.75;
const pcrOfIma = 10;

/**
 * Has this host appraise itself by its own policy (SPEC 16): at the agent's start, on a schedule, under a new policy, and when the IMA
 * list has grown. What fails twice in a row quarantines it, what holds ends that.
 */
export class SelfAppraisal {
  readonly #parts: Parts;
  #timer: Timer | null = null;
  #round: Promise<void> | null = null;
  /** By `Timers.elapsed`. */
  #nextAt = -Infinity;
  #lastAt = -Infinity;
  #failures = 0;
  /** Of the IMA list, and of the policy, when the last appraisal began. */
  #length: string | null = null;
  #judgedBy: Uint8Array = new Uint8Array();
  #appraised: number | null = null;
  #problem = '';
  /** Appraisals that this agent has made. */
  #count = 0;
  /** Called after each look, with the number of appraisals that were made; 0 where the policy asks for none. */
  onLooked: (appraisals: number) => Promise<void> = () => Promise.resolve();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  begin(): void {
    this.#timer = this.#parts.host.timers.every(limits.selfAppraisalTickMs, () => {
      void this.look();
    });
    void this.look();
  }

  end(): void {
    this.#timer?.stop();
  }

  status(): SelfAppraisalStatus {
    const { host } = this.#parts;
    const rule = host.policy().policy.quarantine ?? null;
    const quarantine = rule === null ? null : readQuarantine(host);
    return { rule, appraised: this.#appraised, problem: this.#problem, quarantine };
  }

  /** Appraises if it is time to; never rejects. Who comes meanwhile waits for the same. */
  look(): Promise<void> {
    this.#round ??= this.#look()
      .catch((error: unknown) => {
        this.#parts.host.log.warn({ error: String(error) }, 'this host could not be looked at');
      })
      .finally(() => {
        this.#round = null;
      });
    return this.#round;
  }

  async #look(): Promise<void> {
    const { host } = this.#parts;
    const rule = host.policy().policy.quarantine;
    if (rule === undefined) this.#lift();
    else if (await this.#isDue()) await this.#appraise(rule);
    await this.onLooked(rule === undefined ? 0 : this.#count);
  }

  async #isDue(): Promise<boolean> {
    const { policy } = this.#parts.host.policy();
    const now = this.#parts.host.timers.elapsed();
    if (now >= this.#nextAt || !bytesEqual(policy.digest, this.#judgedBy)) return true;
    const measured = evidenceSelection(policy).some(({ pcrs }) => pcrs.includes(pcrOfIma));
    if (!measured || now < this.#lastAt + limits.selfAppraisalPauseMs) return false;
    return (await this.#parts.host.logFiles.imaLength()) !== this.#length;
  }

  async #appraise(rule: QuarantineRule): Promise<void> {
    const { host } = this.#parts;
    const span = rule.everySeconds * 1000;
    this.#lastAt = host.timers.elapsed();
    this.#judgedBy = host.policy().policy.digest;
    try {
      this.#length = await host.logFiles.imaLength();
      const first = await this.verdict();
      // PCRs may have changed between quote and reading: what fails has to fail again.
      const verdict = isAccepted(first) ? first : await this.verdict();
      this.#failures = 0;
      this.#problem = '';
      this.#appraised = host.now();
      this.#count += 1;
      this.#nextAt = this.#lastAt + randomInt(Math.floor(span * jitterFrom), span);
      if (isAccepted(verdict)) this.#lift();
      else this.#quarantine(verdict);
    } catch (error) {
      this.#failures += 1;
      this.#problem = error instanceof Error ? error.message : String(error);
      const backOff = limits.selfAppraisalPauseMs * 2 ** (this.#failures - 1);
      this.#nextAt = this.#lastAt + Math.min(span, backOff);
      host.log.warn({ error: String(error) }, 'this host could not appraise itself');
    }
  }

  #quarantine(verdict: Verdict): void {
    const { host } = this.#parts;
    const before = readQuarantine(host);
    const failed = failedChecks(verdict).map(({ name }) => name);
    const reason = verdictReason(verdict);
    const since = before?.since ?? verdict.time;
    writeQuarantine(host, { since, reason, failed, verdict: hex(verdictDigest(verdict)) });
    if (before?.reason === reason) return;
    host.log.error({ failed, reason }, 'this host is quarantined');
    const why = new Refused(`host-quarantined: ${reason}`, { verdict: verdictJson(verdict) });
    noteRefusal(host, { vm: null, peer: null, operation: 'quarantine', why });
  }

  #lift(): void {
    const { host } = this.#parts;
    const before = readQuarantine(host);
    if (before === null) return;
    writeQuarantine(host, null);
    host.log.warn({ since: before.since, failed: before.failed }, 'this host is no longer quarantined');
  }

  /** What this host's evidence of now is worth by its own policy. Rejects where the TPM or the logs cannot be read. */
  async verdict(): Promise<Verdict> {
    const { host, logs: appraisals } = this.#parts;
    const { policy } = host.policy();
    const { name } = host.identity.id;
    const session = new Uint8Array(randomBytes(32));
    const statement = selfStatement(new Uint8Array(randomBytes(32)));
    const wanted = appraisals.wantedOf(name);
    const exchange = wanted === null ? null : appraisals.begin(name, wanted);
    try {
      const claim = await ownClaim(this.#parts, wanted, {
        peer: name,
        session,
        statement,
        send: async (message) => {
          if (message.kind !== 'log') throw new TvmmpError('internal', 'a log was to be told');
          await exchange?.received(message, session);
        },
      });
      const logs = (await exchange?.finish(claim)) ?? null;
      const verdict = appraiseSelf({
        vm: noVm,
        session,
        now: host.now(),
        root: host.identity.root,
        ownPolicy: policy,
        revocations: host.revocations()?.list ?? null,
        requiredPolicyVersion: policy.version,
        tlsPeerName: name,
        statement,
        hello: ownHello(host, 'target', session, noVm),
        claim,
        logs,
      });
      exchange?.concluded(logs, verdict);
      return verdict;
    } finally {
      exchange?.end();
    }
  }
}
