import type { Command } from 'commander';
import { hex } from '../encoding/hex.ts';
import type { UntrustedImaEntry } from '../evidence/ima-list.ts';
import { limits } from '../limits.ts';
import { leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { replayedText } from './event-log.ts';
import { readInput } from './files.ts';
import { paint, print, printJson, table } from './output.ts';

/** `tvmmp ima`. */
export function addIma(program: Command): void {
  leaf(program, {
    usage: 'ima <file>',
    summary: 'read and replay an IMA measurement list',
    description:
      'Reads a list as the kernel shows it in binary_runtime_measurements (templates ima, ima-ng, ima-sig, ima-buf, ' +
      'ima-ngv2, ima-sigv2, ima-modsig; little endian) and replays it in the SHA-1 and SHA-256 banks as Linux 5.8 and later extend them: each bank with the hash of ' +
      'its own algorithm over the template data, a violation with ones. The template hashes in the list are compared. No TPM ' +
      'is asked: only a quote shows that this is the list of a host.\n\n' +
      'JSON: "replayed" (bank to PCR number to hexadecimal value), "secureBoot" (always null: see tvmmp event-log), ' +
      '"violations" (how many), and "entries": every entry in order with "number", "pcr", "template", "templateHash", ' +
      '"digest" (as in "sha256:...", of fs-verity "verity:sha256:..."), "path", "violation" (true where the kernel could ' +
      'not measure), "signature" and "buffer" (hexadecimal, or null), and "modsig" ("digest" and "signature", or null).',
    examples: [
      ['tvmmp ima /sys/kernel/security/ima/binary_runtime_measurements', 'This host, as root.'],
      ['tvmmp ima list --json | jq -r \'.replayed.sha256["10"]\'', 'The PCR that the list leads to.'],
    ],
  }).action(ima);
}

async function ima(file: string, options: CommonOptions): Promise<void> {
  const { ImaReplay } = await import('../evidence/ima-replay.ts');
  const { pcrValuesJson } = await import('../evidence/pcr-replay.ts');
  const replay = new ImaReplay(readInput(file, limits.imaListBytesMax), ['sha1', 'sha256']);
  const entries: ReturnType<typeof entryOf>[] = [];
  replay.finish((entry) => {
    entries.push(entryOf(entry));
    return false;
  });
  const replayed = pcrValuesJson(replay.position().pcrs);
  const violations = entries.filter(({ violation }) => violation).length;
  if (options.json === true) {
    printJson({ replayed, secureBoot: null, violations, entries });
    return;
  }
  print(
    `${entries.length} entries, ${violations} violations`,
    '',
    ...table(
      ['#', 'PCR', 'TEMPLATE', 'DIGEST', 'PATH'],
      entries.map(({ number, pcr, template, digest, path, violation }) => [
        String(number),
        String(pcr),
        template,
        violation ? paint('yellow', 'violation') : `${digest.slice(0, 24)}...`,
        path,
      ]),
    ),
    '',
    ...replayedText(replayed),
  );
}

/** An entry as `entries` has it. */
function entryOf(entry: UntrustedImaEntry) {
  const { number, pcr, template, templateHash, digest, path, violation, signature, buffer, modsig } = entry;
  return {
    ...{ number, pcr, template, templateHash: hex(templateHash), digest, path, violation },
    signature: signature === null ? null : hex(signature),
    buffer: buffer === null ? null : hex(buffer),
    modsig: modsig === null ? null : { digest: modsig.digest, signature: hex(modsig.signature) },
  };
}
