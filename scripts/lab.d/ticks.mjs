// The guest's ticks on all hosts, in the order of the guest's clock. Arguments: HOST=FILE, its console's log there.
// A migration can cut a line in two: its head is then on one host and its tail on the other, and they are joined again.
import { existsSync, readFileSync } from 'node:fs';

const whole = /^tick \d+ (?:pcr=[0-9a-f]{64} secret=[0-9a-f]{64} ok|ERROR 0x[0-9a-f]+) t=(\d{13})$/;
const ticks = [];
const heads = [];
const tails = [];

for (const argument of process.argv.slice(2)) {
  const at = argument.indexOf('=');
  const [host, file] = [argument.slice(0, at), argument.slice(at + 1)];
  if (!existsSync(file)) continue;
  // What came after a head that was cut off here begins anew in the same line.
  const text = readFileSync(file, 'latin1')
    .replaceAll('\r', '')
    .replace(/(?<!^)tick (?=\d+ (?:pcr|ERROR))/gm, '\ntick ');
  for (const line of text.split('\n')) {
    if (whole.test(line)) ticks.push({ host, line });
    else if (/^t(?:i(?:c(?:k.*)?)?)?$/.test(line)) heads.push({ host, line });
    else tails.push({ host, line });
  }
}
for (const tail of tails) {
  const head = heads.findIndex(({ host, line }) => host !== tail.host && whole.test(line + tail.line));
  if (head < 0) continue;
  ticks.push({ host: tail.host, line: heads[head].line + tail.line });
  heads.splice(head, 1);
}
const time = ({ line }) => Number(whole.exec(line)[1]);
for (const { host, line } of ticks.sort((a, b) => time(a) - time(b)))
  process.stdout.write(`${line} host=${host}\n`);
