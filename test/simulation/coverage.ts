/** Which rows of SPEC 6.8's tables the runs went through. */

/** `role from input to`, as the driver logs each step. */
const table = `
source idle open hello-sent
source idle answer greeted
source hello-sent hello greeted
source hello-sent failed refused
source hello-sent refused refused
source greeted evidence appraising
source greeted failed refused
source greeted refused refused
source appraising accepted signing
source appraising failed refused
source signing signed offered
source signing failed refused
source signing refuse refused
source offered staged staged
source offered aborted offered
source offered disclaimer-verified declined
source offered stayed aborting
source offered left offered
source offered arrived offered
source offered arrival-verified destroying
source staged aborted staged
source staged disclaimer-verified declined
source staged stayed aborting
source staged left staged
source staged arrived staged
source staged arrival-verified destroying
source declined stayed aborted
source aborting aborted aborting
source aborting disclaimer-verified aborted
source aborting arrived aborting
source aborting arrival-verified destroying
source destroying destroyed departed
target idle open hello-sent
target idle answer greeted
target hello-sent hello greeted
target hello-sent failed refused
target hello-sent refused refused
target greeted signed attested
target greeted failed refused
target attested offer appraising
target attested failed refused
target attested refused refused
target appraising accepted staging
target appraising refuse refused
target staging stored staged
target staging failed refused
target staged moved arriving
target staged abort staged
target staged lost staged
target staged query staged
target staged not-incoming aborted
target arriving arrival-signed arrived
target arriving abort arriving
target arriving query arriving
target arrived abort arrived
target arrived query arrived
target arrived departed arrived
target arrived departure-verified done
`;

export const transitions: readonly string[] = table.trim().split('\n');

export class Coverage {
  readonly #visits = new Map<string, number>();

  note(fields: object): void {
    const { role, from, input, to } = fields as Record<string, string | undefined>;
    if (from === undefined) return;
    const transition = `${role ?? ''} ${from} ${input ?? ''} ${to ?? ''}`;
    this.#visits.set(transition, (this.#visits.get(transition) ?? 0) + 1);
  }

  visits(transition: string): number {
    return this.#visits.get(transition) ?? 0;
  }

  unvisited(): readonly string[] {
    return transitions.filter((transition) => this.visits(transition) === 0);
  }

  /** All rows with their visits, and what was seen beside them. */
  table(): string {
    const others = [...this.#visits.keys()].filter((transition) => !transitions.includes(transition)).sort();
    const line = (transition: string): string =>
      `${String(this.visits(transition)).padStart(9)}  ${transition.replace(/ (\S+)$/, ' -> $1')}`;
    return ['transitions:', ...transitions.map(line), 'without effect:', ...others.map(line)].join('\n');
  }
}
