/** Whether QEMU on this host can verify the hosts of the domains that the policy names, as `tvmmp doctor` looks at it. */
import { join } from 'node:path';
import type { AgentConfig } from '../agent/config.ts';
import type { Domain } from '../appraisal/domains.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { certificatesFromPem } from '../certificates/pem.ts';
import { limits } from '../limits.ts';
import { readText } from './files.ts';
import { bad, good, looked } from './finding.ts';
import type { Finding } from './finding.ts';
import { policyFrom } from './host-status.ts';

/** Roots of the own authority and of each domain, in one file. */
const TRUSTED_BYTES_MAX = 4 * (limits.policyDomainsMax + 1) * limits.certificateBytesMax;

/** Nothing where the policy names no domain whose hosts receive or give VMs. */
export async function domainFindings({
  directories,
}: {
  readonly directories: Pick<AgentConfig['directories'], 'identity' | 'migrationTls'>;
}): Promise<readonly Finding[]> {
  const crossed = namedDomains(directories.identity).filter(
    ({ rules }) => rules.forward !== undefined || rules.backward !== undefined,
  );
  if (crossed.length === 0) return [];
  const file = join(directories.migrationTls, 'ca-cert.pem');
  const remedy = `append the root certificate of each of these authorities (PEM) to ${file}`;
  return [await looked('domain-roots', remedy, () => rootsFinding(file, crossed, remedy))];
}

function rootsFinding(file: string, crossed: readonly Domain[], remedy: string): Finding {
  const trusted = certificatesFromPem(readText(file, TRUSTED_BYTES_MAX));
  const missing = crossed.filter(({ root }) => !trusted.some((der) => bytesEqual(der, root.der)));
  const names = (domains: readonly Domain[]): string => domains.map(({ name }) => name).join(', ');
  if (missing.length === 0) return good('domain-roots', `${file} has the roots of ${names(crossed)}`);
  const why = 'QEMU takes no memory from its hosts, and gives them none';
  return bad('domain-roots', `${file} lacks the root of ${names(missing)}: ${why}`, remedy);
}

/** None where the policy cannot be read: the check of the policy says so. */
function namedDomains(identity: string): readonly Domain[] {
  try {
    return policyFrom(identity).domains?.others ?? [];
  } catch {
    return [];
  }
}
