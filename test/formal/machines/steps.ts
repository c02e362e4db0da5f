/** Everything that can happen next: what the drivers do, what libvirt does, what fails. The twin of the loop in spin/handover.pml. */
import { resumedState } from '../../../lib/migration/resumed.ts';
import type { SourceEffect, SourceInput } from '../../../lib/protocol/source.ts';
import { ProtocolViolation } from '../../../lib/protocol/step.ts';
import type { TargetInput } from '../../../lib/protocol/target.ts';
import { evidence, offer, session, trusted } from '../../unit/protocol/session-world.ts';
import { arrived, head, own } from '../spin/places.ts';
import type { Rules } from './rules.ts';
import { faultsOf, libvirtOf } from './surroundings.ts';
import { bit, forged, messages, nameOf, staleMessages, toSource, toTarget } from './world.ts';
import type { MessageName, World } from './world.ts';

type Todo = World['targetTodo'][number];

/** All worlds that can follow; `faults` apart, so that recovery without further faults can be looked at. */
export function following(world: World, rules: Rules): { readonly steps: World[]; readonly faults: World[] } {
  const steps: World[] = [];
  const add = (next: World | null): void => {
    if (next !== null) steps.push(next);
  };
  opening(world, rules, add);
  delivery(world, rules, add);
  sourceDriver(world, rules, add);
  targetDriver(world, rules, add);
  looks(world, rules, add);
  libvirtOf(world, add);
  restarts(world, rules, add);
  const faults: World[] = [];
  if (world.faults > 0) faultsOf({ ...world, faults: world.faults - 1 }, (next) => faults.push(next));
  return { steps, faults };
}

type Add = (next: World | null) => void;

function has(world: World, name: MessageName): boolean {
  return (world.channel & bit(name)) !== 0;
}

function says(world: World, name: MessageName): World {
  return { ...world, channel: world.channel | bit(name) };
}

/** Puts one input to the source's machine, as the driver does: a violation of what is not committed ends the session. */
function source(world: World, rules: Rules, input: SourceInput): World | null {
  if (world.source === null) return null;
  try {
    const { state, effects } = rules.stepSource(world.source, input);
    const entered = state !== world.source && journalledBySource.has(state.tag);
    const sourceJournal = entered ? (state.tag as World['sourceJournal']) : world.sourceJournal;
    return { ...world, source: state, sourceTodo: effects, sourceJournal };
  } catch (error) {
    if (!(error instanceof ProtocolViolation)) throw error;
    const making = 'own' in world.source;
    return input.kind === 'message' && making ? source(world, rules, { kind: 'failed' }) : null;
  }
}

function target(world: World, rules: Rules, input: TargetInput): World | null {
  if (world.target === null) return null;
  try {
    const { state, effects } = rules.stepTarget(world.target, input);
    const entered = state !== world.target && (state.tag === 'refused' || state.tag === 'arriving');
    const targetJournal = entered ? (state.tag as World['targetJournal']) : world.targetJournal;
    return { ...world, target: state, targetTodo: effects, targetJournal };
  } catch (error) {
    if (!(error instanceof ProtocolViolation)) throw error;
    const making = 'own' in world.target || world.target.tag === 'staging';
    return input.kind === 'message' && making ? target(world, rules, { kind: 'failed' }) : null;
  }
}

/** What SourceSession journals on entering a state, before any effect. */
const journalledBySource: ReadonlySet<string> = new Set(['refused', 'staged', 'declined', 'aborting']);

function sourceIsFree(world: World): boolean {
  return world.source !== null && world.sourceTodo.length === 0;
}

function targetIsFree(world: World): boolean {
  return world.target !== null && world.targetTodo.length === 0;
}

function opening(world: World, rules: Rules, add: Add): void {
  const { cli, phase, jobs, sourceQemu } = world;
  if (sourceIsFree(world) && world.source?.tag === 'idle') {
    if (cli && sourceQemu === 'runs') add(source(world, rules, { kind: 'open', own: own.source }));
    if (!cli && has(world, 'hello-target'))
      add(
        phase === 'none'
          ? source(says(world, 'refused-source'), rules, { kind: 'failed' })
          : source(world, rules, { kind: 'answer', own: own.source, peer: own.target }),
      );
  }
  if (targetIsFree(world) && world.target?.tag === 'idle') {
    const begins =
      !cli && phase === 'none' && jobs > 0 && sourceQemu === 'runs' && world.source?.tag === 'idle';
    if (begins) add(target({ ...world, phase: 'begin', jobs: 0 }, rules, { kind: 'open', own: own.target }));
    if (cli && has(world, 'hello-source'))
      add(target(world, rules, { kind: 'answer', own: own.target, peer: own.source }));
  }
}

