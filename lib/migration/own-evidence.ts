import { quoteOf } from '../appraisal/quote.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { sha256 } from '../encoding/hash.ts';
import type { Claim } from '../evidence/claim.ts';
import type { LogKind, LogsKnown, LogsWanted } from '../evidence/logs-wanted.ts';
import { limits } from '../limits.ts';
import type { Message } from '../protocol/messages.ts';
import type { PcrSelection } from '../tpm/port.ts';
import type { Services } from './services.ts';

/** What this host shows a peer of itself: the statement of the session, and how to tell the peer something before it. */
interface OwnEvidence {
  /** Name of the peer. */
  readonly peer: string;
  readonly session: Uint8Array;
  readonly statement: Uint8Array;
  readonly send: (message: Message) => Promise<void>;
}

/** What a host shows of itself: a quote of a statement, after the logs that are wanted. */
export async function ownClaim(
  services: Pick<Services, 'host' | 'quotes' | 'platform'>,
  wanted: LogsWanted | null | undefined,
  shown: OwnEvidence,
): Promise<Claim> {
  if (wanted != null) return claimWithLogs(services, wanted, shown);
  const { host, quotes, platform } = services;
  const signed = await quotes.sign(host.policy().policy.selection, [], [shown.statement]);
  const { attest, signature, statementPaths } = signed;
  return { attest, signature, path: statementPaths[0] ?? [], pcrs: await platform.claimedPcrs(attest) };
}

/**
 * Quotes a statement for a peer that wants logs, and sends it those that it lacks (SPEC 6.11). They are read after the quote: what is
 * in a PCR by then is in its log.
 */
export async function claimWithLogs(
  { host, quotes }: Pick<Services, 'host' | 'quotes'>,
  wanted: LogsWanted,
  { peer, session, statement, send }: OwnEvidence,
): Promise<Claim> {
  const selection: PcrSelection = [{ bank: 'sha256', pcrs: wanted.pcrs }];
  const { attest, signature, statementPaths } = await quotes.sign(selection, [], [statement]);
  const { values } = await host.tpm.readPcrs(selection);
  const told: Record<LogKind, number> = { 'event-log': 0, 'ima-list': 0 };
  const tell = async (log: LogKind, from: number, data: Uint8Array): Promise<void> => {
    for (let at = 0; at < data.byteLength; at += limits.logPieceBytesMax) {
      const piece = data.subarray(at, at + limits.logPieceBytesMax);
      await send({ kind: 'log', session, log, from: from + at, data: piece });
    }
    told[log] += data.byteLength;
  };
  let known = isOfThisBoot(wanted.known, attest) ? wanted.known : null;
  if (wanted.kinds.includes('event-log')) {
    const log = await host.logFiles.eventLog();
    const news = log !== null && !(known?.eventLog != null && bytesEqual(known.eventLog, sha256(log)));
    // A list begins where the event log ends: with another one it is told from its beginning.
    if (news) known = null;
    if (news) await tell('event-log', 0, log);
  }
  if (wanted.kinds.includes('ima-list')) {
    let at = known?.imaBytes ?? 0;
    for await (const piece of (await host.logFiles.imaList(at)) ?? []) {
      await tell('ima-list', at, piece);
      at += piece.byteLength;
    }
  }
  host.log.info({ peer, bytes: told }, 'told a peer what it lacked of our logs');
  const pcrs = values.map(({ bank, pcr, digest }) => ({ bank, index: pcr, value: digest }));
  return { attest, signature, path: statementPaths[0] ?? [], pcrs };
}

function isOfThisBoot(known: LogsKnown | null, attest: Uint8Array): boolean {
  const quote = quoteOf(attest);
  return (
    quote.type === 'quote' &&
    known?.resetCount === quote.clock.resetCount &&
    known.restartCount === quote.clock.restartCount
  );
}
