/**
 * Appraises evidence as tpm2-tools and the kernel write it (SPEC 10.3): a quote by a given attestation key, an event log, an IMA
 * list. Pure: same input, same verdict. All of the evidence is UNTRUSTED; what is wrong with it is a failed check, never an error.
 */
import type { KeyObject } from 'node:crypto';
import { bytesEqual } from '../bytes/compare.ts';
import { hex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';
import { parseEventLog } from '../evidence/event-log.ts';
import type { UntrustedEventLog } from '../evidence/event-log.ts';
import { replayEventLog } from '../evidence/event-log-replay.ts';
import type { PcrValues } from '../evidence/pcr-replay.ts';
import type { QuoteAttest } from '../tpm/attest.ts';
import { parseSignature } from '../tpm/signature.ts';
import type { SignatureHash } from '../tpm/signature.ts';
import { EvidenceChecks } from './evidence-verdict.ts';
import type { EvidenceVerdict } from './evidence-verdict.ts';
import { matchQuote, replayIma } from './quoted-logs.ts';
import type { QuotedLogs } from './quoted-logs.ts';
import { pcrsOfRules } from './log-rules.ts';
import { explainValues } from './pcr-explanation.ts';
import { judgeLogs } from './judge-logs.ts';
import type { PolicyDraft } from './policy-text.ts';
import { quoteOf, selectionText, signedBy } from './quote.ts';

/** What is appraised, and by what. */
export interface EvidenceInput {
  readonly policy: PolicyDraft;
  /** The attestation key that the verifier believes; the evidence brings none. */
  readonly ak: KeyObject;
  /** Qualifying data that the quote must have. */
  readonly nonce: Uint8Array;
  /** TPMS_ATTEST and TPMT_SIGNATURE. */
  readonly attest: Uint8Array;
  readonly signature: Uint8Array;
  /** As the kernel shows them; absent where there is none. */
  readonly eventLog?: Uint8Array;
  readonly ima?: Uint8Array;
}

const RSA_BITS_MIN = 2048;
const CURVES: readonly string[] = ['prime256v1', 'secp384r1'];

/** Appraises evidence by every check. */
export function appraiseEvidence(input: EvidenceInput): EvidenceVerdict {
  const checks = new EvidenceChecks();
  const quote = checkQuote(input, checks);
  const log = checkEventLog(input, checks);
  const ima = checkImaList(input, checks, log?.values);
  let logs: QuotedLogs | undefined;
  if (quote !== undefined && log !== undefined && ima !== undefined) {
    logs = matchQuote(quote, input.policy, log.values, ima);
    checkValues(input.policy, checks, logs);
  }
  if (logs !== undefined) judgeLogs(checks, input.policy.rules ?? {}, log?.log, logs);
  const outcome = checks.finish();
  const { id, version } = input.policy;
  return Object.freeze({
    accepted: outcome.every((check) => check.outcome !== 'fail'),
    policy: { id, version },
    state: logs?.state ?? null,
    ima: logs?.ima == null ? null : { covered: logs.ima.covered, later: logs.ima.later },
    checks: Object.freeze(outcome),
  });
}

/** A quote whose first five checks passed, with the hash of its PCR digest. */
export interface CheckedQuote {
  readonly attest: QuoteAttest;
  readonly hash: SignatureHash;
  /** PCRs of the SHA-256 bank, ascending. */
  readonly pcrs: readonly number[];
}

function checkQuote(input: EvidenceInput, checks: EvidenceChecks): CheckedQuote | undefined {
  const { ak, attest, signature, nonce } = input;
  const strong = checks.note(
    'ak',
    isStrongKey(ak),
    'an RSA key of 2048 bits or more, or an ECC key on P-256 or P-384',
    keyText(ak),
  );
  if (!strong) return undefined;
  const signed = signedBy(ak, attest, signature);
  if (
    !checks.note(
      'quote-signature',
      signed,
      "the attestation key's signature over the quote",
      signed ? 'it' : 'another',
    )
  )
    return undefined;
  const quote = quoteOf(attest);
  const isQuote = quote.type === 'quote';
  checks.note('quote-type', isQuote, 'a quote made by a TPM', isQuote ? 'a quote' : quote.why);
  if (!isQuote) return undefined;
  const wanted = [...new Set([...input.policy.pcrs, ...pcrsOfRules(input.policy.rules ?? {})])];
  wanted.sort((a, b) => a - b);
  const [bank, ...otherBanks] = quote.pcrSelection;
  const pcrs = bank?.bank === 'sha256' && otherBanks.length === 0 ? bank.pcrs : [];
  const covered = wanted.every((pcr) => pcrs.includes(pcr));
  const text = `PCRs ${wanted.join(',')} at least, of the SHA-256 bank alone`;
  const selected = checks.note('pcr-selection', covered, text, selectionText(quote.pcrSelection));
  const nonceText = (bytes: Uint8Array): string => hex(bytes) || 'none';
  const fresh = checks.note(
    'quote-nonce',
    bytesEqual(quote.extraData, nonce),
    nonceText(nonce),
    nonceText(quote.extraData),
  );
  return selected && fresh ? { attest: quote, hash: parseSignature(signature).hash, pcrs } : undefined;
}

/** The event log and its replay; without a log, nothing and no values. Undefined where it cannot be used. */
export function checkEventLog(
  { eventLog, policy }: Pick<EvidenceInput, 'eventLog' | 'policy'>,
  checks: EvidenceChecks,
): { readonly log?: UntrustedEventLog; readonly values: PcrValues } | undefined {
  const expected = 'an event log that can be read, with a SHA-256 bank';
  if (eventLog === undefined) {
    if (policy.rules?.eventLog === undefined) {
      checks.notAsked('event-log', 'no event log, and the policy has no rule about one');
      return { values: new Map() };
    }
    checks.note('event-log', false, expected, 'none, and the policy has rules about it');
    return undefined;
  }
  try {
    const log = parseEventLog(eventLog);
    const values = replayEventLog(log);
    const good = log.banks.includes('sha256');
    const found = good ? `${log.events.length} events` : `a log of ${log.banks.join(', ')}`;
    return checks.note('event-log', good, expected, found) ? { log, values } : undefined;
  } catch (error) {
    if (!(error instanceof TvmmpError)) throw error;
    checks.note('event-log', false, expected, error.message);
    return undefined;
  }
}

/** The IMA list and its replay. Undefined where it cannot be used, null where there is none. */
export function checkImaList(
  { ima, policy }: Pick<EvidenceInput, 'ima' | 'policy'>,
  checks: EvidenceChecks,
  start: PcrValues | undefined,
): ReturnType<typeof replayIma> | null | undefined {
  const expected = 'an IMA list that can be read';
  if (ima === undefined) {
    if (policy.rules?.ima === undefined) {
      checks.notAsked('ima-list', 'no IMA list, and the policy has no rule about one');
      return null;
    }
    checks.note('ima-list', false, expected, 'none, and the policy has rules about it');
    return undefined;
  }
  try {
    const replayed = replayIma(ima, policy.rules?.ima, start ?? new Map());
    checks.note('ima-list', true, expected, `${replayed.entries} entries`);
    return replayed;
  } catch (error) {
    if (!(error instanceof TvmmpError)) throw error;
    checks.note('ima-list', false, expected, error.message);
    return undefined;
  }
}

/** `pcr-values` and `pcr-state`. */
export function checkValues(policy: PolicyDraft, checks: EvidenceChecks, logs: QuotedLogs): void {
  const what = logs.eventLog.size === 0 && logs.ima === null ? 'an approved state' : 'the logs';
  const expected = `the PCR values that ${what} lead to`;
  if (!checks.note('pcr-values', logs.values !== null, expected, logs.values !== null ? 'those' : logs.why))
    return;
  const statePcrs = new Map(policy.pcrs.map((pcr) => [pcr, logs.values?.get(pcr) ?? new Uint8Array()]));
  const found =
    logs.state === null ? `another one: ${explainValues(statePcrs, policy.states)}` : `state ${logs.state}`;

  checks.note(
    'pcr-state',
    logs.state !== null,
    `an approved state of policy ${policy.id} v${policy.version}`,
    found,
  );
}

/** `ak`: whether signatures of this key are worth believing. */
export function isStrongKey(key: KeyObject): boolean {
  const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'rsa') return (modulusLength ?? 0) >= RSA_BITS_MIN;
  return key.asymmetricKeyType === 'ec' && CURVES.includes(namedCurve ?? '');
}

function keyText(key: KeyObject): string {
  const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {};
  return `${key.asymmetricKeyType ?? 'a key'} ${namedCurve ?? modulusLength ?? ''}`.trim();
}