/** Messages reach the machine that they are for, at any time, again and again; so do messages of another session. */
function delivery(world: World, rules: Rules, add: Add): void {
  if (sourceIsFree(world) && world.source?.tag !== 'idle') {
    for (const name of toSource)
      if (has(world, name)) {
        const unheard = name === 'arrived' && rules.asksLibvirt && world.sourceQemu === 'runs';
        if (!unheard) add(source(world, rules, { kind: 'message', message: messages[name] }));
      }
    for (const message of staleMessages) add(source(world, rules, { kind: 'message', message }));
    const deceived = source(world, rules, { kind: 'message', message: forged });
    if (deceived?.sourceTodo.some((effect) => effect.do === 'verify-disclaimer') === false) add(deceived);
    if (world.source?.tag === 'departed' && has(world, 'arrived')) add(says(world, 'departed'));
  }
  if (targetIsFree(world) && world.target?.tag !== 'idle') {
    for (const name of toTarget)
      if (has(world, name)) add(target(world, rules, { kind: 'message', message: messages[name] }));
    for (const message of staleMessages) add(target(world, rules, { kind: 'message', message }));
    const over = world.target?.tag === 'aborted' || world.target?.tag === 'refused';
    if (over && (has(world, 'abort') || has(world, 'query'))) add(says(world, 'aborted'));
  }
}

function sourceDriver(world: World, rules: Rules, add: Add): void {
  const [effect, ...sourceTodo] = world.sourceTodo;
  if (effect === undefined || world.source === null) return;
  const rest: World = { ...world, sourceTodo };
  switch (effect.do) {
    case 'send':
      add(says(rest, nameOf(effect.message, 'source')));
      return;
    case 'appraise':
      add(source(rest, rules, { kind: 'accepted', trusted }));
      add(source(rest, rules, { kind: 'refuse', hint: null }));
      return;
    case 'commit':
      commit(rest, rules, effect, add);
      return;
    case 'release':
      add({ ...rest, released: world.cli });
      return;
    case 'sign-aborted':
      add({ ...rest, sourceRecord: 'holder', sourceJournal: 'aborted', signedAborted: true });
      return;
    case 'verify-disclaimer':
      add(source(rest, rules, { kind: 'disclaimer-verified' }));
      return;
    case 'verify-arrival':
      add(
        source({ ...rest, sourceRecord: 'keyed', sourceJournal: 'destroying' }, rules, {
          kind: 'arrival-verified',
        }),
      );
      return;
    case 'destroy-copy':
      if (world.sourceQemu === 'waits' && world.phase === 'none') add({ ...world, sourceQemu: 'off' });
      if (world.sourceQemu !== 'off' && rules.asksLibvirt) return;
      if (world.sourceVtpm) add({ ...world, sourceVtpm: false });
      else add(source({ ...rest, sourceRecord: 'none' }, rules, { kind: 'destroyed' }));
      return;
    case 'sign-departed':
      add(says({ ...rest, sourceJournal: 'departed' }, 'departed'));
      add({ ...rest, sourceJournal: 'departed' });
      return;
    default:
      add(rest);
  }
}

function commit(rest: World, rules: Rules, effect: SourceEffect, add: Add): void {
  const signed = { kind: 'signed', offer, head } as const;
  if (rest.sourceJournal !== 'offered' && rest.sourceRecord === 'holder' && rest.sourceQemu === 'runs') {
    const entry: World = { ...rest, sourceRecord: 'departing' };
    if (rules.commitsAtOnce) add(source({ ...entry, sourceJournal: 'offered' }, rules, signed));
    else add({ ...entry, sourceTodo: [effect] });
  } else if (rest.sourceRecord === 'departing') {
    add(source({ ...rest, sourceJournal: 'offered' }, rules, signed));
    return;
  }
  add(source(rest, rules, { kind: 'refuse', hint: null }));
  add(source(rest, rules, { kind: 'failed' }));
}

