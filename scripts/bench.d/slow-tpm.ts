/**
 * `scripts/bench --slow-tpm`: VMs leave one host together while each TPM command takes 200 ms, as on hardware. What each pays for trust: the time from
 * the request until its agent lets libvirt move it, and the time that hooks of the target hold libvirt: a plain migration has neither. Its turn among those
 * that libvirt begins at once is no part of it, nor what follows when it runs there already (*arrived*, *departed*), which is told beside it.
 * One by one: what the last one would pay if each waited for the one before; a VM that moves alone is measured first.
 */
import { readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lab } from '../lab.d/lab.ts';
import { median, quantile } from './figures.ts';
import { here, hosts, machine, note, positive, settled, statistics } from './many.ts';
import type { Host } from './many.ts';
import { commandsOf, toldCommands } from './tpm-log.ts';

/** What an agent does after a hand-over is done by then: it reads the vTPMs that came 10 to 20 s later (SPEC 4.5). */
const restMs = 30_000;

/** What leave-together.mjs prints of a VM. */
interface Left {
  readonly vm: string;
  readonly times: Readonly<
    Record<'asked' | 'preflight' | 'attest' | 'move' | 'confirm' | 'answered', number>
  >;
  readonly error: string | null;
}

/** Of one VM, milliseconds. */
interface Cost {
  readonly agreed: number;
  readonly hook: number;
  readonly after: number;
}

class SlowTpms {
  readonly #lab = new Lab();
  readonly #running: boolean;

  /** `running`: guests run while they move, each idle but for a line a second; otherwise their CPUs are stopped. */
  constructor(running: boolean) {
    this.#running = running;
  }

  close(): Promise<void> {
    return this.#lab.close();
  }

