// Asks the agent of the host that it runs on for its statistics, as JSON.
import { connect } from 'node:net';
import { createInterface } from 'node:readline';

const socket = connect('/run/tvmmp/agent.sock');
socket.write(`${JSON.stringify({ method: 'statistics', params: {} })}\n`);
for await (const line of createInterface({ input: socket }))
  process.stdout.write(`${JSON.stringify(JSON.parse(line).result)}\n`);
