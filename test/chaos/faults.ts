/** The faults: what is done to a host in the middle of a migration, and how it is mended, as a supervisor or the world would. */
import type { ChaosLab, Route } from './chaos-lab.ts';
import { Network } from './network.ts';
import type { Phase, Side } from './phases.ts';
import { cutPower, processOf, signal } from './processes.ts';
import type { Victim } from './processes.ts';

/** Where a fault strikes. */
export interface Scene {
  readonly chaos: ChaosLab;
  readonly route: Route;
  readonly side: Side;
}

/** Mends what was broken. */
export type Heal = () => Promise<void>;

/** One fault. */
export interface Fault {
  readonly name: string;
  readonly what: string;
  /** On which hosts. A fault of the network as a whole has one entry. */
  readonly sides: readonly Side[];
  /** Whether there is anything to strike in this phase. */
  readonly applies: (phase: Phase, side: Side) => boolean;
  readonly strike: (scene: Scene) => Promise<Heal>;
  /** From the strike until it is mended. */
  readonly lastsMs: number;
  /** Whether the guest may lose its vTPM until it is started again. */
  readonly losesVtpm?: true;
  /** Whether the guest’s vTPM answers nothing for the time, so that a command may run into the time-out of the guest’s driver. */
  readonly stopsVtpm?: true;
}

/** systemd restarts both daemons after a second (packaging/tvmmpd.service). */
const restartMs = 1_000;
/** Longer than libvirt's keepalive in this lab (5 s). */
const stopMs = 8_000;
/** Of a TPM that takes a second a command: a migration needs six on each host. */
const slowTpmMs = 15_000;
const bothSides: readonly Side[] = ['source', 'destination'];

const always = (): boolean => true;
const guestRuns = (phase: Phase, side: Side): boolean => phase.guestAt[side];
const hookWaits = (phase: Phase): boolean => phase.hookClient;

const hostOf = ({ route, side }: Scene): string => route[side];

async function strikeProcess(scene: Scene, victim: Victim, name: 'SIGKILL' | 'SIGSTOP'): Promise<number> {
  const { chaos } = scene;
  const pid = await processOf(chaos.lab, hostOf(scene), victim, chaos.guest);
  await signal(pid, name);
  return pid;
}

/** What brings a killed daemon back. */
const restarts: Readonly<Partial<Record<Victim, string>>> = {
  agent: 'start-agent',
  libvirtd: 'start-libvirtd',
};

function killOf(
  victim: Victim,
  rest: Pick<Fault, 'sides' | 'applies'> & { readonly losesVtpm?: true },
): Fault {
  return {
    name: `${victim}-kill`,
    what: `SIGKILL of ${inWords[victim]}${victim in restarts ? ', which is started again a second later' : ''}`,
    lastsMs: restartMs,
    strike: async (scene) => {
      await strikeProcess(scene, victim, 'SIGKILL');
      const restart = restarts[victim];
      return async () => {
        if (restart !== undefined) await scene.chaos.lab.must(restart, hostOf(scene));
      };
    },
    ...rest,
  };
}

function stopOf(victim: Victim, rest: Pick<Fault, 'sides' | 'applies' | 'stopsVtpm'>): Fault {
  return {
    name: `${victim}-stop`,
    what: `SIGSTOP of ${inWords[victim]}, and SIGCONT ${stopMs / 1000} s later`,
    lastsMs: stopMs,
    strike: async (scene) => {
      const pid = await strikeProcess(scene, victim, 'SIGSTOP');
      return async () => {
        try {
          await signal(pid, 'SIGCONT');
        } catch (error) {
          // libvirt may have ended it meanwhile.
          if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
        }
      };
    },
    ...rest,
  };
}

const inWords: Readonly<Record<Victim, string>> = {
  agent: 'the agent',
  libvirtd: 'libvirtd',
  qemu: 'the guest’s QEMU',
  swtpm: 'the guest’s swtpm',
  'hook-client': 'the hook client that waits for the agent',
};

function network(name: string, what: string, strike: (net: Network) => Promise<void>): Fault {
  return {
    name: `link-${name}`,
    what,
    sides: ['destination'],
    applies: always,
    lastsMs: stopMs,
    strike: async ({ chaos, route }) => {
      const net = new Network(chaos.lab, route);
      await strike(net);
      return () => net.mend();
    },
  };
}

export const faults: readonly Fault[] = [
  killOf('agent', { sides: bothSides, applies: always }),
  {
    name: 'power-cut',
    what: 'loss of power: all processes of the host end at once, its disk keeps what was synced, its TPM is reset; it boots again',
    sides: bothSides,
    applies: always,
    lastsMs: restartMs,
    strike: async (scene) => {
      const { lab } = scene.chaos;
      const host = hostOf(scene);
      const parts = scene.chaos.of(host);
      await cutPower(lab, host);
      parts.disks.losePower();
      return async () => {
        await lab.must('reboot', host, '--hard');
        await parts.tpm.start();
        await lab.must('start-agent', host);
      };
    },
  },
  killOf('libvirtd', { sides: bothSides, applies: always }),
  killOf('qemu', { sides: bothSides, applies: guestRuns }),
  killOf('swtpm', { sides: bothSides, applies: guestRuns, losesVtpm: true }),
  killOf('hook-client', { sides: ['destination'], applies: hookWaits }),
  network('cut', 'the destination’s cable is pulled for 8 s', (net) => net.cut()),
  {
    name: 'disk-full',
    what: 'no byte is left on the disk of the agent’s state, for 8 s',
    sides: bothSides,
    applies: always,
    lastsMs: stopMs,
    strike: (scene) => {
      const empty = scene.chaos.of(hostOf(scene)).disks.fill();
      return Promise.resolve(() => {
        empty();
        return Promise.resolve();
      });
    },
  },
  {
    name: 'tpm-fails',
    what: 'the host’s TPM answers every command with TPM_RC_FAILURE for 8 s',
    sides: bothSides,
    applies: always,
    lastsMs: stopMs,
    strike: (scene) => {
      const { tpm } = scene.chaos.of(hostOf(scene));
      tpm.fail(true);
      return Promise.resolve(() => {
        tpm.fail(false);
        return Promise.resolve();
      });
    },
  },
  {
    name: 'tpm-slow',
    what: 'the host’s TPM takes a second for each command, for 15 s',
    sides: bothSides,
    applies: always,
    lastsMs: slowTpmMs,
    strike: (scene) => {
      const { tpm } = scene.chaos.of(hostOf(scene));
      tpm.delay(1);
      return Promise.resolve(() => {
        tpm.delay(0);
        return Promise.resolve();
      });
    },
  },
  stopOf('agent', { sides: bothSides, applies: always }),
  stopOf('libvirtd', { sides: bothSides, applies: always }),
  stopOf('qemu', { sides: bothSides, applies: guestRuns }),
  stopOf('swtpm', { sides: bothSides, applies: guestRuns, stopsVtpm: true }),
  stopOf('hook-client', { sides: ['destination'], applies: hookWaits }),
  network('to-destination', 'nothing that the source sends arrives, for 8 s', (net) =>
    net.drop('destination'),
  ),
  network('to-source', 'nothing that the destination sends arrives, for 8 s', (net) => net.drop('source')),
  network('loss', '30 % of all packets are lost in both directions, for 8 s', (net) => net.lose(30)),
  network(
    'slow',
    'the link carries 256 kbit/s with a long queue: seconds of delay under load, for 8 s',
    (net) => net.slow(),
  ),
];