  /** With the guests, what one of them pays that moves alone. */
  async prepare(vms: number, delayMs: number) {
    note(`a lab with ${vms} guests, ${this.#running ? 'running' : 'paused'} (minutes)`);
    await this.#lab.must('up', '--tpm-delay', '0');
    await this.#lab.must('install', ...hosts);
    const names = Array.from({ length: vms }, (_, index) => `guest${index}`);
    for (const name of names) {
      await this.#lab.must('guest-define', 'alpha', name);
      await this.#lab.on('alpha', 'tvmmp', 'vm', 'protect', name);
      await this.#lab.on('alpha', 'virsh', '-q', 'start', ...(this.#running ? [] : ['--paused']), name);
      if (this.#running) await this.#lab.ticked(name, 'alpha', 1);
    }
    while ((await statistics(this.#lab, 'alpha')).keyEnvelopes > 1) await sleep(500);
    // As on a host that has run for a while: the agents know how fast their TPM is.
    for (const host of hosts) await this.#lab.must('tpm', host, 'delay', String(delayMs));
    const [first = ''] = names;
    await this.leave('alpha', 'beta', [first]);
    const alone = await this.leave('beta', 'alpha', [first]);
    while ((await statistics(this.#lab, 'alpha')).keyEnvelopes > 1) await sleep(500);
    return { names, alone };
  }

  async leave(from: Host, to: Host, vms: readonly string[]) {
    await sleep(restMs);
    for (const host of hosts) truncateSync(this.#tpmLog(host));
    const logged = this.#hooks(to).length;
    const [before, there] = [await statistics(this.#lab, from), await statistics(this.#lab, to)];
    const command = [process.execPath, here('leave-together.mjs'), to, ...vms];
    const left = JSON.parse(await this.#lab.on(from, ...command)) as readonly Left[];
    await settled(this.#lab);
    const quotes = {
      source: (await statistics(this.#lab, from)).quotes - before.quotes,
      target: (await statistics(this.#lab, to)).quotes - there.quotes,
    };
    const tpmCommands = { source: this.#asked(from), target: this.#asked(to) };
    const hooks = new Map<string, number>();
    for (const [vm, ms] of this.#hooks(to).slice(logged)) hooks.set(vm, (hooks.get(vm) ?? 0) + ms);
    for (const { vm, error } of left) if (error !== null) note(`${vm} stays: ${error}`);
    const moved = left.filter(({ error }) => error === null);
    if (!this.#running)
      await this.#refresh(
        to,
        moved.map(({ vm }) => vm),
      );
    const costs: readonly Cost[] = moved.map(({ vm, times }) => ({
      agreed: times.move - times.asked,
      hook: hooks.get(vm) ?? NaN,
      after: times.answered - times.confirm,
    }));
    return { costs, quotes, tpmCommands, moved: moved.length };
  }

  /** QEMU 7.2 dies of an assertion when a VM that came in paused leaves so: each runs for a moment. */
  async #refresh(host: Host, vms: readonly string[]): Promise<void> {
    for (const vm of vms) {
      await this.#lab.on(host, 'virsh', '-q', 'resume', vm);
      await this.#lab.on(host, 'virsh', '-q', 'suspend', vm);
    }
    for (;;) {
      const status = JSON.parse(await this.#lab.on(host, 'tvmmp', 'status', '--json')) as {
        readonly vms: readonly { readonly name: string; readonly state: string }[];
      };
      if (vms.every((name) => status.vms.some((vm) => vm.name === name && vm.state === 'paused'))) return;
      await sleep(100);
    }
  }

  #tpmLog(host: Host): string {
    return join(this.#lab.directory, 'hosts', host, 'log', 'tpm-commands.log');
  }

  /** TPM commands since the log was emptied. */
  #asked(host: Host) {
    return commandsOf(readFileSync(this.#tpmLog(host), 'utf8'));
  }

  /** How long each hook of a host held libvirt so far, and for which VM. */
  #hooks(host: Host): readonly (readonly [string, number])[] {
    const log = join(this.#lab.directory, 'hosts', host, 'fs/var-log-tvmmp/tvmmpd.log');
    return readFileSync(log, 'utf8')
      .split('\n')
      .filter((line) => line.includes('hook: allowed'))
      .map((line) => {
        const { vm, ms } = JSON.parse(line) as { readonly vm: string; readonly ms: number };
        return [vm, ms];
      });
  }
}

/** How times lie, milliseconds. */
function spread(values: readonly number[]) {
  return {
    median: Math.round(median(values)),
    quartiles: [0.25, 0.75].map((part) => Math.round(quantile(values, part))),
    max: Math.round(Math.max(...values)),
  };
}

const { values } = parseArgs({
  options: {
    vms: { type: 'string', default: '32' },
    delay: { type: 'string', default: '200' },
    rounds: { type: 'string', default: '2' },
    running: { type: 'boolean' },
    json: { type: 'boolean' },
  },
});
const [vms = 0, delayMs = 0, rounds = 0] = positive(
  ['--vms', '--delay (milliseconds)', '--rounds'],
  [values.vms, values.delay, values.rounds],
);
const running = values.running === true;
const guests = running ? 'running' : 'paused';
const bench = new SlowTpms(running);
try {
  const { names, alone } = await bench.prepare(vms, delayMs);
  const measured = [];
  for (let round = 0; round < rounds; round += 1) {
    const [from, to] = round % 2 === 0 ? (['alpha', 'beta'] as const) : (['beta', 'alpha'] as const);
    const { costs, quotes, tpmCommands, moved } = await bench.leave(from, to, names);
    const found = {
      moved,
      trustMs: spread(costs.map(({ agreed, hook }) => agreed + hook)),
      agreedMs: spread(costs.map(({ agreed }) => agreed)),
      hookMs: spread(costs.map(({ hook }) => hook)),
      afterMs: spread(costs.map(({ after }) => after)),
      quotes,
      tpmCommands,
      machine: machine(),
    };
    measured.push(found);
    note(`round ${round + 1}/${rounds}, ${from} -> ${to}: ${JSON.stringify(found)}`);
    if (moved < vms) break;
  }
  const aloneMs = Math.round(median(alone.costs.map(({ agreed, hook }) => agreed + hook)));
  const oneByOneMs = { quotes: 2 * vms * delayMs, measuredAlone: vms * aloneMs };
  const best = [...measured].sort((a, b) => a.trustMs.median - b.trustMs.median)[0];
  note(`\nmachine: ${machine()}; software TPMs, each command held for ${delayMs} ms; guests ${guests}`);
  if (best !== undefined) {
    const { trustMs, agreedMs, hookMs, afterMs, tpmCommands, quotes } = best;
    note(
      `${best.moved} of ${vms} VMs together: each pays for trust ${trustMs.median} ms (median; quartiles ${trustMs.quartiles.join(' and ')}), ` +
        `${trustMs.max} ms (longest)`,
    );
    note(
      `  of this until libvirt may move it ${agreedMs.median} ms, in the target's hooks ${hookMs.median} ms (medians)`,
    );
    note(
      `  when the VM runs there: arrived and departed ${afterMs.median} ms (median), ${afterMs.max} ms (longest)`,
    );
    note(`  TPM of the source, ${quotes.source} quotes: ${toldCommands(tpmCommands.source)}`);
    note(`  TPM of the target, ${quotes.target} quotes: ${toldCommands(tpmCommands.target)}`);
    note(`one that moves alone pays ${aloneMs} ms; one by one, computed from this, the last of ${vms} would`);
    note(
      `  pay ${oneByOneMs.measuredAlone} ms, and ${oneByOneMs.quotes} ms if it paid for nothing but two quotes a VM`,
    );
  }
  if (values.json === true)
    process.stdout.write(
      `${JSON.stringify({ vms, delayMs, guests, aloneMs, oneByOneMs, rounds: measured })}\n`,
    );
} finally {
  await bench.close();
}
