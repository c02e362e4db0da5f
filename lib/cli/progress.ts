/** How a long command shows where it stands: a bar on a terminal, a line a step otherwise. Always on standard error. */
import type { Progress } from '../agent/control-protocol.ts';

const BAR_CELLS = 30;

/** Shows one command's progress; `end` before anything else is printed. */
export class ProgressView {
  readonly #silent: boolean;
  readonly #bar: boolean;
  #step = '';
  #open = false;

  constructor(options: { readonly silent: boolean }) {
    this.#silent = options.silent;
    this.#bar = process.stderr.isTTY && process.env['TERM'] !== 'dumb';
  }

  show({ step, message, fraction }: Progress): void {
    if (this.#silent) return;
    const line = fraction === undefined ? `${step}: ${message}` : `${step}: ${bar(fraction)} ${message}`;
    const isNew = step !== this.#step;
    if (this.#bar) {
      const columns = process.stderr.columns > 0 ? process.stderr.columns : 80;
      if (isNew) this.end();
      process.stderr.write(`\r\u001b[K${line.slice(0, Math.max(20, columns - 1))}`);
      this.#open = true;
    } else if (isNew) {
      process.stderr.write(`${step}: ${message}\n`);
    }
    this.#step = step;
  }

  /** Leaves the bar's line. */
  end(): void {
    if (this.#open) process.stderr.write('\n');
    this.#open = false;
  }
}

/** `[#########.....................]  30%` */
export function bar(fraction: number): string {
  const within = Math.min(1, Math.max(0, Number.isFinite(fraction) ? fraction : 0));
  const full = Math.round(within * BAR_CELLS);
  const percent = String(Math.floor(within * 100)).padStart(3);
  return `[${'#'.repeat(full)}${'.'.repeat(BAR_CELLS - full)}] ${percent}%`;
}
