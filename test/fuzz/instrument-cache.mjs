// Which files are instrumented, and what came of it the last time: the compiler takes seconds, the fuzzer starts often.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { URL, fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** Ours, and the packages that parse for us in JavaScript. */
const instrumented = [
  `${root}lib/`,
  `${root}test/fuzz/targets/canary.ts`,
  `${root}node_modules/cborg/`,
  `${root}node_modules/@xmldom/xmldom/`,
];
const cache = `${root}.cache/fuzz/compiled/`;
const require = createRequire(import.meta.url);
const compiler = ['test/fuzz/instrument-source.cjs', 'node_modules/typescript/package.json'].map((file) =>
  readFileSync(root + file),
);

export function isInstrumented(path) {
  return instrumented.some((start) => path.startsWith(start)) && /\.(?:ts|js|cjs|mjs)$/.test(path);
}

/** JavaScript of a file, instrumented if it is to be. */
export function compiled(source, path) {
  const hash = createHash('sha256');
  for (const part of [...compiler, path, source]) hash.update(part).update('\0');
  const file = `${cache}${hash.digest('hex')}.js`;
  try {
    return readFileSync(file, 'utf8');
  } catch {
    const code = require('./instrument-source.cjs').compile(source, path, isInstrumented(path));
    mkdirSync(cache, { recursive: true });
    // In one step: several fuzzers may start at once.
    const draft = `${file}.${process.pid}.${process.hrtime.bigint()}`;
    writeFileSync(draft, code);
    renameSync(draft, file);
    return code;
  }
}
