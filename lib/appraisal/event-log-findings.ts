import { coverageOf, mustCover } from '../evidence/event-coverage.ts';
import { isMeasured } from '../evidence/event-log.ts';
import type { UntrustedEventLog } from '../evidence/event-log.ts';
import { eventTypeName, eventTypeText } from '../evidence/event-types.ts';
import type { LogFinding } from './log-finding.ts';
import { secureBootOf } from './secure-boot.ts';

/**
 * Everything in a log that cannot be believed (SPEC 14.2), by event: types that are not known, data that their digest should
 * cover and does not (also where a type was changed), and what is wrong with PCR 7.
 */
export function eventLogFindings(log: UntrustedEventLog): readonly LogFinding[] {
  const findings = [...secureBootOf(log).findings];
  const told = new Set(findings.map(({ event }) => event));
  for (const event of log.events) {
    if (!isMeasured(event) || told.has(event.number)) continue;
    const about = { event: event.number, pcr: event.pcr };
    if (eventTypeName(event.type) === undefined) {
      findings.push({ name: 'unknown-type', ...about, text: `type ${eventTypeText(event.type)}` });
    } else if (mustCover(event) && coverageOf(event) === null) {
      const text = `its digest is not that of its data, as ${eventTypeText(event.type)} demands`;
      findings.push({ name: 'digest-mismatch', ...about, text });
    }
  }
  return findings.sort((a, b) => a.event - b.event);
}
