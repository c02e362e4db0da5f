import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { trimDer } from '../../../lib/bytes/der-value.ts';
import { FfiTpm } from '../../../lib/tpm/ffi/adapter.ts';
import { openTpm } from '../../../lib/tpm/open.ts';
import { describeTpmConformance } from '../../conformance/tpm.ts';
import { Swtpm, swtpmMissing } from '../../support/swtpm.ts';
import { skipWithout } from '../../support/skip.ts';

describeTpmConformance('ESAPI through FFI', (tcti) => new FfiTpm({ tcti }));

describe('FFI adapter of the TPM', function () {
  let swtpm: Swtpm;
  before(async function () {
    skipWithout(this, swtpmMissing());
    swtpm = await Swtpm.start();
  });
  after(async () => {
    await (swtpm as Swtpm | undefined)?.close();
  });

  it('is opened by TCTI, and is known at once to be missing', async () => {
    const tpm = await openTpm(swtpm.tcti);
    assert.equal((await tpm.random(4)).byteLength, 4);
    await tpm.close();
    await assert.rejects(openTpm('swtpm:path=/nonexistent/tpm.sock'), { code: 'tpm-unreachable' });
  });

  /** A process that uses the adapter; it must end by itself, and not by a signal. */
  function runProgram(body: string): string {
    const adapter = new URL('../../../lib/tpm/ffi/adapter.ts', import.meta.url).href;
    const program = `import { FfiTpm } from ${JSON.stringify(adapter)};
      const tpm = new FfiTpm({ tcti: ${JSON.stringify(swtpm.tcti)} });
      ${body}`;
    const run = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    assert.deepEqual({ status: run.status, signal: run.signal }, { status: 0, signal: null }, run.stderr);
    return run.stdout;
  }

  it('lets the process end after close', () => {
    assert.equal(runProgram(`console.log((await tpm.random(8)).length); await tpm.close();`), '8\n');
  });

  it('lets the process end while idle, though nobody closed it', () => {
    assert.equal(runProgram(`console.log((await tpm.random(8)).length);`), '8\n');
  });

  it('writes nothing to stderr or stdout when the TPM refuses', () => {
    assert.equal(
      runProgram(`await tpm.nvRead(0x01800999).catch((e) => { console.log(e.code); });`),
      'tpm-call-failed\n',
    );
  });
});

describe('EK certificate in NV memory', () => {
  it('ends where its DER ends', () => {
    const padded = Uint8Array.of(0x30, 0x03, 0x02, 0x01, 0x05, 0xff, 0xff);
    assert.deepEqual(trimDer(padded), padded.slice(0, 5));
    const long = new Uint8Array(0x105).fill(0x01);
    long.set([0x30, 0x82, 0x01, 0x00]);
    assert.equal(trimDer(long).byteLength, 0x104);
    const middling = new Uint8Array(0x90).fill(0x01);
    middling.set([0x30, 0x81, 0x80]);
    assert.equal(trimDer(middling).byteLength, 0x83);
  });

  it('is refused where it is no DER SEQUENCE, or longer than the index', () => {
    for (const bytes of [
      [0x31, 0x00],
      [0x30],
      [0x30, 0x05, 0x00],
      [0x30, 0x84, 0, 0, 0, 1, 0],
      [0x30, 0x80],
    ]) {
      assert.throws(() => trimDer(Uint8Array.from(bytes)), { code: 'tpm-structure-invalid' });
    }
  });
});
