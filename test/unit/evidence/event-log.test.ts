import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { hash } from 'node:crypto';
import { eventLogFindings } from '../../../lib/appraisal/event-log-findings.ts';
import { secureBootOf } from '../../../lib/appraisal/secure-boot.ts';
import { parseEventLog } from '../../../lib/evidence/event-log.ts';
import { replayEventLog } from '../../../lib/evidence/event-log-replay.ts';
import { coverageOf } from '../../../lib/evidence/event-coverage.ts';
import { eventText } from '../../../lib/evidence/event-text.ts';
import { logFaultOf } from '../../../lib/evidence/log-fault.ts';
import { pcrValuesJson } from '../../../lib/evidence/pcr-replay.ts';
import { eventLogCases } from '../../support/event-log-cases.ts';
import { agileLog, bootEvents } from '../../support/event-log-builder.ts';

const boots = new URL('../../vectors/boot/', import.meta.url);

describe('event logs', () => {
  for (const { name, why, expect, secureBoot, findings, build } of eventLogCases) {
    it(`${expect === null ? 'reads' : `refuses as ${expect}`}: ${why} (${name})`, () => {
      const read = () => {
        const log = parseEventLog(build());
        replayEventLog(log);
        return log;
      };
      if (expect !== null) {
        assert.throws(read, (error) => {
          assert.equal(logFaultOf(error), expect);
          assert.match((error as Error).message, new RegExp(`^event log: ${expect}: `));
          return true;
        });
        return;
      }
      const log = read();
      assert.equal(secureBootOf(log).enabled, secureBoot);
      assert.deepEqual(
        eventLogFindings(log).map((finding) => finding.name),
        findings ?? [],
      );
    });
  }

  for (const boot of readdirSync(boots)) {
    it(`replays the recorded boot ${boot} to what its TPM held`, () => {
      const log = parseEventLog(readFileSync(new URL(`${boot}/event-log`, boots)));
      const pcrs = JSON.parse(readFileSync(new URL(`${boot}/pcrs.json`, boots), 'utf8')) as Record<
        string,
        Record<string, string>
      >;
      const replayed = pcrValuesJson(replayEventLog(log));
      assert.deepEqual(Object.keys(replayed), ['sha1', 'sha256']);
      for (const [bank, values] of Object.entries(replayed)) {
        assert.ok(Object.keys(values).length >= 9);
        for (const [pcr, value] of Object.entries(values))
          assert.equal(value, pcrs[bank]?.[pcr], `${bank} ${pcr}`);
      }
      assert.equal(secureBootOf(log).enabled, boot === 'debian-secure-boot');
      assert.deepEqual(eventLogFindings(log), []);
    });
  }

  it('reads what a real boot measured', () => {
    const log = parseEventLog(readFileSync(new URL('debian-secure-boot/event-log', boots)));
    const texts = log.events.map(eventText);
    for (const text of [
      'Spec ID Event03',
      'SecureBoot = 01',
      'Exit Boot Services Returned with Success',
      'kernel_cmdline: /boot/vmlinuz console=ttyS0 quiet ima_policy=critical_data ima_template=ima-sig',
    ])
      assert.ok(texts.includes(text), text);
    assert.ok(texts.some((text) => text.endsWith('\\EFI\\BOOT\\BOOTX64.EFI')));
    const { keys, authorities, closed } = secureBootOf(log);
    assert.deepEqual(
      [...keys].map(([name, entries]) => [name, entries.length]),
      [
        ['PK', 1],
        ['KEK', 2],
        ['db', 2],
        ['dbx', 1],
      ],
    );
    assert.deepEqual({ authorities, closed }, { authorities: 3, closed: true });
    const commandLine = log.events.find((event) => eventText(event).startsWith('kernel_cmdline'));
    assert.ok(commandLine);
    assert.equal(coverageOf(commandLine), 'text');
  });

  it('says what the digest of an event covers', () => {
    const covers = new Map(
      parseEventLog(agileLog(bootEvents())).events.map((event) => [eventText(event), coverageOf(event)]),
    );
    assert.equal(covers.get('SecureBoot = 01'), 'data');
    assert.equal(covers.get('\\vmlinuz'), null);
    assert.equal(covers.get('kernel_cmdline: /vmlinuz root=/dev/vda1'), 'text');
  });

  it('begins PCR 0 with the locality that TPM2_Startup came from', () => {
    const digest = hash('sha256', 'x', 'buffer');
    const events = [
      { pcr: 0, type: 'EV_NO_ACTION', data: Buffer.from('StartupLocality\0\x03', 'latin1') },
      { pcr: 0, type: 'EV_POST_CODE', data: Buffer.from('x') },
      { pcr: 1, type: 'EV_POST_CODE', data: Buffer.from('x') },
    ] as const;
    const values = pcrValuesJson(replayEventLog(parseEventLog(agileLog(events, ['sha256']))))['sha256'];
    const start = Buffer.alloc(32);
    assert.equal(values?.['1'], hash('sha256', Buffer.concat([start, digest]), 'hex'));
    start[31] = 3;
    assert.equal(values['0'], hash('sha256', Buffer.concat([start, digest]), 'hex'));
  });
});
