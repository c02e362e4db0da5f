import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** Data flows one way (DESIGN 7): a folder imports from itself and from folders above it in this list, never from below. */
const order = [
  'errors.ts',
  'limits.ts',
  'bytes',
  'encoding',
  'ffi',
  'worker',
  'tpm',
  'native',
  'libvirt',
  'certificates',
  'evidence',
  'appraisal',
  'proof',
  'protocol',
  'ledger',
  'migration',
  'authority',
  'agent',
  'cli',
];

const sources = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', 'lib'], {
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file.endsWith('.ts') && existsSync(file));

function folderOf(file: string): string {
  return file.split('/')[1] ?? '';
}

function importsOf(file: string): readonly string[] {
  const text = readFileSync(file, 'utf8');
  const found = text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g);
  return [...found].map((match) => normalize(join(dirname(file), match[1] ?? '')));
}

describe('the repository', () => {
  it('has every folder of lib in the order of the architecture', () => {
    assert.deepEqual(
      [...new Set(sources.map(folderOf))].filter((folder) => !order.includes(folder)),
      [],
    );
  });

  it('imports in one direction', () => {
    const wrong = sources.flatMap((file) =>
      importsOf(file)
        .filter((imported) => order.indexOf(folderOf(imported)) > order.indexOf(folderOf(file)))
        .map((imported) => `${file} imports ${imported}`),
    );
    assert.deepEqual(wrong, []);
  });

  it('has no source file that nobody imports', () => {
    const imported = new Set(sources.flatMap(importsOf));
    const entryPoints = /\/(main|thread)\.ts$/;
    const dead = sources.filter((file) => !imported.has(file) && !entryPoints.test(file));
    assert.deepEqual(dead, []);
  });

  it('keeps fakes and shortcuts out of what users run', () => {
    const banned = /\b(?:Math\.random|as any|@ts-ignore|TODO|FIXME|XXX)\b|export default/;
    const found = sources.filter((file) => banned.test(readFileSync(file, 'utf8')));
    assert.deepEqual(found, []);
  });

  it('lets only appraisal make a TrustedPeer', () => {
    const makers = sources.filter((file) => /\bnew TrustedPeer\(/.test(readFileSync(file, 'utf8')));
    assert.deepEqual(makers, ['lib/appraisal/appraise.ts']);
  });
});
