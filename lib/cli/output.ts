/** What commands print: JSON for scripts, aligned text for people. */
import { hex } from '../encoding/hex.ts';

const colours = { bold: 1, red: 31, green: 32, yellow: 33 } as const;
export type Colour = keyof typeof colours;

/** Text in a colour where standard output is a terminal and NO_COLOR is not set (no-color.org). */
export function paint(colour: Colour, text: string): string {
  const plain =
    !process.stdout.isTTY || (process.env['NO_COLOR'] ?? '') !== '' || process.env['TERM'] === 'dumb';
  return plain ? text : `\u001b[${colours[colour]}m${text}\u001b[0m`;
}

const ESCAPE = String.fromCharCode(27);
/** Control characters, but for the colours of `paint`. */
const CONTROL = new RegExp(String.raw`(?!${ESCAPE}\[\d{1,2}m)\p{Cc}`, 'gu');

/** Prints lines for people. Names come from other hosts and from files: what would steer a terminal shows as `?`. */
export function print(...lines: readonly string[]): void {
  for (const line of lines)
    process.stdout.write(`${line.replace(CONTROL, '?')}
`);
}

/** Prints the one JSON document of `--json`, on one line unless people look on; bytes in it are hexadecimal. */
export function printJson(value: unknown): void {
  const text = JSON.stringify(
    value,
    (_, member: unknown) => (member instanceof Uint8Array ? hex(member) : member),
    process.stdout.isTTY ? 2 : undefined,
  );
  process.stdout.write(`${text}\n`);
}

/** Rows under a heading, columns aligned, the last one ragged. Empty cells show as `-`. */
export function table(heading: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const cells = [heading, ...rows].map((row) => row.map((cell) => (cell === '' ? '-' : cell)));
  const widths = heading.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - cell.length))
      .join('  ')
      .trimEnd();
  return cells.map((row, index) => (index === 0 ? paint('bold', line(row)) : line(row)));
}

/** `name  value` lines with the values aligned. */
export function fields(entries: readonly (readonly [name: string, value: string])[]): readonly string[] {
  const width = Math.max(...entries.map(([name]) => name.length));
  return entries.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
}

/** A time as people and scripts read it, in UTC to the second: `2026-06-01 12:30:05Z`. */
export function timeText(milliseconds: number | Date): string {
  return new Date(milliseconds)
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d{3}Z$/, 'Z');
}

/** Milliseconds as `850 ms` or `12.3 s`. */
export function durationText(milliseconds: number): string {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** Bytes as `3.2 MiB`. */
export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let [value, unit] = [bytes, 0];
  while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${unit === 0 ? String(value) : value.toFixed(1)} ${units[unit] ?? ''}`;
}

/** The first eight digits: enough to recognise a session or an entry in a table. */
export function short(digest: Uint8Array | string): string {
  return (typeof digest === 'string' ? digest : hex(digest)).slice(0, 8);
}
