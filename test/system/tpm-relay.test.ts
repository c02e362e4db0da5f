/** The lab's slow and failing TPMs (`scripts/lab up --tpm-delay`): what stands before a host's TPM does what it is told. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lab, labMissing } from '../../scripts/lab.d/lab.ts';
import type { CommandResult } from '../../scripts/lab.d/lab.ts';
import { skipWithout } from '../support/skip.ts';

const TCTI = 'swtpm:host=127.0.0.1,port=2331';
const TPM_CC_PCR_READ = '0000017e';

describe('the lab’s relay before a TPM', function () {
  this.timeout(120_000);
  let lab: Lab;

  before(async function () {
    skipWithout(this, labMissing());
    lab = new Lab();
    await lab.must('up', '--hosts', 'alpha', '--tpm-delay', '10');
  });

  after(async () => {
    await lab.close();
  });

  const readPcr = (): Promise<CommandResult> =>
    lab.run(['exec', 'alpha', '--', 'tpm2_pcrread', '-T', TCTI, 'sha256:0']);
  /** What the TPM was asked: milliseconds in the relay, command code, response code. */
  const asked = (): readonly {
    readonly heldMs: number;
    readonly command: string;
    readonly answer: string;
  }[] =>
    readFileSync(`${lab.directory}/hosts/alpha/log/tpm-commands.log`, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => {
        const [came, answered, command = '', answer = ''] = line.split(' ');
        return { heldMs: Number(answered) - Number(came), command, answer };
      });

  it('is where the host’s agent looks for its TPM', async () => {
    const config = JSON.parse(await lab.on('alpha', 'cat', '/etc/tvmmp/tvmmpd.json')) as { tpm: unknown };
    assert.deepEqual(config.tpm, { tcti: TCTI });
    assert.equal((await lab.must('tpm', 'alpha')).trim(), 'ok, 10 ms a command');
  });

  it('holds each command for the time that is set, and passes it on', async () => {
    assert.match((await readPcr()).stdout, /0 *: 0x[0-9A-F]{64}/);
    await lab.must('tpm', 'alpha', 'delay', '60');
    assert.equal((await readPcr()).status, 0);
    const reads = asked().filter(({ command }) => command === TPM_CC_PCR_READ);
    assert.deepEqual(
      reads.map(({ answer }) => answer),
      ['00000000', '00000000'],
    );
    assert.ok(reads[0]!.heldMs >= 10 && reads[1]!.heldMs >= 60, JSON.stringify(reads));
  });

  it('answers as a TPM in failure mode, and recovers', async () => {
    await lab.must('tpm', 'alpha', 'fail');
    assert.notEqual((await readPcr()).status, 0);
    assert.equal(asked().at(-1)!.answer, '00000101');
    await lab.must('tpm', 'alpha', 'ok');
    assert.equal((await readPcr()).status, 0);
  });

  it('goes away, and comes back', async () => {
    await lab.must('tpm', 'alpha', 'drop');
    assert.notEqual((await readPcr()).status, 0);
    assert.equal(asked().at(-1)!.answer, '-');
    await lab.must('tpm', 'alpha', 'ok');
    assert.equal((await readPcr()).status, 0);
  });

  it('is silent until it is told otherwise', async () => {
    await lab.must('tpm', 'alpha', 'hang');
    const pending = readPcr();
    assert.equal(await Promise.race([pending, sleep(500, 'silent')]), 'silent');
    await lab.must('tpm', 'alpha', 'ok');
    assert.equal((await pending).status, 0);
  });

  it('refuses what it does not know, and is not there without the option', async () => {
    assert.notEqual((await lab.run(['tpm', 'alpha', 'explode'])).status, 0);
    assert.notEqual((await lab.run(['tpm', 'alpha', 'delay', '-1'])).status, 0);
    await lab.must('down');
    await lab.must('up', '--hosts', 'alpha');
    const { status, stderr } = await lab.run(['tpm', 'alpha', 'fail']);
    assert.notEqual(status, 0);
    assert.match(stderr, /--tpm-delay/);
  });
});
