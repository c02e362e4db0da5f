/** What `tvmmp doctor` says about one thing it looked at. */

/** One finding. `remedy` is empty where it is good. */
export interface Finding {
  readonly check: string;
  /** `warning`: works, and may not for long, or cannot be told. `bad`: something does not work, or is not safe. */
  readonly outcome: 'good' | 'warning' | 'bad';
  readonly found: string;
  readonly remedy: string;
}

export function good(check: string, found: string): Finding {
  return { check, outcome: 'good', found, remedy: '' };
}

export function warning(check: string, found: string, remedy: string): Finding {
  return { check, outcome: 'warning', found, remedy };
}

export function bad(check: string, found: string, remedy: string): Finding {
  return { check, outcome: 'bad', found, remedy };
}

/** Looks; what cannot be looked at is bad, with this remedy. */
export async function looked(
  check: string,
  remedy: string,
  look: () => Finding | Promise<Finding>,
): Promise<Finding> {
  try {
    return await look();
  } catch (error) {
    return bad(check, error instanceof Error ? error.message : String(error), remedy);
  }
}
