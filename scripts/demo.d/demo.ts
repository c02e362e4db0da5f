/** `scripts/demo`: a trusted migration there and back, three refusals, and the proof, on real parts. */
import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lab } from '../lab.d/lab.ts';
import type { CommandResult, Tick } from '../lab.d/lab.ts';
import { broken, Narrator, printSummary } from './report.ts';
import type { DemoSummary } from './report.ts';

const guest = 'demo';
const uuid = '7d3a1f6e-90b4-4c7e-8a55-1f7b5f1c2d34';
/** Any digest that is not the one that was measured. */
const surprise = 'f'.repeat(64);
const tickDeadlineMs = 120_000;

type Migration = DemoSummary['migrations'][number];
type Refusal = DemoSummary['refusals'][number];

class Demo {
  readonly #lab = new Lab();
  readonly #say: Narrator;

  constructor(json: boolean) {
    this.#say = new Narrator(json);
  }

  async run(): Promise<DemoSummary> {
    await this.#bringUp();
    await this.#protectAndStart();
    const migrations = [await this.#thereByVirsh(), await this.#backByTvmmp()];
    const refusals = [await this.#changedPcr(), await this.#notEnrolled(), await this.#leftBehind()];
    const seen = await this.#ticked('beta', 3);
    const guestSummary = {
      ticksLost: lost(seen),
      pcrUnchanged: new Set(seen.map(({ pcr }) => pcr)).size === 1 && seen[0]?.pcr !== null,
      secretUnsealed: new Set(seen.map(({ secret }) => secret)).size === 1 && seen[0]?.secret !== null,
    };
    return { migrations, guest: guestSummary, refusals, proof: await this.#proof() };
  }

  async close(): Promise<void> {
    this.#say.step('Down: everything that the lab made is removed.');
    await this.#lab.close();
  }

  async #bringUp(): Promise<void> {
    this.#say.step(
      'Three hosts come up, each with a TPM of its own and a measured boot: alpha, beta, gamma.',
    );
    await this.#lab.must('up', '--hosts', 'alpha,beta,gamma');
    this.#say.step(
      'An authority enrols alpha and beta (EK certificate, credential activation) and signs a policy of their PCRs.',
    );
    await this.#lab.must('install', 'alpha', 'beta');
    this.#say.detail(await this.#lab.on('alpha', 'tvmmp', 'status'));
    this.#say.step('gamma has the hook, but nobody enrolled it.');
    await this.#lab.must('arm', 'gamma');
  }

