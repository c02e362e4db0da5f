/** The commands that README has a user type, to be typed on machines by a test. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

/** Blocks of code under a heading of README, in order: everything up to the next heading. */
export function readmeBlocks(heading: string, language: string): readonly string[] {
  const text = readFileSync('README.md', 'utf8');
  const start = text.indexOf(`\n### ${heading}\n`);
  assert.ok(start >= 0, `README has no heading ${heading}`);
  const end = text.indexOf('\n## ', start + 1);
  const next = text.indexOf('\n### ', start + 1);
  const section = text.slice(start, Math.min(...[end, next].filter((at) => at > 0), text.length));
  const blocks = [...section.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)];
  return blocks.filter(([, kind]) => kind === language).map(([, , body = '']) => body);
}

/** The only block of its kind under a heading. */
export function readmeBlock(heading: string, language = 'sh'): string {
  const blocks = readmeBlocks(heading, language);
  assert.equal(blocks.length, 1, `${heading}: ${blocks.length} blocks`);
  return blocks[0] ?? '';
}
