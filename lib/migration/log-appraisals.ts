import type { KnownLogs, LogFindings } from '../appraisal/log-evidence.ts';
import { asksForLogs, evidenceSelection } from '../appraisal/peer-log-checks.ts';
import type { Verdict } from '../appraisal/verdict.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { hex } from '../encoding/hex.ts';
import { Remembered } from '../encoding/remembered.ts';
import type { Claim } from '../evidence/claim.ts';
import type { LogKind, LogsWanted } from '../evidence/logs-wanted.ts';
import { limits } from '../limits.ts';
import { parseSignature } from '../tpm/signature.ts';
import { TvmmpError } from '../errors.ts';
import type { LogMessage } from '../protocol/messages.ts';
import { ProtocolViolation, requireSession } from '../protocol/step.ts';
import type { Host, PolicyInForce } from './host.ts';

/** Checks without which nothing that came of a peer is worth remembering. */
export const ESSENTIAL: readonly string[] = [
  'peer-name',
  'ak-certificate',
  'quote-signature',
  'quote-binding',
];

interface Snapshot {
  readonly known: KnownLogs | null;
  readonly inForce: PolicyInForce;
}

/** How far this host has appraised the logs of its peers (SPEC 6.11). */
export class LogAppraisals {
  readonly #host: Pick<Host, 'policy' | 'logJudges' | 'timers'>;
  readonly #known = new Remembered<KnownLogs>(limits.logPeersRememberedMax);
  /** What was known when a hello said so. */
  readonly #snapshots = new WeakMap<LogsWanted, Snapshot>();
  #count = 0;

  constructor(host: Pick<Host, 'policy' | 'logJudges' | 'timers'>) {
    this.#host = host;
  }

  /** What to ask a peer for in a hello; null where our policy has no rule about logs. */
  wantedOf(peer: string): LogsWanted | null {
    const inForce = this.#host.policy();
    const { policy } = inForce;
    if (!asksForLogs(policy)) return null;
    const known = this.#known.find(keyOf(peer, inForce)) ?? null;
    const kinds: LogKind[] = [];
    if (policy.rules?.eventLog !== undefined) kinds.push('event-log');
    if (policy.rules?.ima !== undefined) kinds.push('ima-list');
    const wanted: LogsWanted = {
      pcrs: evidenceSelection(policy)[0]?.pcrs ?? [],
      kinds,
      known:
        known === null
          ? null
          : {
              resetCount: known.resetCount,
              restartCount: known.restartCount,
              eventLog: known.eventLog?.digest ?? null,
              imaBytes: known.ima?.position.bytes ?? 0,
            },
    };
    this.#snapshots.set(wanted, { known, inForce });
    return wanted;
  }

  /** Takes up what a hello of ours asked for. */
  begin(peer: string, wanted: LogsWanted): LogExchange {
    const snapshot = this.#snapshots.get(wanted);
    if (snapshot === undefined) throw new TvmmpError('internal', 'logs that nobody asked for');
    const key = keyOf(peer, snapshot.inForce);
    return new LogExchange(this.#host, this.#count++, wanted, snapshot, (known) => {
      if (known === null) this.#known.forget(key);
      else this.#known.set(key, known);
    });
  }
}

/** The logs of one peer in one session, on their way to the thread that judges them. */
export class LogExchange {
  readonly #host: Pick<Host, 'policy' | 'logJudges' | 'timers'>;
  readonly #id: number;
  readonly #wanted: LogsWanted;
  readonly #inForce: PolicyInForce;
  readonly #opened: Promise<void>;
  readonly #began: number;
  readonly #remember: (known: KnownLogs | null) => void;
  #bytes = 0;
  #over = false;

  constructor(
    host: Pick<Host, 'policy' | 'logJudges' | 'timers'>,
    id: number,
    wanted: LogsWanted,
    { known, inForce }: Snapshot,
    remember: (known: KnownLogs | null) => void,
  ) {
    this.#host = host;
    this.#id = id;
    this.#wanted = wanted;
    this.#inForce = inForce;
    this.#remember = remember;
    this.#began = host.timers.elapsed();
    this.#opened = host.logJudges.open(id, inForce.envelope, known);
    // Awaited with the first piece, or at the end.
    this.#opened.catch(() => undefined);
  }

  /** Takes a piece; resolves when the next may come. Throws `ProtocolViolation`, `limit-exceeded`, `peer-timeout`. */
  async received(message: LogMessage, session: Uint8Array): Promise<void> {
    requireSession(message, session);
    const { log, from, data } = message;
    if (this.#over || !this.#wanted.kinds.includes(log))
      throw new ProtocolViolation(`a piece of the ${log}, which nobody asked for`);
    if (data.byteLength === 0) throw new ProtocolViolation(`an empty piece of the ${log}`);
    this.#bytes += data.byteLength;
    if (this.#bytes > limits.eventLogBytesMax + limits.imaListBytesMax)
      throw new TvmmpError('limit-exceeded', `${log}: too-large: the peer's logs do not end`);
    if (this.#host.timers.elapsed() > this.#began + limits.sessionDeadlineMs)
      throw new TvmmpError('peer-timeout', `${log}: the peer did not send its logs in time`);
    await this.#opened;
    await this.#host.logJudges.add(this.#id, log, from, data);
  }

  /** What the logs say of a claim. Null where that holds no quote, and where another policy is in force than the one they were judged by. */
  async finish({ attest, signature, pcrs }: Claim): Promise<LogFindings | null> {
    this.#over = true;
    await this.#opened;
    const told = new Map(
      pcrs.filter(({ bank }) => bank === 'sha256').map(({ index, value }) => [index, value]),
    );
    const findings = await this.#host.logJudges.finish(this.#id, { attest, hash: hashOf(signature), told });
    const { policy } = this.#host.policy();
    return bytesEqual(policy.digest, this.#inForce.policy.digest) ? findings : null;
  }

  /** Remembers how far the peer's logs were appraised; where they do not lead to its quote, they begin anew the next time. */
  concluded(findings: LogFindings | null, { checks }: Verdict): void {
    const genuine = ESSENTIAL.every((name) =>
      checks.some((check) => check.name === name && check.outcome === 'pass'),
    );
    if (genuine) this.#remember(findings?.known ?? null);
  }

  /** Gives up what came so far. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#opened.then(() => this.#host.logJudges.drop(this.#id)).catch(() => undefined);
  }
}

function keyOf(peer: string, { policy }: PolicyInForce): string {
  return `${peer} ${hex(policy.digest)}`;
}

/** Of a signature that cannot be read, any: it is refused for itself. */
function hashOf(signature: Uint8Array): 'sha256' | 'sha384' | 'sha512' {
  try {
    return parseSignature(signature).hash;
  } catch (error) {
    if (error instanceof TvmmpError && error.code === 'tpm-structure-invalid') return 'sha256';
    throw error;
  }
}
