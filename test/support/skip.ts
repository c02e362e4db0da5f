/** Skips the tests of a suite, or one test, where something is missing, and says what. */
export function skipWithout(context: Mocha.Context, missing: string | undefined): void {
  if (missing === undefined) return;
  console.log(`      skipped: ${missing}`);
  context.skip();
}

/** What `skipWithout` says where only root can run a test. */
export function rootMissing(): string | undefined {
  return process.getuid?.() === 0 ? undefined : 'it needs root';
}
