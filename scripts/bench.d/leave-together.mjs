// Asks the agent of the host that it runs on to move VMs, all in the same instant, and prints as JSON when each step of each began.
// usage: leave-together.mjs DESTINATION VM...
import { connect } from 'node:net';
import { createInterface } from 'node:readline';

const [destination, ...vms] = process.argv.slice(2);

/** Milliseconds since 1970 of each step's first word, of the answer, and the refusal where there was one. */
async function move(vm) {
  const socket = connect('/run/tvmmp/agent.sock');
  const times = { asked: Date.now() };
  socket.write(`${JSON.stringify({ method: 'migrate', params: { vm, destination } })}\n`);
  for await (const line of createInterface({ input: socket })) {
    const { progress, error } = JSON.parse(line);
    if (progress !== undefined) times[progress.step] ??= Date.now();
    else return { vm, times: { ...times, answered: Date.now() }, error: error?.message ?? null };
  }
  return { vm, times, error: 'the agent went away' };
}

process.stdout.write(`${JSON.stringify(await Promise.all(vms.map(move)))}\n`);
