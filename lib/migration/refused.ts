/**
 * A decision against a move, a start or an import, on its way to the operator: one line with the reason first, and what to do.
 * Not a fault: everything works, and the answer is no (SPEC 9).
 */
export class Refused extends Error {
  /** JSON of the verdict, where a peer was appraised. */
  readonly verdict: string | null;

  constructor(reason: string, verdict: string | null = null) {
    super(reason);
    this.name = 'Refused';
    this.verdict = verdict;
  }
}
