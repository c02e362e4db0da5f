/** Quarantine (SPEC 16): what a host that does not satisfy its own policy any more refuses, and for how long. */
import type { QuarantineRule } from '../appraisal/quarantine-rule.ts';
import type { Journal } from '../ledger/journal.ts';
import type { Host } from './host.ts';
import { Refused } from './refused.ts';

/** Why a host is quarantined, as its journal has it. */
export interface QuarantineNote {
  /** When it was first found, milliseconds since 1970. */
  readonly since: number;
  /** Of the latest appraisal: one line, and the names of the checks that failed. */
  readonly reason: string;
  readonly failed: readonly string[];
  /** Digest of its verdict, hexadecimal. */
  readonly verdict: string;
}

const settingName = 'quarantine';

/** What the journal has noted, whatever the policy says by now. */
export function readQuarantine({
  journal,
}: {
  readonly journal: Pick<Journal, 'setting'>;
}): QuarantineNote | null {
  const text = journal.setting(settingName);
  return text === null ? null : (JSON.parse(text) as QuarantineNote | null);
}

/** On disk before anything follows from it. */
export function writeQuarantine({ journal }: Pick<Host, 'journal'>, note: QuarantineNote | null): void {
  journal.putSetting(settingName, JSON.stringify(note));
}

/** Why this host is quarantined; null where it is not, or where its policy does not ask. */
export function quarantineOf(
  host: Pick<Host, 'journal' | 'policy'>,
): (QuarantineNote & { readonly rule: QuarantineRule }) | null {
  const { quarantine: rule } = host.policy().policy;
  const note = rule === undefined ? null : readQuarantine(host);
  return rule === undefined || note === null ? null : { ...note, rule };
}

/** A host that is quarantined receives nothing. Throws `Refused`. */
export function requireMayReceive(host: Pick<Host, 'journal' | 'policy' | 'identity'>): void {
  const note = quarantineOf(host);
  if (note !== null) throw new Refused(`${quarantineText(host, note)}: it receives no VM; ${remedy}`);
}

/** VMs leave a host that is quarantined only where its policy lets them. Throws `Refused`. */
export function requireMayLeave(host: Pick<Host, 'journal' | 'policy' | 'identity'>, name: string): void {
  const note = quarantineOf(host);
  if (note?.rule.leave === 'never')
    throw new Refused(
      `${quarantineText(host, note)}, and its policy lets no VM leave it: ${name} stays; ${remedy}`,
    );
}

const remedy =
  'mend what failed (tvmmp explain), or have the authority approve it; the host appraises itself again by itself';

function quarantineText(
  { identity }: Pick<Host, 'identity'>,
  { failed }: Pick<QuarantineNote, 'failed'>,
): string {
  return `host-quarantined: ${identity.id.name} does not satisfy its policy (${failed.join(', ')})`;
}
