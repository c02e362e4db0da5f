import { readFileSync } from 'node:fs';

/** The version of package.json, which lies two folders above this module both in the source and in the built tree. */
export const version: string = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;
