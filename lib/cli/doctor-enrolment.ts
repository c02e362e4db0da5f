/** Certificates, policy, revocation list and clock, as `tvmmp doctor` looks at them. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { AgentConfig } from '../agent/config.ts';
import { AGENT_FILES, readRevocations, trustOf } from '../authority/host-directory.ts';
import { revocationOf } from '../appraisal/revocation.ts';
import {
  verifyAgentCertificate,
  verifyHostCertificate,
  verifyMigrationCertificate,
} from '../certificates/host-certificate.ts';
import { certificateFromPem } from '../certificates/pem.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { readText } from './files.ts';
import { bad, good, looked, warning } from './finding.ts';
import type { Finding } from './finding.ts';
import { policyFrom } from './host-status.ts';
import { timeText } from './output.ts';

const DAY_MS = 24 * 3600 * 1000;
/** Certificates that end sooner than this are worth a word. */
const RENEW_DAYS = 30;
const POLICY_DAYS = 365;
const CERTIFICATE_BYTES_MAX = 64 * 1024;
const RENEW = 'run tvmmp host enroll with --renew at the authority, then restart tvmmpd';
const ENROL = 'run tvmmp host init and tvmmp host enroll';

type Verify = (
  der: Uint8Array,
  root: RootCertificate,
  at: Date,
) => { readonly name: string; readonly notAfter: Date };

/** Everything that an enrolment gave to this host. */
export async function enrolmentFindings(config: AgentConfig, now: Date): Promise<readonly Finding[]> {
  const { identity, migrationTls } = config.directories;
  const certificate = (check: string, path: string, verify: Verify): Promise<Finding> =>
    looked(check, ENROL, () =>
      certificateFinding(check, path, (der) => verify(der, trustOf(identity, now).root, now), now),
    );
  return [
    await certificate('ak-certificate', join(identity, AGENT_FILES.akCertificate), verifyHostCertificate),
    await certificate(
      'agent-certificate',
      join(identity, AGENT_FILES.agentCertificate),
      verifyAgentCertificate,
    ),
    await certificate(
      'migration-certificate',
      join(migrationTls, 'server-cert.pem'),
      verifyMigrationCertificate,
    ),
    await looked('policy', 'install one: tvmmp policy install FILE', () => policyFinding(identity, now)),
    await looked('revocation', 'install the current list: tvmmp revocation install FILE', () =>
      revocationFinding(identity, now),
    ),
    await looked('clock', 'set the clock', () => clockFinding(identity, now)),
    synchronizedFinding(),
  ];
}

function certificateFinding(
  check: string,
  path: string,
  verify: (der: Uint8Array) => { readonly name: string; readonly notAfter: Date },
  now: Date,
): Finding {
  const { name, notAfter } = verify(certificateFromPem(readText(path, CERTIFICATE_BYTES_MAX)));
  const days = Math.floor((notAfter.getTime() - now.getTime()) / DAY_MS);
  const found = `of ${name}, good until ${timeText(notAfter)}`;
  return days < RENEW_DAYS ? warning(check, `${found}: ${days} more days`, RENEW) : good(check, found);
}

function policyFinding(identity: string, now: Date): Finding {
  const { id, version, issuedAt } = policyFrom(identity);
  const days = Math.floor((now.getTime() - issuedAt.getTime()) / DAY_MS);
  const found = `${id} version ${version}, issued ${timeText(issuedAt)}`;
  if (days <= POLICY_DAYS) return good('policy', found);
  return warning('policy', `${found}: ${days} days ago`, 'see whether the authority has signed a newer one');
}

function revocationFinding(identity: string, now: Date): Finding {
  const trust = trustOf(identity, now);
  const list = readRevocations(identity, trust)?.list ?? null;
  const der = certificateFromPem(readText(join(identity, AGENT_FILES.akCertificate), CERTIFICATE_BYTES_MAX));
  const own = revocationOf(list, verifyHostCertificate(der, trust.root, now).akName);
  if (own !== undefined)
    return bad(
      'revocation',
      `this host is revoked since ${timeText(own.since)}: ${own.reason}`,
      'speak with the authority: nothing will come here, and nothing can leave',
    );
  return good(
    'revocation',
    list === null ? 'no list yet' : `list version ${list.version} does not name this host`,
  );
}

/** What the authority has signed lies in the past, unless this clock is behind. */
function clockFinding(identity: string, now: Date): Finding {
  const trust = trustOf(identity, now);
  const signed = [
    { what: 'the policy', time: policyFrom(identity).issuedAt },
    { what: 'the revocation list', time: readRevocations(identity, trust)?.list.issuedAt },
  ];
  const later = signed.find(({ time }) => time !== undefined && time > now);
  if (later?.time !== undefined)
    return bad(
      'clock',
      `it is ${timeText(now)} here, and ${later.what} was signed at ${timeText(later.time)}`,
      'set the clock of this host, or that of the authority',
    );
  return good('clock', `${timeText(now)}, after all that the authority has signed`);
}

function synchronizedFinding(): Finding {
  const { status, stdout } = spawnSync('timedatectl', ['show', '--property=NTPSynchronized', '--value'], {
    encoding: 'utf8',
    timeout: 5000,
  });
  const remedy =
    'let a time service (systemd-timesyncd, chrony) set it: certificates and entries of proofs need it';
  if (status === 0 && stdout.trim() === 'yes') return good('clock-synchronized', 'by a time service');
  const found =
    status === 0 ? 'no time service sets the clock' : 'timedatectl does not say whether the clock is set';
  return warning('clock-synchronized', found, remedy);
}
