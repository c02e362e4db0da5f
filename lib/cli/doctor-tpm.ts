/** The TPM, its keys, and the kernel's logs of what was measured, as `tvmmp doctor` looks at them. */
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentConfig } from '../agent/config.ts';
import { AGENT_FILES, trustOf } from '../authority/host-directory.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { verifyHostCertificate } from '../certificates/host-certificate.ts';
import { certificateFromPem } from '../certificates/pem.ts';
import { openTpm } from '../tpm/open.ts';
import { readOwnKey } from '../tpm/own-keys.ts';
import type { Tpm } from '../tpm/port.ts';
import { readText, reason } from './files.ts';
import { bad, good, looked, warning } from './finding.ts';
import type { Finding } from './finding.ts';
import { describeState } from './host-status.ts';

const CERTIFICATE_BYTES_MAX = 64 * 1024;
const MAKE_KEYS =
  'run tvmmp host init, then tvmmp host enroll with --replace at the authority; vTPM keys that were sealed to a lost receive key are lost';
const REENROL = 'run tvmmp host enroll (at the authority with --renew), then restart tvmmpd';

/** The TPM itself, the keys in it, and the state that it has measured. */
export async function tpmFindings(config: AgentConfig): Promise<readonly Finding[]> {
  const { tcti } = config.tpm;
  let tpm: Tpm;
  try {
    tpm = await openTpm(tcti);
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    return [
      bad('tpm', found, `see that ${tcti} (tpm.tcti) is there, that it is a TPM 2.0, and run this as root`),
    ];
  }
  try {
    return [
      await looked('tpm', 'see dmesg about the TPM', async () => {
        const { manufacturer, vendor, firmwareVersion } = await tpm.properties();
        return good(
          'tpm',
          `${manufacturer} ${vendor.trim().replace(/\s+/g, ' ')}, firmware ${firmwareVersion}`,
        );
      }),
      await looked('tpm-keys', MAKE_KEYS, async () => {
        await readOwnKey(tpm, 'attestation key');
        await readOwnKey(tpm, 'receive key');
        return good('tpm-keys', 'attestation key and receive key are in the TPM');
      }),
      await looked('certified-keys', REENROL, () => certifiedKeys(tpm, config)),
      await looked(
        'platform-state',
        'boot what was approved, or measure it (tvmmp host measure) and have a policy with it signed',
        async () => good('platform-state', await describeState(tpm, config)),
      ),
    ];
  } finally {
    await tpm.close();
  }
}

async function certifiedKeys(tpm: Tpm, { directories: { identity } }: AgentConfig): Promise<Finding> {
  const now = new Date();
  const der = certificateFromPem(readText(join(identity, AGENT_FILES.akCertificate), CERTIFICATE_BYTES_MAX));
  const { name, akName, receiveKeyName } = verifyHostCertificate(der, trustOf(identity, now).root, now);
  const ak = await readOwnKey(tpm, 'attestation key');
  const receive = await readOwnKey(tpm, 'receive key');
  if (bytesEqual(ak.name, akName) && bytesEqual(receive.name, receiveKeyName))
    return good('certified-keys', `they are those of the certificate of ${name}`);
  return bad('certified-keys', 'the TPM holds other keys than the certificate names', REENROL);
}

/** The kernel's logs: what PCR values mean can be told with them alone. */
export function logFindings({ logs }: AgentConfig): readonly Finding[] {
  return [
    log(
      'event-log',
      logs.eventLog,
      'mount securityfs, and see that firmware and kernel know the TPM (dmesg); without it nobody can tell why a PCR differs, and a policy with rules about it accepts nobody',
    ),
    log(
      'ima-list',
      logs.ima,
      'boot the kernel with ima_policy=tcb; without it nothing is known about files that ran since the boot, and a policy with rules about them accepts nobody',
    ),
  ];
}

function log(check: string, path: string, remedy: string): Finding {
  try {
    const descriptor = openSync(path, 'r');
    try {
      const bytes = readSync(descriptor, Buffer.alloc(16));
      return bytes > 0 ? good(check, `${path} can be read`) : warning(check, `${path} is empty`, remedy);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    return warning(check, `${path}: ${reason(error)}`, remedy);
  }
}
