/** What fate does in a run: each fault ends by itself after a while, and no new one begins once the run is at rest. */
import type { MessageKind } from '../../lib/protocol/messages.ts';
import type { SimulatedHost } from './host.ts';
import { ledgerPlace } from './ledger.ts';
import type { Kernel } from './kernel.ts';
import type { Network } from './network.ts';
import { at } from './operator.ts';
import type { Action, FaultKind } from './plan.ts';
import { revocationsOf } from './revocation.ts';
import type { World } from '../support/proof-world.ts';

/** Messages after which a session is in a state of its own until they are said again. */
const losable: readonly MessageKind[] = [
  'offer',
  'staged',
  'arrived',
  'abort',
  'aborted',
  'query',
  'departed',
];

export class Fate {
  readonly #kernel: Kernel;
  readonly #network: Network;
  readonly #hosts: readonly SimulatedHost[];
  readonly #world: World;
  #resting = false;
  #revocations = 0;

  constructor(kernel: Kernel, network: Network, hosts: readonly SimulatedHost[], world: World) {
    this.#kernel = kernel;
    this.#network = network;
    this.#hosts = hosts;
    this.#world = world;
  }

  strike(kind: FaultKind, { a, b, c }: Action): void {
    const host = at(this.#hosts, a);
    const elsewhere = at(
      this.#hosts.filter((one) => one !== host),
      c,
    );
    const { machine, disk, tpm } = host;
    // Now and then long enough that administrators lose patience.
    const spanMs = (200 + c * 20_000) * (c > 0.85 ? 5 : 1);
    const later = (work: () => void): void => {
      this.#kernel.at(spanMs, () => {
        if (!this.#resting) work();
      });
    };
    const comesBack = (): void => {
      later(() => {
        host.startAgent();
      });
    };
    switch (kind) {
      case 'agent-dies':
        host.killAgent();
        comesBack();
        return;
      case 'agent-dies-writing':
        disk.endsAfter = Math.floor(c * 8);
        disk.endsDone = (c * 8) % 1 < 0.5;
        comesBack();
        return;
      case 'libvirtd-restarts':
        if (!machine.libvirtd.alive) return;
        machine.stopLibvirtd();
        later(() => {
          if (machine.power.alive && !machine.libvirtd.alive) machine.startLibvirtd();
        });
        return;
      case 'power-cut':
        machine.powerOff();
        host.agent = null;
        later(() => {
          if (!machine.power.alive) machine.powerOn();
          host.startAgent();
        });
        return;
      case 'link-down':
      case 'link-one-way':
        this.#network.link(host.name, elsewhere.name, false);
        if (kind === 'link-down') this.#network.link(elsewhere.name, host.name, false);
        this.#network.link(host.name, ledgerPlace, false);
        later(() => {
          this.#network.link(host.name, ledgerPlace, true);
          this.#network.link(host.name, elsewhere.name, true);
          this.#network.link(elsewhere.name, host.name, true);
        });
        return;
      case 'ledger-down':
        for (const { name } of this.#hosts) this.#network.link(name, ledgerPlace, false);
        later(() => {
          for (const { name } of this.#hosts) this.#network.link(name, ledgerPlace, true);
        });
        return;
      case 'messages-lost':
        this.#network.breakage = 0.3;
        this.#network.delayMs = 200;
        later(() => {
          this.#network.breakage = 0;
          this.#network.delayMs = 5;
        });
        return;
      case 'message-again':
        if (b < 0.4) this.#network.repeat(Math.floor(c * 128));
        else if (b < 0.7) this.#network.forge(Math.floor(c * 128));
        else if (b < 0.8) this.#network.refuse(Math.floor(c * 128));
        else this.#network.refusesNext = 'hello';
        return;
      case 'message-lost':
        this.#network.losesNext = at(losable, c);
        return;
      case 'answer-lost':
        this.#network.losesAnswerMs = spanMs;
        return;
      case 'tpm-fails':
        tpm.failing = true;
        later(() => {
          tpm.failing = false;
        });
        return;
      case 'tpm-slow':
        tpm.delayMs = 1_000;
        later(() => {
          tpm.delayMs = 10;
        });
        return;
      case 'disk-full':
        disk.full = true;
        later(() => {
          disk.full = false;
        });
        return;
      case 'other-system':
        host.boot('another');
        later(() => {
          host.boot('base');
        });
        return;
      case 'clock-steps':
        host.clockOffMs += (c - 0.5) * 600_000;
        return;
      case 'revoked':
        this.#revoke(b < 0.5 ? [host] : [], elsewhere);
        later(() => {
          this.#revoke([], elsewhere);
        });
        return;
    }
  }

  /** Everything works again, and stays so. */
  rest(): void {
    this.#resting = true;
    this.#network.healAll();
    this.#network.delayMs = 5;
    for (const host of this.#hosts) {
      host.disk.full = false;
      host.disk.endsAfter = null;
      host.tpm.failing = false;
      host.tpm.delayMs = 10;
      host.boot('base');
      if (this.#revocations > 0) this.#revoke([], host);
      if (!host.machine.power.alive) host.machine.powerOn();
      if (!host.machine.libvirtd.alive) host.machine.startLibvirtd();
      host.startAgent();
    }
  }

  /** The authority's next list comes to one host; the others hear of it from their peers. */
  #revoke(revoked: readonly SimulatedHost[], told: SimulatedHost): void {
    this.#revocations += 1;
    const enrolled = revoked.map((host) => host.enrolled);
    told.revocations.learn(revocationsOf(this.#world, this.#revocations, enrolled, this.#kernel.time));
  }
}
