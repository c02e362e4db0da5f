import type { Command } from 'commander';
import { hex } from '../encoding/hex.ts';
import type { UntrustedEvent } from '../evidence/event-log.ts';
import { limits } from '../limits.ts';
import { leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { readInput } from './files.ts';
import { paint, print, printJson, table } from './output.ts';

/** `tvmmp event-log`. */
export function addEventLog(program: Command): void {
  leaf(program, {
    usage: 'event-log <file>',
    summary: 'read and replay a TCG event log',
    description:
      'Reads a log as the kernel shows it in binary_bios_measurements (crypto-agile, or of SHA-1 alone), replays it, and ' +
      'says what PCRs come of it, whether Secure Boot was on, and what in it cannot be believed. No TPM is asked: only a ' +
      'quote shows that this is the log of a host.\n\n' +
      'JSON: "replayed" (bank to PCR number to hexadecimal value), "secureBoot" (true, false, or null where the log does ' +
      'not say it in a way that can be believed), "findings" (what cannot be believed, and why), and "entries": every ' +
      'event in order with "number", "pcr" (null where it belongs to none), "type" (its name), "typeNumber", "digests" ' +
      '(bank to hexadecimal), "covers" (whether the digest is that of the data: "data", "variable" or "text" for a part ' +
      'of them, null if it is of something else), "text" (for people) and "data" (hexadecimal).',
    examples: [
      ['tvmmp event-log /sys/kernel/security/tpm0/binary_bios_measurements', 'This host, as root.'],
      ["tvmmp event-log boot.log --json | jq '.replayed.sha256'", 'The PCRs that the log leads to.'],
    ],
  }).action(eventLog);
}

async function eventLog(file: string, options: CommonOptions): Promise<void> {
  const { eventLogFindings } = await import('../appraisal/event-log-findings.ts');
  const { findingText } = await import('../appraisal/log-finding.ts');
  const { secureBootOf } = await import('../appraisal/secure-boot.ts');
  const { replayEventLog } = await import('../evidence/event-log-replay.ts');
  const { parseEventLog } = await import('../evidence/event-log.ts');
  const { pcrValuesJson } = await import('../evidence/pcr-replay.ts');
  const log = parseEventLog(readInput(file, limits.eventLogBytesMax));
  const replayed = pcrValuesJson(replayEventLog(log));
  const secureBoot = secureBootOf(log).enabled;
  const findings = eventLogFindings(log);
  const entries = await Promise.all(log.events.map(entryOf));
  if (options.json === true) {
    const { format, banks } = log;
    printJson({ format, banks, replayed, secureBoot, findings, entries });
    return;
  }
  print(
    `${log.format} log, ${log.events.length} events, banks ${log.banks.join(', ')}`,
    `Secure Boot: ${secureBoot === null ? 'not known' : secureBoot ? 'on' : 'off'}`,
    ...findings.map((finding) => paint('yellow', findingText(finding))),
    '',
    ...table(
      ['#', 'PCR', 'TYPE', 'WHAT'],
      entries.map(({ number, pcr, type, text }) => [
        String(number),
        pcr === null ? '' : String(pcr),
        type,
        text,
      ]),
    ),
    '',
    ...replayedText(replayed),
  );
}

/** Values of replayed PCRs for people, a PCR of a bank a line. */
export function replayedText(
  replayed: Readonly<Record<string, Readonly<Record<string, string>>>>,
): readonly string[] {
  const rows = Object.entries(replayed).flatMap(([bank, pcrs]) =>
    Object.entries(pcrs).map(([pcr, value]) => [bank, pcr, value]),
  );
  return table(['BANK', 'PCR', 'REPLAYED VALUE'], rows);
}

/** An event as `entries` has it. */
async function entryOf(event: UntrustedEvent) {
  const { coverageOf } = await import('../evidence/event-coverage.ts');
  const { eventText } = await import('../evidence/event-text.ts');
  const { eventTypeText } = await import('../evidence/event-types.ts');
  return {
    number: event.number,
    pcr: event.pcr,
    type: eventTypeText(event.type),
    typeNumber: event.type,
    digests: Object.fromEntries([...event.digests].map(([bank, digest]) => [bank, hex(digest)])),
    covers: coverageOf(event),
    text: eventText(event),
    data: hex(event.data),
  };
}
