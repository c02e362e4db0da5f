import { strict as assert } from 'node:assert';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pino } from 'pino';
import { tellReady } from '../../../lib/agent/service-manager.ts';

/** Node has no datagram sockets of AF_UNIX. */
const listener = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('listening', flush=True)
print(s.recv(4096).decode().strip(), flush=True)
s.recv(4096)
`;

describe('the agent under a service manager', () => {
  const before = process.env['NOTIFY_SOCKET'];
  let directory: string;
  let errors: string[] = [];
  const log = pino({ level: 'error' }, { write: (line: string) => void errors.push(line) });

  beforeEach(() => {
    errors = [];
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-notify-'));
  });
  afterEach(() => {
    if (before === undefined) delete process.env['NOTIFY_SOCKET'];
    else process.env['NOTIFY_SOCKET'] = before;
    rmSync(directory, { recursive: true, force: true });
  });

  it('says that it is ready, through the socket that it was given', async () => {
    const socket = join(directory, 'notify');
    const manager = spawn('python3', ['-c', listener, socket], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(manager, 'exit');
    const lines = createInterface(manager.stdout)[Symbol.asyncIterator]();
    assert.equal((await lines.next()).value, 'listening');
    process.env['NOTIFY_SOCKET'] = socket;
    await tellReady(log);
    assert.equal((await lines.next()).value, 'READY=1');
    await ended;
    assert.deepEqual(errors, []);
  });

  it('says nothing where nobody waits', async () => {
    delete process.env['NOTIFY_SOCKET'];
    await tellReady(log);
    assert.deepEqual(errors, []);
  });

  it('goes on where it is not heard, and says so', async () => {
    process.env['NOTIFY_SOCKET'] = join(directory, 'nobody');
    await tellReady(log);
    assert.match(errors.join(), /systemd does not hear that tvmmpd is ready/);
  });
});
