import { strict as assert } from 'node:assert';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { imaList } from '../../support/ima-builder.ts';
import { json, tvmmp } from './run-cli.ts';

const recorded = fileURLToPath(new URL('../../vectors/boot/secure-boot-off/', import.meta.url));

describe('tvmmp ima', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-ima-'));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  function file(bytes: Uint8Array | string): string {
    writeFileSync(join(directory, 'list'), bytes);
    return join(directory, 'list');
  }

  it('prints replayed PCRs and entries of a real list as JSON', async () => {
    const run = await tvmmp(['ima', join(recorded, 'ima'), '--json']);
    assert.deepEqual({ code: run.code, stderr: run.stderr }, { code: 0, stderr: '' });
    const said = json(run);
    const pcrs = JSON.parse(readFileSync(join(recorded, 'pcrs.json'), 'utf8')) as Record<
      string,
      Record<string, string>
    >;
    assert.deepEqual(said['replayed'], {
      sha1: { '10': pcrs['sha1']?.['10'] },
      sha256: { '10': pcrs['sha256']?.['10'] },
    });
    assert.deepEqual([said['secureBoot'], said['violations']], [null, 1]);
    const entries = said['entries'] as Record<string, unknown>[];
    assert.deepEqual(entries[1], {
      number: 1,
      pcr: 10,
      template: 'ima-ng',
      templateHash: entries[1]?.['templateHash'],
      digest: entries[1]?.['digest'],
      path: '/bin/busybox',
      violation: false,
      signature: null,
      buffer: null,
      modsig: null,
    });
    assert.match(String(entries[1]['digest']), /^sha256:[0-9a-f]{64}$/);
  });

  it('prints the same for people', async () => {
    const run = await tvmmp(['ima', file(imaList([{ path: '/a' }, { path: '/b', violation: true }]))]);
    assert.equal(run.code, 0);
    assert.match(run.stdout, /^2 entries, 1 violations$/m);
    assert.match(run.stdout, /^1 +10 +ima-ng +violation +\/b$/m);
    assert.match(run.stdout, /^sha256 +10 +[0-9a-f]{64}$/m);
  });

  it('names what is wrong with a list that cannot be read, and exits 2', async () => {
    const cut = await tvmmp(['ima', file(imaList([{ path: '/a' }]).slice(0, -3))]);
    assert.deepEqual({ code: cut.code, stdout: cut.stdout }, { code: 2, stdout: '' });
    assert.match(cut.stderr, /^tvmmp: IMA list: truncated: .* \(ima-list-invalid\)\n$/);
    const ascii = await tvmmp(['ima', file(`10 ${'ab'.repeat(20)} ima-ng sha256:00 boot_aggregate\n`)]);
    assert.equal(ascii.code, 2);
    assert.match(ascii.stderr, /text-not-binary: .*give binary_runtime_measurements/);
  });
});
