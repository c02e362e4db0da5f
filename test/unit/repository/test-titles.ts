import { execFileSync } from 'node:child_process';
import { relative } from 'node:path';

/** `FILE: TITLE` of every test in these files, as mocha finds them without running any. */
export function testTitles(files: readonly string[]): ReadonlySet<string> {
  const mocha = ['node_modules/mocha/bin/mocha.js', '--no-config', '--import=tsx', '--dry-run'];
  const text = execFileSync(process.execPath, [...mocha, '--reporter', 'json', ...files], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  const { tests } = JSON.parse(text.slice(text.indexOf('{'))) as { tests: { file: string; title: string }[] };
  return new Set(tests.map(({ file, title }) => `${relative(process.cwd(), file)}: ${title}`));
}
