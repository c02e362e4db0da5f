import type { Command } from 'commander';
import { configOf, leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { refused } from './exit.ts';
import type { Finding } from './finding.ts';
import { paint, print, printJson, table } from './output.ts';

interface DoctorOptions extends CommonOptions {
  readonly all?: boolean;
}

/** `tvmmp doctor`. */
export function addDoctor(program: Command): void {
  leaf(program, {
    usage: 'doctor',
    summary: 'look at everything on this host, and how to mend what is wrong',
    description:
      "Looks at the TPM and the keys in it, certificates and how long they are good, policy, revocation list, clock, the kernel's " +
      "logs, the agent, versions, libvirt's hook and TLS settings, and who can read what is secret. Every finding is good, a " +
      'warning or bad, and says how to mend it. Exit code 1 where something is bad. It changes nothing.\n' +
      'tvmmp host status answers the shorter question whether the host is ready; tvmmp explain, why something was refused.',
    examples: [
      ['tvmmp doctor', 'What is not good.'],
      ['tvmmp doctor --all', 'Everything that was looked at.'],
      [
        'tvmmp doctor --json | jq -r \'.findings[] | select(.outcome != "good") | .check\'',
        'For monitoring.',
      ],
    ],
    configured: true,
  })
    .option('--all', 'also what is good')
    .action(async (options: DoctorOptions) => {
      const findings = await examine(options);
      const count = (outcome: Finding['outcome']): number =>
        findings.filter((finding) => finding.outcome === outcome).length;
      const summary = `${count('good')} good, ${count('warning')} warnings, ${count('bad')} bad`;
      if (options.json === true) printJson({ healthy: count('bad') === 0, findings });
      else print(...findingsText(findings, options.all === true), summary);
      if (count('bad') > 0) {
        const names = findings.filter(({ outcome }) => outcome === 'bad').map(({ check }) => check);
        throw refused(`this host is not well: ${names.join(', ')}`);
      }
    });
}

async function examine(options: CommonOptions): Promise<readonly Finding[]> {
  const { tpmFindings, logFindings } = await import('./doctor-tpm.ts');
  const { enrolmentFindings } = await import('./doctor-enrolment.ts');
  const { domainFindings } = await import('./doctor-domains.ts');
  const { agentFindings, libvirtFindings, secretFindings } = await import('./doctor-host.ts');
  const config = configOf(options);
  return [
    ...(await tpmFindings(config)),
    ...logFindings(config),
    ...(await enrolmentFindings(config, new Date())),
    ...(await domainFindings(config)),
    ...(await agentFindings(options, config)),
    ...(await libvirtFindings(config)),
    ...(await secretFindings(config)),
  ];
}

function findingsText(findings: readonly Finding[], all: boolean): readonly string[] {
  const shown = findings.filter(({ outcome }) => all || outcome !== 'good');
  if (shown.length === 0) return [];
  const colours = { good: 'green', warning: 'yellow', bad: 'red' } as const;
  const [heading = '', ...lines] = table(
    ['STATE', 'CHECK', 'FOUND'],
    shown.map(({ outcome, check, found }) => [outcome, check, found]),
  );
  return [
    heading,
    ...lines.flatMap((line, index) => {
      const { outcome, remedy } = shown[index] ?? { outcome: 'bad', remedy: '' };
      return [paint(colours[outcome], line), ...(remedy === '' ? [] : [`         mend: ${remedy}`])];
    }),
  ];
}
