import type { Action, Plan } from './plan.ts';

/**
 * The shortest plan that this finds which still fails: leaves out ever smaller runs of actions, as long as it fails without them. The time that
 * passed with an action stays, so that the others happen when they did.
 */
export async function shrink(plan: Plan, fails: (plan: Plan) => Promise<boolean>): Promise<Plan> {
  let best = plan;
  for (let size = Math.ceil(plan.actions.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < best.actions.length;) {
      const shorter = { ...best, actions: without(best.actions, from, size) };
      if (await fails(shorter)) best = shorter;
      else from += size;
    }
  }
  return best;
}

function without(actions: readonly Action[], from: number, count: number): readonly Action[] {
  const left = actions.slice(0, from);
  const right = actions.slice(from + count);
  const passed = actions.slice(from, from + count).reduce((sum, { afterMs }) => sum + afterMs, 0);
  const [next, ...rest] = right;
  return next === undefined ? left : [...left, { ...next, afterMs: next.afterMs + passed }, ...rest];
}
