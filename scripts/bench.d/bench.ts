/** `scripts/bench`: alternating pairs of plain and trusted migrations in two labs side by side. */
import { cpus, totalmem } from 'node:os';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lab } from '../lab.d/lab.ts';
import { median, sum } from './figures.ts';

const guest = 'bench';
const hookCalls = 100;
const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

/** `statistics` of lib/agent/methods.ts. */
interface Statistics {
  readonly quotes: number;
  readonly tpmCommands: Readonly<Record<string, number>>;
  readonly bridgeTpmCommands: number;
  readonly roundTrips: number;
  readonly stepsMs: Readonly<Record<string, readonly number[]>>;
  readonly peakRssBytes: number;
}

interface Sample {
  readonly totalMs: number;
  readonly downtimeMs: number;
}

interface Cost {
  readonly quotes: number;
  readonly tpmCommands: number;
  readonly roundTrips: number;
}

class Bench {
  readonly #plain = new Lab();
  readonly #ours = new Lab();

  async close(): Promise<void> {
    await this.#plain.close();
    await this.#ours.close();
  }

  async prepare(): Promise<void> {
    note('two labs: plain libvirt, and the same with tvmmp');
    await this.#plain.must('up', '--certs', 'self');
    await this.#plain.must('guest-define', 'alpha', guest, '--encrypted');
    await this.#ours.must('up');
    await this.#ours.must('install', 'alpha', 'beta');
    await this.#ours.must('guest-define', 'alpha', guest);
    await this.#ours.on('alpha', 'tvmmp', 'vm', 'protect', guest);
    for (const lab of [this.#plain, this.#ours]) {
      await lab.on('alpha', 'virsh', '-q', 'start', guest);
      await lab.ticked(guest, 'alpha', 3);
    }
  }

  async run(pairs: number) {
    const plain: Sample[] = [];
    const ours: Sample[] = [];
    const costs: { source: Cost; target: Cost }[] = [];
    // One of each first, not counted: files in the page cache, code compiled.
    for (let pair = -1; pair < pairs; pair += 1) {
      const route =
        pair % 2 === 0 ? ({ from: 'beta', to: 'alpha' } as const) : ({ from: 'alpha', to: 'beta' } as const);
      const plainSample = await migrate(this.#plain, route.from, route.to);
      const before = await this.#statistics();
      const ourSample = await migrate(this.#ours, route.from, route.to);
      await this.#settled();
      const after = await this.#statistics();
      if (pair === -1) continue;
      plain.push(plainSample);
      ours.push(ourSample);
      costs.push({
        source: cost(before[route.from], after[route.from]),
        target: cost(before[route.to], after[route.to]),
      });
      note(
        `pair ${pair + 1}/${pairs} ${route.from} -> ${route.to}: plain ${Math.round(plainSample.totalMs)} ms ` +
          `(${plainSample.downtimeMs} down), ours ${Math.round(ourSample.totalMs)} ms (${ourSample.downtimeMs} down)`,
      );
    }
    const end = await this.#statistics();
    return { plain, ours, costs, end, hookMs: await this.#hookMs() };
  }

  async #statistics(): Promise<{ alpha: Statistics; beta: Statistics }> {
    const of = async (host: string): Promise<Statistics> =>
      JSON.parse(await this.#ours.on(host, process.execPath, here('statistics.mjs'))) as Statistics;
    return { alpha: await of('alpha'), beta: await of('beta') };
  }

  /** Waits until *departed* is signed: it belongs to the migration's cost. */
  async #settled(): Promise<void> {
    for (const host of ['alpha', 'beta']) {
      for (;;) {
        const { migrations } = JSON.parse(await this.#ours.on(host, 'tvmmp', 'status', '--json')) as {
          migrations: unknown[];
        };
        if (migrations.length === 0) break;
        await sleep(100);
      }
    }
  }

  async #hookMs(): Promise<readonly number[]> {
    const host = (await this.#ours.on('alpha', 'virsh', '-q', 'list', '--name')).includes(guest)
      ? 'alpha'
      : 'beta';
    const file = join(this.#ours.directory, 'bench.xml');
    writeFileSync(file, await this.#ours.on(host, 'virsh', 'dumpxml', guest));
    const client = '/etc/libvirt/hooks/qemu.d/50-tvmmp';
    const printed = await this.#ours.on(
      host,
      process.execPath,
      here('hook-time.mjs'),
      client,
      file,
      String(hookCalls),
    );
    return JSON.parse(printed) as number[];
  }
}

/** Wall time of `virsh migrate`, and the downtime that libvirt reports. */
async function migrate(lab: Lab, from: string, to: string): Promise<Sample> {
  const flags = ['--live', '--p2p', '--tls', '--persistent', '--undefinesource'];
  const began = process.hrtime.bigint();
  await lab.on(from, 'virsh', '-q', 'migrate', ...flags, guest, `qemu+tcp://${to}/system`, `tcp://${to}`);
  const totalMs = Number(process.hrtime.bigint() - began) / 1e6;
  const statistics = await lab.on(to, 'virsh', '-q', 'domjobinfo', '--completed', guest);
  const downtimeMs = Number(/Total downtime:\s+(\d+)/.exec(statistics)?.[1]);
  const ticks = (await lab.ticks(guest)).filter(({ host }) => host === to).length;
  await lab.ticked(guest, to, ticks + 2);
  return { totalMs, downtimeMs };
}

function cost(before: Statistics, after: Statistics): Cost {
  const commands = (statistics: Statistics): number =>
    sum(Object.values(statistics.tpmCommands)) + statistics.bridgeTpmCommands;
  return {
    quotes: after.quotes - before.quotes,
    tpmCommands: commands(after) - commands(before),
    roundTrips: after.roundTrips - before.roundTrips,
  };
}

function note(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}

const { values } = parseArgs({
  options: { pairs: { type: 'string', default: '10' }, json: { type: 'boolean' } },
});
const pairs = Number(values.pairs);
if (!Number.isInteger(pairs) || pairs < 10) {
  process.stderr.write('bench: --pairs wants a number of at least 10\n');
  process.exit(2);
}
const bench = new Bench();
try {
  await bench.prepare();
  const { plain, ours, costs, end, hookMs } = await bench.run(pairs);
  const ratio = (of: (sample: Sample) => number): number =>
    median(ours.map((sample, index) => of(sample) / of(plain[index] ?? sample)));
  const figures = {
    pairs,
    totalRatio: round(
      median(ours.map(({ totalMs }) => totalMs)) / median(plain.map(({ totalMs }) => totalMs)),
    ),
    downtimeRatio: round(
      median(ours.map(({ downtimeMs }) => downtimeMs)) / median(plain.map(({ downtimeMs }) => downtimeMs)),
    ),
    quotes: {
      source: median(costs.map(({ source }) => source.quotes)),
      target: median(costs.map(({ target }) => target.quotes)),
    },
    tpmCommands: {
      source: median(costs.map(({ source }) => source.tpmCommands)),
      target: median(costs.map(({ target }) => target.tpmCommands)),
    },
    roundTrips: median(costs.map(({ source, target }) => Math.max(source.roundTrips, target.roundTrips))),
    agentPeakRssMiB: Math.round(Math.max(end.alpha.peakRssBytes, end.beta.peakRssBytes) / 2 ** 20),
    hookMedianMs: round(median(hookMs)),
  };
  const out = (text: string): void => void process.stderr.write(`${text}\n`);
  out(
    `\nmachine: ${cpus().length} x ${cpus()[0]?.model ?? '?'}, ${Math.round(totalmem() / 2 ** 30)} GiB; software TPMs`,
  );
  out(
    `total:    plain ${Math.round(median(plain.map((s) => s.totalMs)))} ms, ours ${Math.round(median(ours.map((s) => s.totalMs)))} ms; ratio of medians ${figures.totalRatio}, median of ratios ${round(ratio((s) => s.totalMs))}`,
  );
  out(
    `downtime: plain ${median(plain.map((s) => s.downtimeMs))} ms, ours ${median(ours.map((s) => s.downtimeMs))} ms; ratio of medians ${figures.downtimeRatio}, median of ratios ${round(ratio((s) => s.downtimeMs))}`,
  );
  out(
    `per migration: quotes ${figures.quotes.source} + ${figures.quotes.target}, TPM commands ${figures.tpmCommands.source} + ${figures.tpmCommands.target} (source + target), ${figures.roundTrips} round trips`,
  );
  out(
    `agent: peak ${figures.agentPeakRssMiB} MiB; hook client: ${figures.hookMedianMs} ms a call, process start included`,
  );
  out('protocol steps, median ms:');
  const steps = new Map<string, number[]>();
  for (const { stepsMs } of [end.alpha, end.beta]) {
    for (const [name, times] of Object.entries(stepsMs))
      steps.set(name, [...(steps.get(name) ?? []), ...times]);
  }
  for (const [name, times] of [...steps].sort()) out(`  ${name.padEnd(24)} ${round(median(times))}`);
  if (values.json === true) process.stdout.write(`${JSON.stringify(figures)}\n`);
} finally {
  await bench.close();
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