  async #protectAndStart(): Promise<void> {
    this.#say.step(
      'A guest is defined on alpha and protected: its vTPM gets a key sealed to alpha, its proof begins.',
    );
    await this.#lab.must('guest-define', 'alpha', guest, '--uuid', uuid);
    this.#say.detail(await this.#lab.on('alpha', 'tvmmp', 'vm', 'protect', guest));
    this.#say.step(
      'It starts as always, and prints every second a PCR and a secret that it sealed in its vTPM.',
    );
    await this.#lab.on('alpha', 'virsh', '-q', 'start', guest);
    this.#show(await this.#ticked('alpha', 5));
  }

  async #thereByVirsh(): Promise<Migration> {
    this.#say.step(
      'Plain virsh migrate, as its user always typed it. Both hosts attest themselves while libvirt waits for the hook.',
    );
    await this.#must('alpha', migrateCommand('beta'));
    const statistics = await this.#lab.on('beta', 'virsh', '-q', 'domjobinfo', '--completed', guest);
    this.#show(await this.#ticked('beta', 3));
    return { from: 'alpha', to: 'beta', by: 'virsh', ...timesOf(statistics) };
  }

  async #backByTvmmp(): Promise<Migration> {
    this.#say.step('Back again with tvmmp migrate: the same, with a preflight, progress and a summary.');
    await this.#gone('alpha');
    const printed = await this.#lab.on('beta', 'tvmmp', 'migrate', guest, 'alpha', '--json');
    const last = printed.trimEnd().split('\n').at(-1) ?? '{}';
    this.#say.detail(`$ tvmmp migrate ${guest} alpha --json\n${last}`);
    const { totalMs, downtimeMs } = JSON.parse(last) as { totalMs: number; downtimeMs: number };
    const before = (await this.#lab.ticks(guest)).filter(({ host }) => host === 'alpha').length;
    this.#show(await this.#ticked('alpha', before + 3));
    return { from: 'beta', to: 'alpha', by: 'tvmmp', totalMs, downtimeMs };
  }

  async #changedPcr(): Promise<Refusal> {
    this.#say.step('Refusal 1: something that nobody approved was measured into PCR 4 of beta.');
    await this.#gone('beta');
    await this.#lab.must('tpm-extend', 'beta', '4', surprise);
    const refusal = await this.#refused('destination with a changed PCR', 'alpha', migrateCommand('beta'));
    this.#say.detail(await this.#lab.on('alpha', 'tvmmp', 'explain'));
    this.#say.detail('beta reboots, measures what was approved, and is trusted again.');
    await this.#lab.must('reboot', 'beta');
    await this.#lab.must('start-agent', 'beta');
    return refusal;
  }

  async #notEnrolled(): Promise<Refusal> {
    this.#say.step('Refusal 2: gamma is a libvirt host like the others, and not enrolled.');
    return this.#refused('destination not enrolled', 'alpha', migrateCommand('gamma'));
  }

  async #leftBehind(): Promise<Refusal> {
    this.#say.step(
      'Refusal 3: someone keeps a copy of the vTPM state and of the definition on alpha, and starts it after the VM has left.',
    );
    const kept = mkdtempSync(join(this.#lab.directory, 'kept-'));
    const state = join(this.#lab.directory, 'hosts/alpha/fs/var-lib-libvirt/swtpm', uuid);
    try {
      cpSync(state, join(kept, 'vtpm'), { recursive: true });
      const xml = await this.#lab.on('alpha', 'virsh', 'dumpxml', '--inactive', guest);
      await this.#must('alpha', migrateCommand('beta'));
      await this.#gone('alpha');
      cpSync(join(kept, 'vtpm'), state, { recursive: true });
      writeFileSync(join(kept, 'demo.xml'), xml);
      await this.#must('alpha', ['virsh', '-q', 'define', join(kept, 'demo.xml')]);
      return await this.#refused('a left-behind copy started', 'alpha', ['virsh', 'start', guest], 'beta');
    } finally {
      rmSync(kept, { recursive: true, force: true });
    }
  }

  async #proof(): Promise<DemoSummary['proof']> {
    this.#say.step(
      "The VM's proof, verified offline: by someone with two files, the proof and the authority's root certificate.",
    );
    const file = join(process.cwd(), `${guest}.tvmmp-proof`);
    const root = join(this.#lab.directory, 'demo-root.pem');
    await this.#lab.on('beta', 'tvmmp', 'proof', 'export', guest, '-o', file);
    copyFileSync(join(this.#lab.directory, 'hosts/beta/fs/etc-tvmmp/authority.pem'), root);
    const command = ['tvmmp', 'proof', 'verify', file, '--authority', root];
    const shown = await this.#lab.run(['exec', 'gamma', '--', ...command]);
    this.#say.detail(
      `$ tvmmp proof verify ${guest}.tvmmp-proof --authority root.pem\n${shown.stdout}${shown.stderr}`,
    );
    const result = await this.#lab.run(['exec', 'gamma', '--', ...command, '--json']);
    const verdict = JSON.parse(result.stdout) as { readonly entries?: readonly unknown[] };
    const length = readFileSync(file).length;
    this.#say.detail(`${length} bytes`);
    return {
      entries: verdict.entries?.length ?? 0,
      verified: result.status === 0 && shown.status === 0,
      file,
    };
  }

  /** Runs a command that must be refused while the guest ticks on; its last line is the reason. */
  async #refused(name: string, host: string, command: readonly string[], runsOn = 'alpha'): Promise<Refusal> {
    const before = (await this.#lab.ticks(guest)).filter((tick) => tick.host === runsOn).length;
    const result = await this.#lab.run(['exec', host, '--', ...command]);
    this.#say.detail(`${host}$ ${command.join(' ')}\n${result.stderr}`);
    if (result.status === 0 || !result.stderr.includes('tvmmp: refused: ')) {
      throw new Error(`${name}: it was not refused by tvmmp: ${result.stderr}`);
    }
    this.#show(await this.#ticked(runsOn, before + 3));
    return { case: name, reason: reasonOf(result) };
  }

  async #must(host: string, command: readonly string[]): Promise<void> {
    const result = await this.#lab.run(['exec', host, '--', ...command]);
    this.#say.detail(`${host}$ ${command.join(' ')}\n${result.stdout}${result.stderr}`);
    if (result.status !== 0) throw new Error(`${command.join(' ')}: ${result.stderr}`);
  }

  #show(ticks: readonly Tick[]): void {
    for (const { number, host, pcr, secret } of ticks.slice(-3)) {
      this.#say.detail(`tick ${number} on ${host}: pcr=${short(pcr)} secret=${short(secret)}`);
    }
  }

  async #ticked(host: string, count: number): Promise<readonly Tick[]> {
    const end = Date.now() + tickDeadlineMs;
    for (;;) {
      const ticks = await this.#lab.ticks(guest);
      if (ticks.filter((tick) => tick.host === host).length >= count) return ticks;
      if (Date.now() > end) throw new Error(`the guest does not tick on ${host}`);
      await sleep(200);
    }
  }

  /** Waits until a host has destroyed its copy and signed for it. */
  async #gone(host: string): Promise<void> {
    for (let tries = 0; tries < 150; tries += 1) {
      const { vms, migrations } = JSON.parse(await this.#lab.on(host, 'tvmmp', 'status', '--json')) as {
        vms: { name: string; state: string }[];
        migrations: unknown[];
      };
      if (migrations.length === 0 && vms.every(({ name, state }) => name !== guest || state === 'gone'))
        return;
      await sleep(200);
    }
    throw new Error(`${host} did not finish the hand-over`);
  }
}

