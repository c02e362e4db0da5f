/** What happens in one run, drawn from its seed. Each run has faults of its own kinds and frequency: rare ones come together that way. */
import { randomOf } from './kernel.ts';

/** What operators and users do, and how often it is drawn. */
const work = {
  virsh: 16,
  tvmmp: 16,
  evacuate: 2,
  start: 8,
  resume: 3,
  stop: 1,
  pause: 1,
  save: 1,
  'start-elsewhere': 1,
  cancel: 2,
  'resolve-keep': 2,
  'resolve-give-up': 2,
  'end-double': 2,
} as const;

/** What fails, with the weight that it has where a run has it. */
const faults = {
  'agent-dies': 3,
  'agent-dies-writing': 6,
  'libvirtd-restarts': 2,
  'power-cut': 2,
  'link-down': 2,
  'link-one-way': 3,
  'ledger-down': 1,
  'messages-lost': 2,
  'message-lost': 3,
  'answer-lost': 1,
  'message-again': 3,
  'tpm-fails': 2,
  'tpm-slow': 1,
  'disk-full': 2,
  'other-system': 1,
  'clock-steps': 2,
  revoked: 1,
} as const;

export type WorkKind = keyof typeof work;
export type FaultKind = keyof typeof faults;
export type ActionKind = WorkKind | FaultKind;

/** One thing that happens, this long after the one before; `a`, `b`, `c` are numbers from 0 to 1 that say where and how much. */
export interface Action {
  readonly afterMs: number;
  readonly kind: ActionKind;
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

/** A run that can be had again: the seed of the world, and what happens in it. */
export interface Plan {
  readonly seed: number;
  readonly hosts: number;
  readonly vms: number;
  readonly actions: readonly Action[];
}

export function isFault(kind: ActionKind): kind is FaultKind {
  return kind in faults;
}

/** The plan of a seed with this many actions. */
export function planOf(seed: number, size: { readonly actions: number }): Plan {
  const random = randomOf(seed ^ 0x5eed);
  const hosts = 2 + Math.floor(random() * 4);
  const vms = 1 + Math.floor(random() * random() * 16);
  const paceMs = 100 + (6_000 * random()) / vms;
  const frequency = 0.02 + 0.5 * random() * random();
  const broken = lot(faults, (weight) => (random() < 0.5 ? weight : 0));
  const done = lot(work, (weight) => weight);
  const actions = Array.from({ length: size.actions }, (): Action => {
    const kinds: readonly ActionKind[] = broken.length > 0 && random() < frequency ? broken : done;
    return {
      afterMs: random() < 0.3 ? random() * 100 : random() * 2 * paceMs,
      kind: kinds[Math.floor(random() * kinds.length)] ?? 'virsh',
      a: random(),
      b: random(),
      c: random(),
    };
  });
  return { seed, hosts, vms, actions };
}

function lot<Kind extends string>(
  weights: Readonly<Record<Kind, number>>,
  change: (weight: number) => number,
): readonly Kind[] {
  return Object.entries<number>(weights).flatMap(([kind, weight]) =>
    Array<Kind>(change(weight)).fill(kind as Kind),
  );
}
