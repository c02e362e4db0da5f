import { ByteReader } from '../bytes/reader.ts';
import { startsWithText } from '../bytes/compare.ts';
import type { PcrBank } from '../tpm/port.ts';
import { isMeasured } from './event-log.ts';
import type { UntrustedEvent, UntrustedEventLog } from './event-log.ts';
import { EVENT_TYPES } from './event-types.ts';
import { faultyLog } from './log-fault.ts';
import { PcrReplay } from './pcr-replay.ts';
import type { PcrValues } from './pcr-replay.ts';

const STARTUP_LOCALITY = 'StartupLocality\0';
const STARTUP_LOCALITY_BYTES = 17;
/** Localities that TPM2_Startup may come from; 4 stands for an H-CRTM. */
const LOCALITIES: readonly number[] = [0, 3, 4];

/**
 * What a log says that the PCRs of its banks hold (SPEC 14.1): every event but EV_NO_ACTION extended in order, PCR 0 from the
 * locality that TPM2_Startup came from, all others from zeros. Throws `event-log-invalid`: startup-locality.
 */
export function replayEventLog(log: UntrustedEventLog): PcrValues {
  const banks: readonly PcrBank[] = log.banks;
  const replay = new PcrReplay(banks);
  let begun = false;
  for (const event of log.events) {
    const locality = startupLocality(event);
    if (locality !== undefined) {
      if (begun)
        throw faultyLog('event-log-invalid', 'startup-locality', `event ${event.number} comes too late`);
      begun = true;
      replay.begin(0, locality);
    }
    if (!isMeasured(event)) continue;
    if (event.pcr === 0) begun = true;
    for (const bank of banks) {
      const digest = event.digests.get(bank);
      if (digest !== undefined) replay.extend(bank, event.pcr, digest);
    }
  }
  return replay.values();
}

/** The locality that an event says TPM2_Startup came from; undefined for all other events (PFP 10.4.5.3). */
export function startupLocality(event: UntrustedEvent): number | undefined {
  if (event.type !== EVENT_TYPES.EV_NO_ACTION || event.pcr !== 0) return undefined;
  if (!startsWithText(event.data, STARTUP_LOCALITY)) return undefined;
  const reader = new ByteReader(event.data, { what: 'StartupLocality', code: 'event-log-invalid' });
  reader.skip(STARTUP_LOCALITY.length);
  const locality = event.data.byteLength === STARTUP_LOCALITY_BYTES ? reader.u8() : NaN;
  if (!LOCALITIES.includes(locality)) {
    throw faultyLog('event-log-invalid', 'startup-locality', `event ${event.number} names no locality`);
  }
  return locality;
}
