import type { Command } from 'commander';
import { askAgent } from './agent-client.ts';
import type { VmSummary } from './agent-client.ts';
import { leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { writeOutput } from './files.ts';
import { print, printJson } from './output.ts';

interface CertificateOptions extends CommonOptions {
  readonly output?: string;
}

/** `tvmmp vm certificate`. */
export function addCertificate(vm: Command): void {
  leaf(vm, {
    usage: 'certificate <vm>',
    summary: "the certificate of the endorsement key of a VM's vTPM",
    description:
      'Prints it in PEM, as the manufacture of the vTPM left it in its NV memory, and below it what it chains to: the vTPM CA of the host ' +
      'where the vTPM was made, the root of vTPMs of the authority, and the voucher by which the authority says that this root is its own. ' +
      'Its key is the one that the proof of the VM names: this host has compared them. Of a vTPM that was made before there were such ' +
      'CAs, or by libvirt, it is the certificate alone, whose issuer nobody vouches for. Where this host has not read it ' +
      'yet, as after a move, it is read now: that the vTPM which came is the one of the proof.',
    examples: [
      ['tvmmp vm certificate web', 'PEM to standard output.'],
      [
        'tvmmp vm certificate web -o ek.pem',
        'For tvmmp proof verify --vtpm-certificate ek.pem and tvmmp proof challenge --vtpm-ek ek.pem.',
      ],
    ],
    configured: true,
  })
    .option('-o, --output <file>', 'where to (default: standard output)')
    .action(certificate);
}

async function certificate(name: string, options: CertificateOptions): Promise<void> {
  const found = (await askAgent(options, 'vm.certificate', { vm: name })) as {
    vm: VmSummary;
    vtpm: string;
    pem: string;
    unchained: string | null;
  };
  const { pem, unchained } = found;
  if (options.output !== undefined) writeOutput(options.output, pem);
  if (options.json === true) {
    const { X509Certificate } = await import('node:crypto');
    const { subject, issuer, validFrom, validTo, fingerprint256 } = new X509Certificate(pem);
    const { vm, vtpm } = found;
    printJson({
      vm,
      vtpm,
      subject,
      issuer,
      validFrom,
      validTo,
      fingerprint256,
      chained: unchained === null,
      unchained,
      pem,
    });
    return;
  }
  if (unchained !== null)
    process.stderr.write(`tvmmp: this certificate does not chain to the authority: ${unchained}\n`);
  if (options.output === undefined) print(...pem.trimEnd().split('\n'));
  else print(`${options.output}: certificate of the vTPM with endorsement key ${found.vtpm}`);
}
