// Times calls of the installed hook client for a protected VM, each answered by the agent. Arguments: client, domain XML file, calls.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const [client, file, calls] = process.argv.slice(2);
const input = readFileSync(file);
const times = [];
for (let call = 0; call < Number(calls); call += 1) {
  const began = process.hrtime.bigint();
  const { status, stderr } = spawnSync(client, ['bench', 'reconnect', 'begin', '-'], { input });
  times.push(Number(process.hrtime.bigint() - began) / 1e6);
  if (status !== 0) throw new Error(`the hook client failed: ${stderr}`);
}
process.stdout.write(`${JSON.stringify(times)}\n`);
