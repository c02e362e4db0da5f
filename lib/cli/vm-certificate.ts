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
      'Prints it in PEM, as the manufacture of the vTPM left it in its NV memory (swtpm_setup, by the certificate tool of the host where ' +
      'the vTPM was made). Its key is the one that the proof of the VM names: this host has compared them, and tvmmp proof challenge does ' +
      'again. Who issued it is not verified: what ties the key to the VM is the proof. Where this host has not read it yet, as after a ' +
      'move, the VM has to be off.',
    examples: [
      ['tvmmp vm certificate web', 'PEM to standard output.'],
      ['tvmmp vm certificate web -o ek.pem', 'For tvmmp proof challenge --vtpm-ek ek.pem.'],
    ],
    configured: true,
  })
    .option('-o, --output <file>', 'where to (default: standard output)')
    .action(certificate);
}

async function certificate(name: string, options: CertificateOptions): Promise<void> {
  const { X509Certificate } = await import('node:crypto');
  const { certificateToPem } = await import('../certificates/pem.ts');
  const found = (await askAgent(options, 'vm.certificate', { vm: name })) as {
    vm: VmSummary;
    vtpm: string;
    certificate: string;
  };
  const der = Buffer.from(found.certificate, 'base64');
  const pem = certificateToPem(der);
  if (options.output !== undefined) writeOutput(options.output, pem);
  if (options.json === true) {
    const { subject, issuer, validFrom, validTo, fingerprint256 } = new X509Certificate(der);
    printJson({ vm: found.vm, vtpm: found.vtpm, subject, issuer, validFrom, validTo, fingerprint256, pem });
  } else if (options.output === undefined) print(...pem.trimEnd().split('\n'));
  else print(`${options.output}: certificate of the vTPM with endorsement key ${found.vtpm}`);
}
