/** The vectors of event logs (test/vectors/event-log): each log has one property or one fault. */
import { ByteWriter } from '../../lib/bytes/writer.ts';
import type { FindingName } from '../../lib/appraisal/log-finding.ts';
import type { LogFault } from '../../lib/evidence/log-fault.ts';
import { agileLog, agileRecord, bootEvents, grub, oldLog, oldRecord } from './event-log-builder.ts';
import { separator, specIdData, specIdRecord, text, variable } from './event-log-builder.ts';
import type { BuiltEvent } from './event-log-builder.ts';

/** `expect`: the fault that the parser must name, or null where it reads the log; then what it says about it. */
export interface EventLogCase {
  readonly name: string;
  readonly why: string;
  readonly expect: LogFault | null;
  readonly secureBoot?: boolean | null;
  readonly findings?: readonly FindingName[];
  readonly build: () => Uint8Array;
}

const boot = bootEvents();
const good = (): Uint8Array => agileLog(boot);
const without = (type: string): readonly BuiltEvent[] => boot.filter((event) => event.type !== type);
const replaced = (at: number, change: Partial<BuiltEvent>): readonly BuiltEvent[] =>
  boot.map((event, index) => (index === at ? { ...event, ...change } : event));
const SECURE_BOOT = 2;
const specIdSize = specIdRecord(['sha1', 'sha256']).byteLength;
const after = (...parts: readonly Uint8Array[]): Uint8Array => Buffer.concat([good(), ...parts]);
const headed = (data: Uint8Array): Uint8Array =>
  Buffer.concat([oldRecord({ pcr: 0, type: 'EV_NO_ACTION', data })]);
/** The good log with some bytes replaced, counted from the first event after the Spec ID event. */
const patched = (at: number, bytes: Uint8Array): Uint8Array => {
  const log = Uint8Array.from(good());
  log.set(bytes, specIdSize + at);
  return log;
};
const failed: BuiltEvent = { ...separator(7), data: Uint8Array.of(0xff, 0xff, 0xff, 0xff) };
const u32 = (value: number): Uint8Array => new ByteWriter().u32le(value).finish();
const locality = (value: number, pcr = 0): BuiltEvent => ({
  pcr,
  type: 'EV_NO_ACTION',
  data: Buffer.concat([text('StartupLocality\0'), Uint8Array.of(value)]),
});

const readable: readonly EventLogCase[] = [
  { name: 'good', why: 'a boot with Secure Boot on', expect: null, secureBoot: true, build: good },
  {
    name: 'secure-boot-off',
    why: 'the variable is 0',
    expect: null,
    secureBoot: false,
    build: () => agileLog(bootEvents(0)),
  },
  {
    name: 'secure-boot-absent',
    why: 'no event says anything about Secure Boot',
    expect: null,
    secureBoot: null,
    build: () => agileLog(without('EV_EFI_VARIABLE_DRIVER_CONFIG')),
  },
  {
    name: 'secure-boot-other-value',
    why: 'the variable is neither 0 nor 1',
    expect: null,
    secureBoot: null,
    build: () => agileLog(bootEvents(2)),
  },
  {
    name: 'sha256-only',
    why: 'one bank',
    expect: null,
    secureBoot: true,
    build: () => agileLog(boot, ['sha256']),
  },
  {
    name: 'four-banks',
    why: 'all banks that a TPM of today has',
    expect: null,
    secureBoot: true,
    build: () => agileLog(boot, ['sha1', 'sha256', 'sha384', 'sha512']),
  },
  { name: 'legacy', why: 'a log of SHA-1 alone', expect: null, secureBoot: true, build: () => oldLog(boot) },
  {
    name: 'legacy-spec-id',
    why: 'a log of SHA-1 with the Spec ID event of TPM 1.2',
    expect: null,
    secureBoot: true,
    build: () => oldLog([{ pcr: 0, type: 'EV_NO_ACTION', data: text('Spec ID Event02\0........') }, ...boot]),
  },
  {
    name: 'startup-locality-3',
    why: 'PCR 0 begins with the locality of TPM2_Startup',
    expect: null,
    secureBoot: true,
    build: () => agileLog([locality(3), ...boot]),
  },
  {
    name: 'no-pcr',
    why: 'an informative event belongs to no PCR',
    expect: null,
    secureBoot: true,
    build: () => agileLog([{ pcr: 0xffffffff, type: 'EV_NO_ACTION', data: text('a note') }, ...boot]),
  },
];