function targetDriver(world: World, rules: Rules, add: Add): void {
  const [effect, ...targetTodo] = world.targetTodo;
  if (effect === undefined || world.target === null) return;
  const rest: World = { ...world, targetTodo };
  const came = world.definition && rules.definitionCounts;
  switch (effect.do) {
    case 'send':
      add(says(rest, nameOf(effect.message, 'target')));
      return;
    case 'attest':
      add(target(rest, rules, { kind: 'signed', evidence }));
      add(target(rest, rules, { kind: 'failed' }));
      return;
    case 'appraise':
      add(target(rest, rules, { kind: 'accepted', trusted }));
      add(target(rest, rules, { kind: 'refuse', hint: null }));
      return;
    case 'stage':
      add({
        ...rest,
        targetRecord: 'staged',
        permit: 'fresh',
        targetJournal: 'staged',
        unsynced: !rules.stagesDurably,
        targetTodo: [{ do: 'open-key' }, ...targetTodo],
      });
      return;
    case 'open-key':
      add(
        target({ ...rest, secret: !world.cli }, rules, { kind: 'stored', head }) ?? {
          ...rest,
          secret: !world.cli,
        },
      );
      add(target(rest, rules, { kind: 'refuse', hint: null }));
      return;
    case 'discard':
      discard(world, rest, add);
      return;
    case 'sign-arrived':
      if (world.targetRecord !== 'staged') return;
      add(
        target(
          {
            ...rest,
            targetRecord: 'holder',
            permit: 'none',
            targetJournal: 'arrived',
            signedArrived: world.signedArrived + 1,
          },
          rules,
          { kind: 'arrival-signed', arrived },
        ),
      );
      return;
    case 'verify-departure':
      add(target({ ...rest, targetJournal: 'done' }, rules, { kind: 'departure-verified' }));
      return;
    case 'check-incoming': {
      const shut: World = { ...rest, admitted: false };
      add(world.targetQemu === 'off' && !came ? target(shut, rules, { kind: 'not-incoming' }) : shut);
      return;
    }
    case 'check-arrival':
      add(world.targetQemu === 'off' && came ? target(rest, rules, { kind: 'moved' }) : rest);
      return;
    default:
      add(rest);
  }
}

/** Secret and vTPM state first, then decision and sealed key in one durable write. Not while libvirt has the VM. */
function discard(world: World, rest: World, add: Add): void {
  if (world.targetRecord !== 'staged') add(rest);
  else if (world.targetQemu !== 'off') return;
  else if (world.secret || world.targetVtpm) add({ ...world, secret: false, targetVtpm: false });
  else add({ ...rest, targetRecord: 'none', permit: 'none', targetJournal: 'aborted' });
}

/** Deadlines, and looks at libvirt (SPEC 6.8). */
function looks(world: World, rules: Rules, add: Add): void {
  const { sourceQemu, targetQemu, permit } = world;
  if (sourceIsFree(world) && world.source !== null) {
    const { tag } = world.source;
    if ('own' in world.source) add(source(world, rules, { kind: 'failed' }));
    const left = sourceQemu === 'off' && (world.reason === 'migrated' || !world.sourceVtpm);
    const watched = tag === 'offered' || tag === 'staged' || tag === 'declined';
    if (watched && world.phase === 'none' && !world.released) {
      if (left && tag !== 'declined') {
        if (rules.repeats) add(source(world, rules, { kind: 'left' }));
      } else add(source(world, rules, { kind: 'stayed' }));
    }
    if (tag === 'aborting' && rules.repeats) add(says(world, 'abort'));
  }
  if (targetIsFree(world) && world.target !== null) {
    const { tag } = world.target;
    if ('own' in world.target || tag === 'staging') add(target(world, rules, { kind: 'failed' }));
    if (tag === 'staged' && targetQemu === 'runs') add(target(world, rules, { kind: 'moved' }));
    const overdue = permit === 'expired' || permit === 'used';
    if (tag === 'staged' && targetQemu === 'off' && overdue) add(target(world, rules, { kind: 'lost' }));
    if (tag === 'arrived' && rules.repeats) add(says(world, 'arrived'));
  }
  if (permit === 'fresh') add({ ...world, permit: 'expired' });
  if (world.unsynced) add({ ...world, unsynced: false });
}

/** SPEC 6.8: the journal says where to go on; what was not committed is refused. */
function restarts(world: World, rules: Rules, add: Add): void {
  const interrupted = { id: session, head, arrived: () => arrived };
  if (world.source === null) {
    const { sourceJournal } = world;
    const resumed = resumedState({ ...interrupted, role: 'source', state: sourceJournal });
    const over = {
      tag: sourceJournal === 'departed' || sourceJournal === 'aborted' ? sourceJournal : 'refused',
      session,
    } as const;
    const todo = sourceJournal === 'destroying' ? ([{ do: 'destroy-copy' }] as const) : [];
    if (resumed?.role === 'source') add({ ...world, source: resumed.state, sourceTodo: todo });
    else add({ ...world, source: over, sourceJournal: over.tag });
  }
  if (world.target === null) {
    const { targetJournal } = world;
    const resumed = resumedState({ ...interrupted, role: 'target', state: targetJournal });
    const over = {
      tag: targetJournal === 'done' || targetJournal === 'aborted' ? targetJournal : 'refused',
      session,
    } as const;
    const sweep: readonly Todo[] = rules.sweeps ? [{ do: 'discard' }] : [];
    const todo: readonly Todo[] = targetJournal === 'arriving' ? [{ do: 'sign-arrived' }] : [];
    const swept: World = rules.forgetsLeftKeys ? { ...world, secret: false } : world;
    if (resumed?.role === 'target') add({ ...swept, target: resumed.state, targetTodo: todo });
    else add({ ...swept, target: over, targetJournal: over.tag, targetTodo: sweep });
  }
}
