/**
 * `scripts/bench --slow-tpm`: VMs leave one host together while each TPM command takes 200 ms, as on hardware. What each pays for trust before it moves: the
 * time from the request until libvirt may move it, and the time that the target's hook holds libvirt. Beside it what follows when it runs there already
 * (*arrived*, *departed*), and what quoting one by one would cost the last: two quotes a VM.
 */
import { readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lab } from '../lab.d/lab.ts';
import { median } from './figures.ts';
import { here, hosts, machine, note, positive, settled, statistics } from './many.ts';
import type { Host } from './many.ts';

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

  close(): Promise<void> {
    return this.#lab.close();
  }

  /** Guests are paused: 32 that run would have the processors to themselves, and no TPM waits for them. */
  async prepare(vms: number, delayMs: number): Promise<readonly string[]> {
    note(`a lab with ${vms} guests, paused, so that they leave the processors alone (minutes)`);
    await this.#lab.must('up', '--tpm-delay', '0');
    await this.#lab.must('install', ...hosts);
    const names = Array.from({ length: vms }, (_, index) => `guest${index}`);
    for (const name of names) {
      await this.#lab.must('guest-define', 'alpha', name);
      await this.#lab.on('alpha', 'tvmmp', 'vm', 'protect', name);
      await this.#lab.on('alpha', 'virsh', '-q', 'start', '--paused', name);
    }
    while ((await statistics(this.#lab, 'alpha')).keyEnvelopes > 1) await sleep(500);
    // As on a host that has run for a while: the agents know how fast their TPM is.
    for (const host of hosts) await this.#lab.must('tpm', host, 'delay', String(delayMs));
    const [first = ''] = names;
    await this.leave('alpha', 'beta', [first]);
    await this.leave('beta', 'alpha', [first]);
    while ((await statistics(this.#lab, 'alpha')).keyEnvelopes > 1) await sleep(500);
    return names;
  }

  async leave(from: Host, to: Host, vms: readonly string[]) {
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
    const hooks = new Map(this.#hooks(to).slice(logged));
    for (const { vm, error } of left) if (error !== null) note(`${vm} stays: ${error}`);
    const moved = left.filter(({ error }) => error === null);
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
  #asked(host: Host): number {
    return readFileSync(this.#tpmLog(host), 'utf8').split('\n').length - 1;
  }

  /** How long the host's hook held each VM that came in so far. */
  #hooks(host: Host): readonly (readonly [string, number])[] {
    const log = join(this.#lab.directory, 'hosts', host, 'fs/var-log-tvmmp/tvmmpd.log');
    return readFileSync(log, 'utf8')
      .split('\n')
      .filter((line) => line.includes('"migrate begin"') && line.includes('hook: allowed'))
      .map((line) => {
        const { vm, ms } = JSON.parse(line) as { readonly vm: string; readonly ms: number };
        return [vm, ms];
      });
  }
}

/** Median and maximum. */
function both(values: readonly number[]) {
  return { median: Math.round(median(values)), max: Math.round(Math.max(...values)) };
}

const { values } = parseArgs({
  options: {
    vms: { type: 'string', default: '32' },
    delay: { type: 'string', default: '200' },
    rounds: { type: 'string', default: '2' },
    json: { type: 'boolean' },
  },
});
const [vms = 0, delayMs = 0, rounds = 0] = positive(
  ['--vms', '--delay (milliseconds)', '--rounds'],
  [values.vms, values.delay, values.rounds],
);
const bench = new SlowTpms();
try {
  const names = await bench.prepare(vms, delayMs);
  const measured = [];
  for (let round = 0; round < rounds; round += 1) {
    const [from, to] = round % 2 === 0 ? (['alpha', 'beta'] as const) : (['beta', 'alpha'] as const);
    const { costs, quotes, tpmCommands, moved } = await bench.leave(from, to, names);
    const found = {
      moved,
      trustMs: both(costs.map(({ agreed, hook }) => agreed + hook)),
      agreedMs: both(costs.map(({ agreed }) => agreed)),
      hookMs: both(costs.map(({ hook }) => hook)),
      afterMs: both(costs.map(({ after }) => after)),
      quotes,
      tpmCommands,
      machine: machine(),
    };
    measured.push(found);
    note(`round ${round + 1}/${rounds}, ${from} -> ${to}: ${JSON.stringify(found)}`);
    if (moved < vms) break;
  }
  const best = [...measured].sort((a, b) => a.trustMs.median - b.trustMs.median)[0];
  note(`\nmachine: ${machine()}; software TPMs, each command held for ${delayMs} ms; guests paused`);
  if (best !== undefined) {
    note(
      `${best.moved} of ${vms} VMs together: trust before the move ${best.trustMs.median} ms (median), ${best.trustMs.max} ms (longest)`,
    );
    note(
      `  of this until libvirt may move it ${best.agreedMs.median} ms, in the target's hook ${best.hookMs.median} ms (medians)`,
    );
    note(
      `  when the VM runs there: arrived and departed ${best.afterMs.median} ms (median), ${best.afterMs.max} ms (longest)`,
    );
    note(`  two quotes a VM one by one would take the last ${2 * vms * delayMs} ms`);
  }
  if (values.json === true)
    process.stdout.write(
      `${JSON.stringify({ vms, delayMs, guests: 'paused', oneByOneQuotesMs: 2 * vms * delayMs, rounds: measured })}\n`,
    );
} finally {
  await bench.close();
}
