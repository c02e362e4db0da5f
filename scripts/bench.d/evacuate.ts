/**
 * `scripts/bench --evacuate`: a host is emptied, by plain libvirt (same vTPM encryption, same TLS, as many `virsh migrate` at a time) and by `tvmmp evacuate`,
 * in turn in two labs side by side. The figure is the ratio of the medians.
 */
import { parseArgs } from 'node:util';
import { Lab } from '../lab.d/lab.ts';
import { median } from './figures.ts';
import { machine, note, positive, settled } from './many.ts';
import type { Host } from './many.ts';

const flags = ['--live', '--p2p', '--tls', '--persistent', '--undefinesource'];

class Evacuations {
  readonly #plain = new Lab();
  readonly #ours = new Lab();
  readonly #vms: readonly string[];
  readonly #parallel: number;

  constructor(vms: number, parallel: number) {
    this.#vms = Array.from({ length: vms }, (_, index) => `guest${index}`);
    this.#parallel = parallel;
  }

  async close(): Promise<void> {
    await this.#plain.close();
    await this.#ours.close();
  }

  /** Guests run, and have booted: each writes a line a second, and is idle otherwise. */
  async prepare(): Promise<void> {
    note(`two labs with ${this.#vms.length} guests each: plain libvirt, and the same with tvmmp (minutes)`);
    await this.#plain.must('up', '--certs', 'self');
    await this.#ours.must('up');
    await this.#ours.must('install', 'alpha', 'beta');
    for (const vm of this.#vms) {
      await this.#plain.must('guest-define', 'alpha', vm, '--encrypted');
      await this.#ours.must('guest-define', 'alpha', vm);
      await this.#ours.on('alpha', 'tvmmp', 'vm', 'protect', vm);
      for (const lab of [this.#plain, this.#ours]) {
        await lab.on('alpha', 'virsh', '-q', 'start', vm);
        await lab.ticked(vm, 'alpha', 1);
      }
    }
  }

  /** Milliseconds until the host is empty. */
  async plain(from: Host, to: Host): Promise<number> {
    const migrate = `virsh -q migrate ${flags.join(' ')} {} qemu+tcp://${to}/system tcp://${to}`;
    const all = `printf '%s\\n' ${this.#vms.join(' ')} | xargs -P ${this.#parallel} -I{} ${migrate}`;
    return timed(() => this.#plain.on(from, 'bash', '-c', all));
  }

  /** The same by tvmmp; until the command says so, which waits for the source's copies to be destroyed. */
  async ours(from: Host, to: Host): Promise<number> {
    const command = ['tvmmp', 'evacuate', '--to', to, '--parallel', String(this.#parallel), '--json'];
    let printed = '';
    const took = await timed(async () => {
      printed = await this.#ours.on(from, ...command);
    });
    const { moved } = JSON.parse(printed) as { readonly moved: readonly unknown[] };
    if (moved.length !== this.#vms.length) throw new Error(`not all VMs moved: ${printed}`);
    await settled(this.#ours);
    return took;
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - began) / 1e6;
}

const { values } = parseArgs({
  options: {
    vms: { type: 'string', default: '16' },
    parallel: { type: 'string', default: '4' },
    pairs: { type: 'string', default: '6' },
    json: { type: 'boolean' },
  },
});
const [vms = 0, parallel = 0, pairs = 0] = positive(
  ['--vms', '--parallel', '--pairs'],
  [values.vms, values.parallel, values.pairs],
);
const bench = new Evacuations(vms, parallel);
try {
  await bench.prepare();
  const plainMs: number[] = [];
  const oursMs: number[] = [];
  // One of each first, not counted: files in the page cache, code compiled.
  for (let pair = 0; pair <= pairs; pair += 1) {
    const [from, to] = pair % 2 === 0 ? (['alpha', 'beta'] as const) : (['beta', 'alpha'] as const);
    // Which comes first changes from pair to pair.
    const first = pair % 4 < 2 ? await bench.plain(from, to) : null;
    const ours = await bench.ours(from, to);
    const plain = first ?? (await bench.plain(from, to));
    if (pair === 0) continue;
    plainMs.push(plain);
    oursMs.push(ours);
    note(`pair ${pair}/${pairs}: plain ${Math.round(plain)} ms, ours ${Math.round(ours)} ms; ${machine()}`);
  }
  const ratios = oursMs.map((ours, index) => ours / (plainMs[index] ?? NaN));
  const figures = {
    vms,
    parallel,
    pairs,
    plainMs: Math.round(median(plainMs)),
    oursMs: Math.round(median(oursMs)),
    ratioOfMedians: Number((median(oursMs) / median(plainMs)).toFixed(3)),
    medianOfRatios: Number(median(ratios).toFixed(3)),
    machine: machine(),
  };
  note(`\nmachine: ${figures.machine}; software TPMs`);
  note(
    `${vms} VMs, ${parallel} at a time: plain ${figures.plainMs} ms, ours ${figures.oursMs} ms; ratio of medians ` +
      `${figures.ratioOfMedians}, median of ratios ${figures.medianOfRatios}`,
  );
  if (values.json === true) process.stdout.write(`${JSON.stringify(figures)}\n`);
} finally {
  await bench.close();
}