const unbelievable: readonly EventLogCase[] = [
  {
    name: 'data-changed',
    why: 'SecureBoot says 1, and its digest is that of 0: data that the digest does not cover are not believed',
    expect: null,
    secureBoot: null,
    findings: ['digest-mismatch'],
    build: () => agileLog(replaced(SECURE_BOOT, { measured: variable('SecureBoot', Uint8Array.of(0)).data })),
  },
  {
    name: 'type-changed',
    why: 'the type of the SecureBoot event was changed; the digest, which does not cover it, is right',
    expect: null,
    secureBoot: null,
    findings: ['unexpected-type'],
    build: () => agileLog(replaced(SECURE_BOOT, { type: 'EV_EFI_VARIABLE_BOOT' })),
  },
  {
    name: 'type-changed-to-separator',
    why: 'an image is passed off as a separator: hashing the data again shows it',
    expect: null,
    secureBoot: true,
    findings: ['digest-mismatch'],
    build: () =>
      agileLog([
        ...boot,
        { pcr: 4, type: 'EV_SEPARATOR', data: new Uint8Array(4), measured: text('bad image') },
      ]),
  },
  {
    name: 'type-unknown',
    why: 'a type that nobody knows in PCR 7',
    expect: null,
    secureBoot: null,
    findings: ['unknown-type'],
    build: () => agileLog([...boot, { pcr: 7, type: 0x80000abc, data: text('?') }]),
  },
  {
    name: 'type-unknown-elsewhere',
    why: 'a type that nobody knows in another PCR',
    expect: null,
    secureBoot: true,
    findings: ['unknown-type'],
    build: () => agileLog([...boot, { pcr: 4, type: 0x77, data: text('?') }]),
  },
  {
    name: 'reordered',
    why: 'the separator of PCR 7 before its variables',
    expect: null,
    secureBoot: null,
    findings: ['late-variable', 'late-variable', 'late-variable', 'late-variable', 'late-variable'],
    build: () =>
      agileLog([separator(7), ...boot.filter((event) => event.type !== 'EV_SEPARATOR' || event.pcr !== 7)]),
  },
  {
    name: 'variable-twice',
    why: 'SecureBoot is measured twice',
    expect: null,
    secureBoot: null,
    findings: ['duplicate-variable'],
    build: () => agileLog([variable('SecureBoot', Uint8Array.of(0)), ...boot]),
  },
  {
    name: 'debug-mode',
    why: 'a UEFI debugger was attached',
    expect: null,
    secureBoot: null,
    findings: ['debug-mode'],
    build: () => agileLog([{ pcr: 7, type: 'EV_EFI_ACTION', data: text('UEFI Debug Mode') }, ...boot]),
  },
  {
    name: 'separator-error',
    why: 'the firmware reports an error in PCR 7',
    expect: null,
    secureBoot: null,
    findings: ['error-separator'],
    build: () =>
      agileLog(boot.map((event) => (event.pcr === 7 && event.type === 'EV_SEPARATOR' ? failed : event))),
  },
  {
    name: 'separator-twice',
    why: 'a second separator of PCR 7',
    expect: null,
    secureBoot: null,
    findings: ['duplicate-separator'],
    build: () => agileLog([...boot, separator(7)]),
  },
];

