import type { Command } from 'commander';
import { hex } from '../encoding/hex.ts';
import { askAgent } from './agent-client.ts';
import type { VmSummary } from './agent-client.ts';
import { leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { writeOutput } from './files.ts';
import { nonceFrom } from './nonce.ts';
import { bytesText, print, printJson } from './output.ts';

interface AttestOptions extends CommonOptions {
  readonly nonce: string;
  readonly output?: string;
  readonly proof?: string;
}

/** `tvmmp vm attest`. */
export function addAttest(vm: Command): void {
  leaf(vm, {
    usage: 'attest <vm>',
    summary: 'fresh evidence for a tenant that this host holds the VM now',
    description:
      'Has the TPM sign, over a nonce that the tenant has just drawn, that this host holds the VM, in which platform state, and with ' +
      'which entry its proof ends; and writes that with the proof. The tenant verifies both offline (tvmmp proof verify --attestation). ' +
      'Only the host that holds the VM can do it, and not while it departs. The nonce has 16 to 64 bytes.',
    examples: [
      [
        'tvmmp vm attest web --nonce 6f1c...',
        'To web.tvmmp-attestation and web.tvmmp-proof, for the tenant.',
      ],
      ['tvmmp vm attest web --nonce 6f1c... -o now.attestation --proof now.tvmmp-proof', 'To other files.'],
    ],
    configured: true,
  })
    .requiredOption('--nonce <hex>', 'what the tenant has drawn, in hexadecimal')
    .option('-o, --output <file>', 'where to (default: <vm>.tvmmp-attestation)')
    .option('--proof <file>', 'where to put the proof that it is about (default: <vm>.tvmmp-proof)')
    .action(async (name: string, options: AttestOptions) => {
      const nonce = hex(nonceFrom(options.nonce));
      const found = (await askAgent(options, 'vm.attest', { vm: name, nonce })) as {
        vm: VmSummary;
        attestation: string;
        proof: string;
      };
      const base = found.vm.name.replaceAll('/', '_');
      const file = options.output ?? `${base}.tvmmp-attestation`;
      const proof = options.proof ?? `${base}.tvmmp-proof`;
      const bytes = Buffer.from(found.attestation, 'base64');
      const proofBytes = Buffer.from(found.proof, 'base64');
      writeOutput(proof, proofBytes);
      writeOutput(file, bytes);
      if (options.json === true) printJson({ file, proof, vm: found.vm, nonce, bytes: bytes.byteLength });
      else
        print(
          `${file}: ${bytesText(bytes.byteLength)}, for nonce ${nonce}`,
          `${proof}: the proof that it is about, ${bytesText(proofBytes.byteLength)}`,
        );
    });
}
