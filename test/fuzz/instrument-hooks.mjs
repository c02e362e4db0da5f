// Node's module hooks (on their own thread): our TypeScript without its types, and what is instrumented instrumented.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { compiled, isInstrumented } from './instrument-cache.mjs';

export async function load(url, context, next) {
  if (!url.startsWith('file:') || url.includes('?')) return next(url, context);
  const path = fileURLToPath(url);
  const ours = path.endsWith('.ts') || (isInstrumented(path) && context.format === 'module');
  if (!ours) return next(url, context);
  return { format: 'module', shortCircuit: true, source: compiled(await readFile(path, 'utf8'), path) };
}
