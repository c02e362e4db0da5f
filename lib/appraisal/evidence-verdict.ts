/** What an appraisal of evidence in standard formats found (SPEC 10.3): every check by name, in order. */

/** Checks of what a boot measured (SPEC 10.2). */
export const bootChecks = [
  'event-log-events',
  'secure-boot',
  'secure-boot-keys',
  'firmware',
  'drivers',
  'boot-images',
  'boot-files',
  'command-lines',
] as const;

/** Checks of what ran since. */
export const fileChecks = ['ima-boot-aggregate', 'ima-violations', 'ima-files'] as const;

/** All checks, in their order (SPEC 10.3). Each is in every verdict. */
export const evidenceChecks = [
  'ak',
  'quote-signature',
  'quote-type',
  'pcr-selection',
  'quote-nonce',
  'event-log',
  'ima-list',
  'pcr-values',
  'pcr-state',
  ...bootChecks,
  ...fileChecks,
  'host-rules',
] as const;
export type EvidenceCheckName = (typeof evidenceChecks)[number];

/**
 * One check. `not-asked`: neither the policy nor the evidence gave it anything to look at, and `found` says so. What an earlier
 * failure left nothing to look at has failed.
 */
export interface EvidenceCheck {
  readonly name: EvidenceCheckName;
  readonly outcome: 'pass' | 'fail' | 'not-asked';
  readonly expected: string;
  readonly found: string;
}

/** A verdict on evidence. */
export interface EvidenceVerdict {
  readonly accepted: boolean;
  readonly policy: { readonly id: string; readonly version: number };
  /** Name of the approved state that the PCRs are in. */
  readonly state: string | null;
  /** Entries of the IMA list that the quote covers, and those after them, which were not judged. */
  readonly ima: { readonly covered: number; readonly later: number } | null;
  readonly checks: readonly EvidenceCheck[];
}

/** Collects checks and says at the end whether all of them are there and none failed. */
export class EvidenceChecks {
  readonly #checks = new Map<EvidenceCheckName, EvidenceCheck>();

  /** Notes the outcome of a check; what it found is shown to people, on one line. */
  note(name: EvidenceCheckName, pass: boolean, expected: string, found: string): boolean {
    this.#set(name, pass ? 'pass' : 'fail', expected, found);
    return pass;
  }

  /** Takes over a check as it was noted before. */
  take(check: EvidenceCheck): void {
    this.#checks.set(check.name, check);
  }

  /** What was noted of these checks so far. */
  noted(names: readonly EvidenceCheckName[]): readonly EvidenceCheck[] {
    return names.flatMap((name) => this.#checks.get(name) ?? []);
  }

  /** Notes that nothing asks for a check. */
  notAsked(name: EvidenceCheckName, found: string): void {
    this.#set(name, 'not-asked', '', found);
  }

  /** All checks in order; those that nobody noted have failed, because of the first that did. */
  finish(): readonly EvidenceCheck[] {
    const first =
      evidenceChecks.find((name) => this.#checks.get(name)?.outcome === 'fail') ?? 'an earlier check';
    return evidenceChecks.map(
      (name) =>
        this.#checks.get(name) ?? {
          name,
          outcome: 'fail',
          expected: `${first} to pass first`,
          found: `not checked, because ${first} failed`,
        },
    );
  }

  #set(name: EvidenceCheckName, outcome: EvidenceCheck['outcome'], expected: string, found: string): void {
    this.#checks.set(name, { name, outcome, expected: line(expected), found: line(found) });
  }
}

/** One line: the first check that failed, with what was found and expected, and the names of the others that looked. */
export function evidenceReason({ checks }: EvidenceVerdict): string {
  const failed = checks.filter(
    ({ outcome, found }) => outcome === 'fail' && !found.startsWith('not checked'),
  );
  const [first, ...others] = failed;
  if (first === undefined) return 'accepted';
  const more = others.length === 0 ? '' : `; also failed: ${others.map(({ name }) => name).join(', ')}`;
  return `${first.name}: ${first.found}, expected ${first.expected}${more}`;
}

/** What a host wrote may end up in a terminal: printable, and short. */
function line(text: string): string {
  return text.replaceAll(/[^\P{C}]/gu, '?').slice(0, 600);
}