const unreadable: readonly EventLogCase[] = [
  { name: 'empty', why: 'no bytes at all', expect: 'empty', build: () => new Uint8Array() },
  {
    name: 'truncated',
    why: 'cut off within the data of the last event',
    expect: 'truncated',
    build: () => good().slice(0, -5),
  },
  {
    name: 'truncated-digest',
    why: 'cut off within a digest',
    expect: 'truncated',
    build: () => good().slice(0, specIdSize + 20),
  },
  {
    name: 'trailing-bytes',
    why: 'three bytes after the last event',
    expect: 'trailing-bytes',
    build: () => after(text('abc')),
  },
  {
    name: 'trailing-zeros',
    why: 'padded as firmware keeps it',
    expect: 'trailing-bytes',
    build: () => after(new Uint8Array(512)),
  },
  {
    name: 'trailing-ones',
    why: 'padded as flash keeps it',
    expect: 'trailing-bytes',
    build: () => after(new Uint8Array(64).fill(0xff)),
  },
  {
    name: 'count-huge',
    why: 'four thousand million digests',
    expect: 'digest-count',
    build: () => patched(8, u32(0xffffffff)),
  },
  {
    name: 'count-short',
    why: 'an event without the digest of one bank',
    expect: 'digest-count',
    build: () => after(agileRecord(grub('grub_cmd', 'true'), ['sha1'])),
  },
  {
    name: 'data-huge',
    why: 'an event of four gigabytes',
    expect: 'data-too-large',
    build: () => patched(12 + 22 + 34, u32(0xfffffff0)),
  },
  {
    name: 'digest-size-announced',
    why: 'the Spec ID event announces SHA-256 digests of 20 bytes',
    expect: 'digest-size',
    build: () => {
      const data = Uint8Array.from(specIdData(['sha1', 'sha256']));
      data.set([20, 0], 28 + 6);
      return headed(data);
    },
  },
  {
    name: 'algorithm-unknown',
    why: 'a digest of an algorithm that was not announced',
    expect: 'algorithm-unknown',
    build: () => after(agileRecord(grub('grub_cmd', 'true'), ['sha1', 'sha384'])),
  },
  {
    name: 'algorithm-twice',
    why: 'two digests of one algorithm',
    expect: 'algorithm-twice',
    build: () => after(agileRecord(grub('grub_cmd', 'true'), ['sha1', 'sha1'])),
  },
  {
    name: 'algorithm-announced-twice',
    why: 'the Spec ID event announces one algorithm twice',
    expect: 'algorithm-twice',
    build: () => headed(specIdData(['sha256', 'sha256'])),
  },
  {
    name: 'algorithms-huge',
    why: 'the Spec ID event announces four thousand million algorithms',
    expect: 'digest-count',
    build: () => {
      const data = Uint8Array.from(specIdData(['sha1']));
      data.set(u32(0xffffffff), 24);
      return headed(data);
    },
  },
  {
    name: 'spec-id-missing',
    why: 'crypto-agile events without a Spec ID event',
    expect: 'spec-id-missing',
    build: () => good().slice(specIdSize),
  },
  {
    name: 'spec-id-duplicate',
    why: 'a second Spec ID event',
    expect: 'spec-id-duplicate',
    build: () => agileLog([...boot, { pcr: 0, type: 'EV_NO_ACTION', data: specIdData(['sha1', 'sha256']) }]),
  },
  {
    name: 'spec-id-late',
    why: 'the Spec ID event is not the first',
    expect: 'spec-id-missing',
    build: () => oldLog([boot[0]!, { pcr: 0, type: 'EV_NO_ACTION', data: specIdData(['sha1', 'sha256']) }]),
  },
  {
    name: 'spec-id-version',
    why: 'a Spec ID event of version 3.0',
    expect: 'spec-id-invalid',
    build: () => {
      const data = Uint8Array.from(specIdData(['sha1']));
      data.set([3], 21);
      return headed(data);
    },
  },
  {
    name: 'spec-id-short',
    why: 'a Spec ID event that ends within its algorithms',
    expect: 'spec-id-invalid',
    build: () => headed(specIdData(['sha1', 'sha256']).slice(0, 30)),
  },
  {
    name: 'spec-id-other-pcr',
    why: 'a Spec ID event of another PCR, which the kernel does not take either',
    expect: 'spec-id-invalid',
    build: () => oldRecord({ pcr: 1, type: 'EV_NO_ACTION', data: specIdData(['sha1']) }),
  },
  {
    name: 'pcr-out-of-range',
    why: 'an event of PCR 24',
    expect: 'pcr-out-of-range',
    build: () => agileLog([...boot, separator(24)]),
  },
  {
    name: 'startup-locality-late',
    why: 'the locality of TPM2_Startup after the first measurement of PCR 0',
    expect: 'startup-locality',
    build: () => agileLog([...boot, locality(3)]),
  },
  {
    name: 'startup-locality-1',
    why: 'a locality that TPM2_Startup cannot come from',
    expect: 'startup-locality',
    build: () => agileLog([locality(1), ...boot]),
  },
];

export const eventLogCases: readonly EventLogCase[] = [...readable, ...unbelievable, ...unreadable];
