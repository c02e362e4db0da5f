/** A lab for chaos: two hosts with tvmmp, gates in their hooks and before their TPMs, their disks on images, one guest that ticks. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ProductLab } from '../support/product-lab.ts';
import type { Tick } from '../../scripts/lab.d/lab.ts';
import type { Guest } from '../support/product-lab.ts';
import { HostDisks } from './disks.ts';
import { HookGates, sessionEnters, TpmGate, tpmGatePort } from './gates.ts';
import type { Hold } from './gates.ts';
import { commandCodes } from './phases.ts';
import type { Place, Side } from './phases.ts';

/** Who is who in one migration. */
export type Route = Readonly<Record<Side, string>>;

interface HostParts {
  readonly hooks: HookGates;
  readonly tpm: TpmGate;
  readonly disks: HostDisks;
}

/** Comes up in half a minute or so and then serves any number of migrations. */
export class ChaosLab {
  readonly lab: ProductLab;
  readonly guest: Guest;
  /** Ticks of runs that were one too many, and were stopped: what a cell says of the guest's ticks is about all that came before too. */
  readonly givenUp: Tick[] = [];
  readonly #hosts: ReadonlyMap<string, HostParts>;

  private constructor(lab: ProductLab, guest: Guest, hosts: ReadonlyMap<string, HostParts>) {
    this.lab = lab;
    this.guest = guest;
    this.#hosts = hosts;
  }

  static async start(): Promise<ChaosLab> {
    const hosts = new Map<string, HostParts>();
    const release = (): void => {
      for (const { tpm, disks } of hosts.values()) {
        tpm.stop();
        disks.release();
      }
    };
    const prepare = async (lab: ProductLab): Promise<() => void> => {
      try {
        for (const host of lab.hostNames) await prepareHost(lab, host, hosts);
      } catch (error) {
        release();
        throw error;
      }
      return release;
    };
    const lab = await ProductLab.start({ prepare });
    try {
      return new ChaosLab(lab, await lab.guest('alpha', 'guest'), hosts);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** Where the guest is. */
  async holder(): Promise<string> {
    for (const host of this.lab.hostNames)
      if ((await this.lab.vm(host, this.guest))?.holder === host) return host;
    throw new Error('no host holds the guest');
  }

  of(host: string): HostParts {
    const parts = this.#hosts.get(host);
    if (parts === undefined) throw new Error(`no host ${host}`);
    return parts;
  }

  /** Sets up what will hold the next migration of the guest where the place says. */
  hold(place: Exclude<Place, { readonly by: 'memory' }>, route: Route): Hold {
    const host = route[place.side];
    if (place.by === 'hook') return this.of(host).hooks.hold(place);
    if (place.by === 'tpm') return this.of(host).tpm.hold(commandCodes[place.command], place.count);
    return sessionEnters(this.lab, host, place.side === 'destination' ? 'target' : place.side, place.state);
  }

  close(): Promise<void> {
    return this.lab.close();
  }
}

/** Before tvmmp is installed: disks on images, gates, and peers that are given up after seconds. */
async function prepareHost(lab: ProductLab, host: string, hosts: Map<string, HostParts>): Promise<void> {
  const directory = lab.hostDirectory(host);
  // libvirt gives a silent peer up after half a minute; here after a few seconds.
  appendFileSync(
    join(directory, 'fs/etc-libvirt/qemu.conf'),
    'keepalive_interval = 1\nkeepalive_count = 5\n',
  );
  const config = join(directory, 'fs/etc-tvmmp/tvmmpd.json');
  writeFileSync(config, readFileSync(config, 'utf8').replace('port=2321', `port=${tpmGatePort}`));
  const hooks = new HookGates(lab, host);
  const disks = HostDisks.make(directory);
  const tpm = new TpmGate(lab, host);
  hosts.set(host, { hooks, tpm, disks });
  // What is mounted over the host's directories is seen from its next boot on.
  await lab.must('reboot', host);
  await tpm.start();
}
