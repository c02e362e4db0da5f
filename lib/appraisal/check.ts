/** How a check of a verdict is written down (SPEC 9). */
import { notChecked } from './verdict.ts';
import type { Check, PeerCheck } from './verdict.ts';

/** One check with its texts, which may hold what a peer wrote. */
export function check(
  name: PeerCheck,
  pass: boolean,
  texts: { expected: string; found: string; remedy: string },
): Check {
  const { expected, found, remedy } = texts;
  return {
    name,
    outcome: pass ? 'pass' : 'fail',
    expected: line(expected),
    found: line(found),
    remedy: pass ? '' : remedy,
  };
}

/** A check that an earlier failure left nothing to look at. */
export function skipped(name: PeerCheck, because: PeerCheck): Check {
  return {
    name,
    outcome: 'fail',
    expected: `${because} to pass first`,
    found: `${notChecked}, because ${because} failed`,
    remedy: `see ${because}`,
  };
}

/** What a peer wrote may end up in a terminal: printable, and short. */
function line(text: string): string {
  return text.replaceAll(/[^\P{C}]/gu, '?').slice(0, 400);
}
