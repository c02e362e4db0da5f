/** What can be wrong between two hosts of a lab: nftables and traffic control in their own network namespaces. */
import type { ProductLab } from '../support/product-lab.ts';
import type { Route } from './chaos-lab.ts';
import type { Side } from './phases.ts';

/** One fault at a time, until it is mended. */
export class Network {
  readonly #lab: ProductLab;
  readonly #route: Route;
  #mend: () => Promise<void> = () => Promise.resolve();

  constructor(lab: ProductLab, route: Route) {
    this.#lab = lab;
    this.#route = route;
  }

  /** Both directions, as by a pulled cable. */
  async cut(): Promise<void> {
    const host = this.#route.destination;
    await this.#lab.must('link', host, 'down');
    this.#mend = async () => {
      await this.#lab.must('link', host, 'up');
    };
  }

  /** One direction: nothing arrives at this side. */
  drop(side: Side): Promise<void> {
    return this.#filter([side], 'drop');
  }

  /** Both directions, by chance. */
  lose(percent: number): Promise<void> {
    return this.#filter(['source', 'destination'], `numgen random mod 100 < ${percent} drop`);
  }

  /** A queue that is long and slow, in both directions (a delay: not every kernel has netem). */
  async slow(): Promise<void> {
    const hosts = Object.values(this.#route);
    for (const host of hosts)
      await this.#lab.on(
        host,
        ...'tc qdisc add dev eth0 root tbf rate 256kbit burst 4kb latency 4s'.split(' '),
      );
    this.#mend = async () => {
      for (const host of hosts) await this.#lab.on(host, ...'tc qdisc del dev eth0 root'.split(' '));
    };
  }

  mend(): Promise<void> {
    return this.#mend();
  }

  async #filter(sides: readonly Side[], rule: string): Promise<void> {
    const hosts = sides.map((side) => this.#route[side]);
    const table = `table inet chaos { chain arriving { type filter hook input priority 0; iifname "eth0" ${rule}; }; }`;
    for (const host of hosts) await this.#lab.on(host, 'nft', table);
    this.#mend = async () => {
      for (const host of hosts) await this.#lab.on(host, 'nft', 'delete table inet chaos');
    };
  }
}
