/**
 * Writes the test vectors of logs anew: `npx tsx scripts/make-log-vectors.ts`. In `test/vectors/event-log` and `test/vectors/ima` each
 * file is one log with one property or fault, and `expect` is the fault of SPEC 14.4, or null where it can be read.
 * `test/vectors/boot` is not made here but recorded by `scripts/record-boot`.
 */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { eventLogFindings } from '../lib/appraisal/event-log-findings.ts';
import { secureBootOf } from '../lib/appraisal/secure-boot.ts';
import { base64 } from '../lib/encoding/base64.ts';
import { parseEventLog } from '../lib/evidence/event-log.ts';
import { replayEventLog } from '../lib/evidence/event-log-replay.ts';
import { ImaReplay } from '../lib/evidence/ima-replay.ts';
import { pcrValuesJson } from '../lib/evidence/pcr-replay.ts';
import { eventLogCases } from '../test/support/event-log-cases.ts';
import { imaCases } from '../test/support/ima-cases.ts';

/** Replaces the vectors of a directory. */
async function write(kind: string, vectors: Readonly<Record<string, object>>): Promise<void> {
  const directory = new URL(`../test/vectors/${kind}/`, import.meta.url);
  await mkdir(directory, { recursive: true });
  for (const file of await readdir(directory)) {
    if (file.endsWith('.json')) await rm(new URL(file, directory));
  }
  for (const [name, vector] of Object.entries(vectors))
    await writeFile(new URL(`${name}.json`, directory), `${JSON.stringify(vector, null, 1)}\n`);
  process.stdout.write(`${kind}: ${Object.keys(vectors).length} vectors\n`);
}

/** What a log says is computed once, here; that it is right is shown with the recipes and with recorded boots. */
function eventLogs(): Readonly<Record<string, object>> {
  return Object.fromEntries(
    eventLogCases.map(({ name, why, expect, build }) => {
      const bytes = build();
      const head = { why, expect, log: base64(bytes) };
      if (expect !== null) return [name, head];
      const log = parseEventLog(bytes);
      const findings = eventLogFindings(log).map((finding) => finding.name);
      const said = { secureBoot: secureBootOf(log).enabled, findings };
      return [name, { ...head, replayed: pcrValuesJson(replayEventLog(log)), ...said }];
    }),
  );
}

function imaLists(): Readonly<Record<string, object>> {
  return Object.fromEntries(
    imaCases.map(({ name, why, expect, entries, violations, build }) => {
      const bytes = build();
      const head = { why, expect, list: base64(bytes) };
      if (expect !== null) return [name, head];
      const replay = new ImaReplay(bytes, ['sha1', 'sha256']);
      replay.finish();
      const replayed = pcrValuesJson(replay.position().pcrs);
      return [name, { ...head, replayed, entries, violations: violations ?? 0 }];
    }),
  );
}

await write('event-log', eventLogs());
await write('ima', imaLists());
