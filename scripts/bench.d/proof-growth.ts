/**
 * `scripts/bench --proofs`: what a hand-over's proof costs after 1, 100 and 10,000 migrations: bytes, time and memory to verify it, from a checkpoint on
 * (what is offered) and from birth. Pure code with a software TPM: no lab. Each proof is verified in a process of its own, whose memory is told.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { parseRootCertificate } from '../../lib/certificates/root-certificate.ts';
import { certificateToPem } from '../../lib/certificates/pem.ts';
import { limits } from '../../lib/limits.ts';
import { stepChain } from '../../lib/proof/chain.ts';
import type { ChainState } from '../../lib/proof/chain.ts';
import { summaryDigest, summaryOf } from '../../lib/proof/checkpoint.ts';
import { decodeEntry, entryHash } from '../../lib/proof/entry.ts';
import { encodeProof } from '../../lib/proof/proof.ts';
import { verifyProof } from '../../lib/proof/verify.ts';
import { ChainBuilder, makeWorld } from '../../test/support/proof-world.ts';
import { median } from './figures.ts';

const runs = 5;

interface Cost {
  readonly bytes: number;
  readonly entries: number;
  readonly verifyMs: number;
  /** Above that of the same process before it read the proof. */
  readonly memoryMiB: number;
}

const { values } = parseArgs({
  options: { json: { type: 'boolean' }, verify: { type: 'string' }, root: { type: 'string' } },
});
if (values.verify === undefined) await main(values.json === true);
else process.stdout.write(JSON.stringify(cost(values.verify, values.root ?? '')));

async function main(json: boolean): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tvmmp-bench-'));
  try {
    const { root, proofs } = await grow([1, 100, 10_000], directory);
    const rows = [];
    for (const { migrations, entries, offered, whole } of proofs) {
      const row = {
        migrations,
        entries,
        offered: await measured(offered, root),
        fromBirth: entries > limits.proofEntriesMax ? null : await measured(whole, root),
      };
      rows.push(row);
      process.stderr.write(
        `after ${migrations} migrations (${entries} entries): offered ${text(row.offered)}; from birth ${row.fromBirth === null ? 'more entries than a proof may have' : text(row.fromBirth)}\n`,
      );
    }
    if (json) process.stdout.write(`${JSON.stringify({ proofs: rows })}\n`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** One chain that goes back and forth between two hosts, as sources sign it (SPEC 4.1), and its proofs at some of its hand-overs. */
async function grow(stops: readonly number[], directory: string) {
  const world = await makeWorld();
  const root = join(directory, 'root.pem');
  writeFileSync(root, certificateToPem(world.authority.root.der));
  const chain = new ChainBuilder(world);
  let state: ChainState | null = null;
  const caughtUp = (): ChainState => {
    for (const { entry } of chain.entries.slice(state === null ? 0 : state.sequence + 1))
      state = stepChain(state, decodeEntry(entry), entryHash(entry));
    if (state === null) throw new Error('a chain without entries');
    return state;
  };
  const signed = new Map<string, number>();
  const proofs = [];
  chain.live('created', 'started');
  for (let migrations = 1; migrations <= Math.max(...stops); migrations += 1) {
    const from = chain.holder;
    const to = from === world.alpha ? world.beta : world.alpha;
    const summary = summaryOf(caughtUp());
    if (summary !== null && chain.sequence - (signed.get(from.id.name) ?? 0) > limits.checkpointEntries) {
      signed.set(from.id.name, chain.sequence);
      chain.summaries.set(chain.sequence, summary);
      chain.add('checkpoint', { verdict: summaryDigest(summary) });
    }
    chain.departing(to);
    if (stops.includes(migrations)) {
      const [offered, whole] = [
        join(directory, `${migrations}-offered`),
        join(directory, `${migrations}-whole`),
      ];
      const base = signed.get(to.id.name);
      writeFileSync(offered, base === undefined ? chain.bytes() : chain.from(base));
      if (chain.entries.length <= limits.proofEntriesMax) writeFileSync(whole, encodeProof(chain.proof()));
      proofs.push({ migrations, entries: chain.entries.length, offered, whole });
    }
    chain.arrived(to).departed(from);
  }
  return { root, proofs };
}

async function measured(file: string, root: string): Promise<Cost> {
  const self = fileURLToPath(import.meta.url);
  const args = [...process.execArgv, '--expose-gc', self, '--verify', file, '--root', root];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return JSON.parse(stdout) as Cost;
}

/** In a process of its own. */
function cost(file: string, rootFile: string): Cost {
  const root = parseRootCertificate(readFileSync(rootFile, 'utf8'));
  globalThis.gc?.();
  const before = process.memoryUsage.rss();
  const bytes = readFileSync(file);
  const times: number[] = [];
  let entries = 0;
  for (let run = 0; run < runs; run += 1) {
    const start = performance.now();
    const judged = verifyProof(bytes, { root, checkpoints: 'any' });
    times.push(performance.now() - start);
    if (judged.outcome === 'fault') throw new Error(`${judged.check}: ${judged.message}`);
    entries = judged.entries.length;
  }
  const peak = process.resourceUsage().maxRSS * 1024;
  const memoryMiB = Math.max(0, Math.round((peak - before) / 2 ** 20));
  return { bytes: bytes.length, entries, verifyMs: Math.round(median(times) * 10) / 10, memoryMiB };
}

function text({ bytes, entries, verifyMs, memoryMiB }: Cost): string {
  return `${(bytes / 1024).toFixed(1)} KiB, ${entries} entries, ${verifyMs} ms, ${memoryMiB} MiB`;
}
