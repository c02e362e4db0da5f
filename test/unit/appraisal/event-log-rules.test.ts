/** Rules about event logs and IMA lists (SPEC 10.2), held against logs with one thing amiss each, whatever a quote says. */
import assert from 'node:assert/strict';
import {
  judgeCommandLines,
  judgeDigests,
  judgeEvents,
  judgeSecureBoot,
} from '../../../lib/appraisal/event-log-rules.ts';
import { ImaJudge, ImaRuleSet } from '../../../lib/appraisal/ima-rules.ts';
import { parseEventLog } from '../../../lib/evidence/event-log.ts';
import type { UntrustedEventLog } from '../../../lib/evidence/event-log.ts';
import { replayEventLog } from '../../../lib/evidence/event-log-replay.ts';
import { ImaReplay } from '../../../lib/evidence/ima-replay.ts';
import { agileLog, bootEvents, grub, image, text } from '../../support/event-log-builder.ts';
import type { BuiltEvent } from '../../support/event-log-builder.ts';
import { BootEvidence } from '../../support/boot-evidence.ts';
import { imaList } from '../../support/ima-builder.ts';

const log = (events: readonly BuiltEvent[]): UntrustedEventLog => parseEventLog(agileLog(events));
/** Digests of a PCR's events but for separators, as a policy would list them. */
const listOf = (of: UntrustedEventLog, pcr: number): readonly string[] =>
  of.events
    .filter((event) => event.pcr === pcr && event.type !== 4)
    .map((event) => Buffer.from(event.digests.get('sha256')!).toString('hex'));
const boot = bootEvents();

describe('rules about event logs', () => {
  it('take Secure Boot for on where a separator closes PCR 7 and a key let an image run', () => {
    assert.equal(judgeSecureBoot(log(boot), true).pass, true);
    assert.equal(judgeSecureBoot(log(bootEvents(0)), false).pass, true);
    const open = boot.filter(({ pcr, type }) => pcr !== 7 || type !== 'EV_SEPARATOR');
    assert.match(judgeSecureBoot(log(open), true).found, /^on, but no separator closes PCR 7$/);
    assert.equal(judgeSecureBoot(log(open), true).pass, false);
    const unlocked = boot.filter(({ type }) => type !== 'EV_EFI_VARIABLE_AUTHORITY');
    assert.match(judgeSecureBoot(log(unlocked), true).found, /^on, but no key let an image run$/);
    assert.equal(judgeSecureBoot(log(unlocked), true).pass, false);
  });

  it('ask that something was measured where something has to be', () => {
    const list = listOf(log(boot), 4);
    assert.equal(judgeDigests(log(boot), 4, list, { mayBeEmpty: false }).pass, true);
    const without = log(boot.filter(({ pcr, type }) => pcr !== 4 || type === 'EV_SEPARATOR'));
    assert.equal(judgeDigests(without, 4, list, { mayBeEmpty: false }).pass, false);
    assert.equal(judgeDigests(without, 4, list, { mayBeEmpty: true }).pass, true);
  });

  it('leave out a separator or an action only where its digest is that of its data', () => {
    const list = listOf(log(boot), 4);
    const other = image('\\evil.efi', 'evil');
    for (const type of ['EV_EFI_ACTION', 'EV_SEPARATOR'] as const) {
      const data = type === 'EV_SEPARATOR' ? new Uint8Array(4) : other.data;
      const hidden = log([...boot, { ...other, type, data }]);
      assert.equal(judgeDigests(hidden, 4, list, { mayBeEmpty: false }).pass, false, type);
    }
    const harmless = { pcr: 4, type: 'EV_EFI_ACTION', data: text('Calling EFI Application') } as const;
    assert.equal(judgeDigests(log([...boot, harmless]), 4, list, { mayBeEmpty: false }).pass, true);
  });

  it('find what cannot be believed in the PCRs that they are about', () => {
    assert.equal(judgeEvents(log(boot), [0, 7]).pass, true);
    const strange = log([...boot, { pcr: 2, type: 0x80000abc, data: text('x') }]);
    assert.equal(judgeEvents(strange, [0, 2]).pass, false);
    assert.equal(judgeEvents(strange, [0, 7]).pass, true);
  });

  it('want a kernel command line, and no text that its digest does not cover', () => {
    const list = ['/vmlinuz root=/dev/vda1'];
    assert.equal(judgeCommandLines(log(boot), list).pass, true);
    const silent = boot.filter(({ pcr }) => pcr !== 8);
    assert.equal(judgeCommandLines(log(silent), list).pass, false);
    const lies = { ...grub('kernel_cmdline', '/vmlinuz root=/dev/vda1'), measured: text('/vmlinuz evil') };
    assert.match(judgeCommandLines(log([...boot, lies]), list).found, /that its digest does not cover/);
    const labelled = grub('kernel_cmdline', 'vmlinuz evil');
    assert.equal(judgeCommandLines(log([...boot, labelled]), list).pass, false);
  });
});

describe('rules about IMA lists', () => {
  const recorded = new BootEvidence('debian-secure-boot');
  const { eventLog, ima } = recorded.input();
  const values = replayEventLog(parseEventLog(eventLog!));
  const judged = (list: Uint8Array): ImaJudge => {
    const judge = new ImaJudge(new ImaRuleSet({ files: {}, excluded: ['**'] }));
    new ImaReplay(list, ['sha256']).finish((entry) => {
      judge.judge(entry);
      return false;
    });
    return judge;
  };

  it('want the aggregate of this boot first', () => {
    assert.equal(judged(ima!).aggregate(values).pass, true);
    const other = replayEventLog(parseEventLog(agileLog(boot)));
    assert.match(judged(ima!).aggregate(other).found, /the aggregate of other PCR values/);
    assert.equal(judged(ima!).aggregate(other).pass, false);
    assert.equal(judged(recorded.imaWithout(0)).aggregate(values).pass, false);
    assert.equal(judged(recorded.imaReordered(0, 1)).aggregate(values).pass, false);
  });

  it('are not met by an empty list, nor by a list of violations alone', () => {
    const raced = imaList([{ path: '/x', contents: 'x', violation: true }]);
    assert.equal(judged(raced).violations().pass, false);
    assert.equal(new ImaJudge(new ImaRuleSet({ files: {} })).files().pass, false);
  });
});
