import { strict as assert } from 'node:assert';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { agileLog, bootEvents } from '../../support/event-log-builder.ts';
import { json, tvmmp } from './run-cli.ts';

const recorded = fileURLToPath(new URL('../../vectors/boot/debian-secure-boot/', import.meta.url));

describe('tvmmp event-log', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-event-log-'));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  function file(bytes: Uint8Array): string {
    writeFileSync(join(directory, 'log'), bytes);
    return join(directory, 'log');
  }

  it('prints replayed PCRs, Secure Boot and entries of a real log as JSON', async () => {
    const run = await tvmmp(['event-log', join(recorded, 'event-log'), '--json']);
    assert.deepEqual({ code: run.code, stderr: run.stderr }, { code: 0, stderr: '' });
    const said = json(run);
    const pcrs = JSON.parse(readFileSync(join(recorded, 'pcrs.json'), 'utf8')) as Record<
      string,
      Record<string, string>
    >;
    const replayed = said['replayed'] as typeof pcrs;
    assert.equal(replayed['sha256']?.['0'], pcrs['sha256']?.['0']);
    assert.equal(replayed['sha1']?.['7'], pcrs['sha1']?.['7']);
    assert.deepEqual([said['secureBoot'], said['findings']], [true, []]);
    const entries = said['entries'] as Record<string, unknown>[];
    assert.deepEqual(entries[4], {
      number: 4,
      pcr: 7,
      type: 'EV_EFI_VARIABLE_DRIVER_CONFIG',
      typeNumber: 0x80000001,
      digests: entries[4]?.['digests'],
      covers: 'data',
      text: 'SecureBoot = 01',
      data: entries[4]?.['data'],
    });
    assert.equal((entries[4]['digests'] as Record<string, string>)['sha256']?.length, 64);
  });

  it('prints the same for people', async () => {
    const run = await tvmmp(['event-log', join(recorded, 'event-log')]);
    assert.equal(run.code, 0);
    assert.match(run.stdout, /^Secure Boot: on$/m);
    assert.match(run.stdout, /^4 +7 +EV_EFI_VARIABLE_DRIVER_CONFIG +SecureBoot = 01$/m);
    assert.match(run.stdout, /^sha256 +7 +[0-9a-f]{64}$/m);
  });

  it('shows what cannot be believed', async () => {
    const events = bootEvents().map((event) =>
      event.pcr === 5 ? { ...event, measured: Buffer.from('something else') } : event,
    );
    const run = await tvmmp(['event-log', file(agileLog(events))]);
    assert.equal(run.code, 0);
    assert.match(run.stdout, /^digest-mismatch: event \d+ \(PCR 5\): its digest is not that of its data/m);
  });

  it('names what is wrong with a log that cannot be read, and exits 2', async () => {
    const run = await tvmmp(['event-log', file(agileLog(bootEvents()).slice(0, -3)), '--json']);
    assert.equal(run.code, 2);
    assert.equal(run.stdout, '');
    assert.match(run.stderr, /^tvmmp: event log: truncated: .* \(event-log-invalid\)\n$/);
  });
});