function migrateCommand(to: string): readonly string[] {
  const flags = ['--live', '--p2p', '--tls', '--persistent', '--undefinesource'];
  return ['virsh', '-q', 'migrate', ...flags, guest, `qemu+tcp://${to}/system`, `tcp://${to}`];
}

/** `virsh domjobinfo --completed`: "Time elapsed: 1234 ms", "Total downtime: 56 ms". */
function timesOf(statistics: string): { totalMs: number; downtimeMs: number } {
  const ms = (label: string): number =>
    Number(new RegExp(`${label}:\\s+(\\d+)`).exec(statistics)?.[1] ?? NaN);
  return { totalMs: ms('Time elapsed'), downtimeMs: ms('Total downtime') };
}

/** How many numbers between the first tick and the last are missing. */
function lost(ticks: readonly Tick[]): number {
  const numbers = new Set(ticks.map(({ number }) => number));
  return Math.max(...numbers) - Math.min(...numbers) + 1 - numbers.size;
}

function reasonOf({ stderr }: CommandResult): string {
  const text = stderr.trim().split('\n').at(-1) ?? '';
  return text.replace(/^.*?tvmmp: refused: /, '');
}

function short(hex: string | null): string {
  return hex === null ? 'ERROR' : `${hex.slice(0, 12)}…`;
}

const json = process.argv.includes('--json');
const demo = new Demo(json);
const summary = await demo.run().finally(() => demo.close());
printSummary(json ? process.stderr : process.stdout, summary);
const failures = broken(summary);
for (const failure of failures) process.stderr.write(`demo: ${failure}\n`);
if (json) process.stdout.write(`${JSON.stringify(summary)}\n`);
process.exitCode = failures.length === 0 ? 0 : 1;
