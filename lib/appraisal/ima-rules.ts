/** What a policy asks of an IMA list (SPEC 10.2), entry by entry while it is replayed: nothing is kept but what is refused. */
import { createPublicKey, hash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { UntrustedImaEntry } from '../evidence/ima-list.ts';
import type { PcrValues } from '../evidence/pcr-replay.ts';
import type { PcrBank } from '../tpm/port.ts';
import { HASHES } from '../tpm/algorithms.ts';
import { named } from './event-log-rules.ts';
import type { RuleFinding } from './event-log-rules.ts';
import { isSignedFile } from './ima-signature.ts';
import type { ImaRules } from './log-rules.ts';

const BOOT_AGGREGATE = 'boot_aggregate';
/** Refused entries that are described; the others are counted. */
const DESCRIBED_MAX = 8;

interface Digest {
  readonly algorithm: string;
  readonly value: string;
}

/** The rules, made ready once for any number of entries. */
export class ImaRuleSet {
  /** By path: digests as algorithm and value, so that comparing needs no new text. */
  readonly files: ReadonlyMap<string, readonly Digest[]>;
  readonly excluded: readonly RegExp[];
  readonly keys: readonly KeyObject[];
  readonly allowViolations: boolean;

  constructor(rules: ImaRules) {
    this.files = new Map(
      Object.entries(rules.files).map(([path, digests]) => [path, digests.map((digest) => split(digest))]),
    );
    this.excluded = (rules.excluded ?? []).map(globOf);
    this.keys = (rules.keys ?? []).map((pem) => createPublicKey(pem));
    this.allowViolations = rules.allowViolations ?? false;
  }
}

/** Where a judge stands, as plain values: of what is refused the beginning, and numbers. */
export interface ImaJudgement {
  readonly entries: number;
  readonly violations: number;
  readonly refused: number;
  readonly aggregate: string | undefined;
  readonly described: readonly string[];
  readonly raced: readonly string[];
}

/** Judges entries in the order of the list. A list that has grown is judged by the same judge, from where it stopped. */
export class ImaJudge {
  readonly #rules: ImaRuleSet;
  #entries: number;
  #violations: number;
  #refused: number;
  #aggregate: string | undefined;
  readonly #described: string[];
  readonly #raced: string[];

  /** `from`: where an earlier judge of the same rules stood. */
  constructor(rules: ImaRuleSet, from?: ImaJudgement) {
    this.#rules = rules;
    this.#entries = from?.entries ?? 0;
    this.#violations = from?.violations ?? 0;
    this.#refused = from?.refused ?? 0;
    this.#aggregate = from?.aggregate;
    this.#described = [...(from?.described ?? [])];
    this.#raced = [...(from?.raced ?? [])];
  }

  /** Where it stands now. */
  judgement(): ImaJudgement {
    return {
      entries: this.#entries,
      violations: this.#violations,
      refused: this.#refused,
      aggregate: this.#aggregate,
      described: [...this.#described],
      raced: [...this.#raced],
    };
  }

  /** Takes in one entry. */
  judge(entry: UntrustedImaEntry): void {
    this.#entries += 1;
    if (entry.violation) {
      this.#violations += 1;
      if (this.#raced.length < DESCRIBED_MAX)
        this.#raced.push(`entry ${entry.number} (said to be ${entry.path})`);
      return;
    }
    if (isBootAggregate(entry)) {
      this.#aggregate = entry.digest;
      return;
    }
    const flaw = this.#flawOf(entry);
    if (flaw === undefined) return;
    this.#refused += 1;
    if (this.#described.length < DESCRIBED_MAX) this.#described.push(`${entry.path} ${flaw}`);
  }

  /** `ima-violations`. Which file it was is not covered by anything, so that no path can be excepted. */
  violations(): RuleFinding {
    const allowed = this.#rules.allowViolations;
    return {
      pass: allowed || this.#violations === 0,
      expected: allowed ? 'any number of violations' : 'no violation',
      found: this.#violations === 0 ? 'none' : `${this.#violations}: ${named(this.#raced)}`,
    };
  }

  /** `ima-files`. */
  files(): RuleFinding {
    return {
      pass: this.#refused === 0 && this.#entries > 0,
      expected: 'files that are listed, excluded, or signed by a key of the policy',
      found:
        this.#refused === 0
          ? `${this.#entries} entries`
          : `${this.#refused} others: ${named(this.#described)}`,
    };
  }

  /**
   * `ima-boot-aggregate`: the list begins with the hash of PCRs 0-9 (of SHA-1 and MD5: 0-7) at boot, so that it belongs to this
   * boot. Compared with what the event log, or the policy's state, says of them.
   */
  aggregate(values: PcrValues): RuleFinding {
    const expected = 'the list to begin with the aggregate of this boot';
    if (this.#aggregate === undefined) return { pass: false, expected, found: 'no boot_aggregate' };
    const { algorithm, value: digest } = split(this.#aggregate);
    const bank = (Object.keys(HASHES) as PcrBank[]).find((name) => name === algorithm);
    const pcrs = bank === undefined ? undefined : values.get(bank);
    if (bank === undefined || pcrs === undefined)
      return { pass: false, expected, found: `one of ${algorithm}` };
    const last = bank === 'sha1' ? 7 : 9;
    const zero = new Uint8Array(HASHES[bank].bytes);
    const all = Array.from({ length: last + 1 }, (_, pcr) => pcrs.get(pcr) ?? zero);
    const pass = hash(bank, Buffer.concat(all), 'hex') === digest;
    return { pass, expected, found: pass ? 'it' : 'the aggregate of other PCR values' };
  }

  #flawOf(entry: UntrustedImaEntry): string | undefined {
    const { path, algorithm, value } = entry;
    if (!isDigestOf(entry)) return 'has a digest that is not that of its buffer';
    const listed = this.#rules.files.get(path);
    if (listed?.some((one) => one.value === value && one.algorithm === algorithm) === true) return undefined;
    if (this.#rules.excluded.some((glob) => glob.test(path))) return undefined;
    if (isSignedFile(entry, this.#rules.keys)) return undefined;
    const shown = `${algorithm}:${value.slice(0, 16)}...`;
    const signed = entry.signature === null ? '' : ', nor is its signature one of a key of the policy';
    const appended = entry.modsig === null ? '' : '; its appended signature is not asked';
    const flaw = listed === undefined ? 'is not listed' : 'has another digest than listed';
    return `${flaw} (${shown})${signed}${appended}`;
  }
}

/** `sha256:<hexadecimal>` or `verity:sha256:<hexadecimal>` in its parts. */
function split(digest: string): Digest {
  const at = digest.lastIndexOf(':');
  return { algorithm: digest.slice(0, at), value: digest.slice(at + 1) };
}

/** Whether an entry is that which says what was booted. */
export function isBootAggregate({ number, path }: UntrustedImaEntry): boolean {
  return number === 0 && path === BOOT_AGGREGATE;
}

/** Whether the digest of an entry is that of its buffer, where it has one. */
export function isDigestOf({ algorithm, value, buffer }: UntrustedImaEntry): boolean {
  return buffer === null || (algorithm in HASHES && hash(algorithm, buffer, 'hex') === value);
}

/** `**` is anything, `*` anything but a slash; all else stands for itself. */
export function globOf(pattern: string): RegExp {
  const parts = pattern.split(/(\*\*|\*)/).map((part) => {
    if (part === '**') return '.*';
    return part === '*' ? '[^/]*' : part.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  });
  return new RegExp(`^${parts.join('')}$`, 's');
}
