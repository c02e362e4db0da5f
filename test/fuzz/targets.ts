/** Every parser of bytes that somebody else wrote. */
import type { Target } from './target.ts';
import { certificateTargets } from './targets/certificates.ts';
import { jsonTargets } from './targets/json.ts';
import { libvirtTargets } from './targets/libvirt.ts';
import { peerLogTargets } from './targets/log-evidence.ts';
import { logTargets } from './targets/logs.ts';
import { platformTargets } from './targets/platform-certificate.ts';
import { tpmTargets } from './targets/tpm.ts';
import { wireTargets } from './targets/wire.ts';

export const targets: readonly Target[] = [
  ...wireTargets,
  ...tpmTargets,
  ...certificateTargets,
  ...platformTargets,
  ...libvirtTargets,
  ...logTargets,
  ...peerLogTargets,
  ...jsonTargets,
];
