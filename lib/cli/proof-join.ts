import type { Command } from 'commander';
import { limits } from '../limits.ts';
import { collect, leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { refused } from './exit.ts';
import { readInput, writeOutput } from './files.ts';
import { bytesText, print, printJson } from './output.ts';
import { verified } from './proof-file.ts';

interface JoinOptions extends CommonOptions {
  readonly authority: readonly string[];
  readonly output: string;
}

/** `tvmmp proof join`. */
export function addJoin(proof: Command): void {
  leaf(proof, {
    usage: 'join <files...>',
    summary: 'put the parts of a proof together, from birth',
    description:
      'A VM that moved often comes to a host with a proof that begins with a checkpoint: the host that signed it is ' +
      'believed for what came before. The rest is in the ledgers of the hosts that held the VM. This takes their exports, ' +
      'puts the whole chain together, and verifies every entry from birth; so it shows whether each checkpoint told the truth.',
    examples: [
      [
        'tvmmp proof join alpha.tvmmp-proof beta.tvmmp-proof --authority root.pem -o web.tvmmp-proof',
        'Exports of two hosts.',
      ],
    ],
  })
    .requiredOption(
      '--authority <file>',
      "the authority's root certificate (PEM); once for each domain",
      collect,
    )
    .requiredOption('-o, --output <file>', 'where to (- for standard output)')
    .action(join);
}

async function join(files: readonly string[], options: JoinOptions): Promise<void> {
  const { joinProofs } = await import('../proof/join.ts');
  const { decodeProof, encodeProof } = await import('../proof/proof.ts');
  const bytes = encodeProof(
    joinProofs(files.map((file) => decodeProof(readInput(file, limits.proofBytesMax)))),
  );
  const judged = await verified(bytes, options.authority, false);
  if (judged.outcome === 'fault')
    throw refused(`put together, the proof does not verify: ${judged.check}: ${judged.message}`);
  if (options.output === '-') {
    process.stdout.write(bytes);
    return;
  }
  writeOutput(options.output, bytes);
  const entries = judged.entries.length;
  if (options.json === true)
    printJson({ file: options.output, vm: judged.head.vm, entries, bytes: bytes.length });
  else print(`${options.output}: ${entries} entries from birth, verified, ${bytesText(bytes.length)}`);
}
