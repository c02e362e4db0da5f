/** Recorded boots (test/vectors/boot) as evidence, with a policy that accepts them, and with one thing changed. */
import { createPublicKey, hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { secureBootOf } from '../../lib/appraisal/secure-boot.ts';
import type { EvidenceInput } from '../../lib/appraisal/evidence-appraisal.ts';
import type { EventLogRules, ImaRules } from '../../lib/appraisal/log-rules.ts';
import { ByteWriter } from '../../lib/bytes/writer.ts';
import { coverageOf, labelledText } from '../../lib/evidence/event-coverage.ts';
import { isMeasured, parseEventLog } from '../../lib/evidence/event-log.ts';
import type { UntrustedEvent } from '../../lib/evidence/event-log.ts';
import { eventText } from '../../lib/evidence/event-text.ts';
import { EVENT_TYPES } from '../../lib/evidence/event-types.ts';
import type { EventTypeName } from '../../lib/evidence/event-types.ts';
import { ImaReplay } from '../../lib/evidence/ima-replay.ts';
import type { UntrustedImaEntry } from '../../lib/evidence/ima-list.ts';
import { HASHES } from '../../lib/tpm/algorithms.ts';
import type { PcrBank } from '../../lib/tpm/port.ts';
import { imaEntry } from './ima-builder.ts';

/** Qualifying data of every recorded quote (scripts/record-boot). */
export const recordedNonce = Uint8Array.from(Buffer.from('74766d6d702d6576696465', 'hex'));

/** What a policy rules in a test: by default everything, with PCRs 0 and 7 in their recorded state. */
interface Rules {
  readonly eventLog?: EventLogRules | undefined;
  readonly ima?: ImaRules | undefined;
  readonly pcrs?: readonly number[];
}

/** One recorded boot. */
export class BootEvidence {
  readonly quotedPcrs: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  file(name: string): URL {
    return new URL(`../vectors/boot/${this.#name}/${name}`, import.meta.url);
  }

  /** The evidence, and a policy with these rules. */
  input(rules: Rules = {}): EvidenceInput {
    const given = { eventLog: this.eventLogRules(), ima: this.imaRules(), ...rules };
    const { sha256 } = JSON.parse(readFileSync(this.file('pcrs.json'), 'utf8')) as Record<
      'sha256',
      Record<string, string>
    >;
    const pcrs = rules.pcrs ?? [0, 7];
    const state = new Map(
      pcrs.map((pcr) => [pcr, Uint8Array.from(Buffer.from(sha256[String(pcr)] ?? '', 'hex'))]),
    );
    const { eventLog, ima } = given;
    return {
      policy: {
        id: 'recorded',
        version: 1,
        pcrs,
        states: [{ name: 'recorded', pcrs: state }],
        rules: { ...(eventLog === undefined ? {} : { eventLog }), ...(ima === undefined ? {} : { ima }) },
      },
      ak: createPublicKey(readFileSync(this.file('ak.pem'))),
      nonce: recordedNonce,
      attest: readFileSync(this.file('quote.attest')),
      signature: readFileSync(this.file('quote.signature')),
      eventLog: readFileSync(this.file('event-log')),
      ima: readFileSync(this.file('ima')),
    };
  }

  events(): readonly UntrustedEvent[] {
    return parseEventLog(readFileSync(this.file('event-log'))).events;
  }

  /** Digests of a PCR's events, without separators and actions. */
  digestsOf(pcr: number): readonly string[] {
    const skipped: readonly number[] = [EVENT_TYPES.EV_SEPARATOR, EVENT_TYPES.EV_EFI_ACTION];
    return this.events()
      .filter((event) => isMeasured(event) && event.pcr === pcr && !skipped.includes(event.type))
      .map((event) => Buffer.from(event.digests.get('sha256') ?? []).toString('hex'));
  }

  /** Rules that accept this boot's event log. */
  eventLogRules(): EventLogRules {
    const { enabled, keys } = secureBootOf(parseEventLog(readFileSync(this.file('event-log'))));
    const hex = [...keys].map(([name, of]) => [
      name,
      of.map(({ sha256 }) => Buffer.from(sha256).toString('hex')),
    ]);
    const lines = this.events().flatMap((event) => {
      const text = event.pcr === 8 && coverageOf(event) === 'text' ? labelledText(event.data) : undefined;
      return text?.label === 'kernel_cmdline:' ? [Buffer.from(text.covered).toString()] : [];
    });
    return {
      secureBoot: enabled ?? false,
      keys: Object.fromEntries(hex) as NonNullable<EventLogRules['keys']>,
      firmware: this.digestsOf(0),
      drivers: this.digestsOf(2),
      images: this.digestsOf(4),
      bootFiles: this.digestsOf(9),
      commandLines: lines,
    };
  }

  imaEntries(): readonly UntrustedImaEntry[] {
    const entries: UntrustedImaEntry[] = [];
    new ImaReplay(readFileSync(this.file('ima')), ['sha256']).finish((entry) => {
      entries.push(entry);
      return false;
    });
    return entries;
  }

  /** Rules that accept this boot's IMA list, but for violations. */
  imaRules(): ImaRules {
    const listed = this.imaEntries().filter(({ path, violation }) => !violation && !path.startsWith('/tmp/'));
    return {
      files: Object.fromEntries(listed.map(({ path, digest }) => [path, [digest]])),
      excluded: ['/tmp/*'],
    };
  }

  laterImaEntry(path: string, contents: string): Uint8Array {
    return imaEntry({ path, contents, template: 'ima-sig' });
  }

  imaWithout(number: number): Uint8Array {
    return this.#imaOf(this.#imaParts().filter((_, index) => index !== number));
  }

  imaReordered(first: number, second: number): Uint8Array {
    const parts = [...this.#imaParts()];
    [parts[first], parts[second]] = [parts[second]!, parts[first]!];
    return this.#imaOf(parts);
  }

  eventLogWithout(number: number): Uint8Array {
    return this.#logOf(this.events().filter((event) => event.number !== number));
  }

  /** The log with another type for the event that has this text. */
  eventLogRetyped(text: string, type: EventTypeName | number): Uint8Array {
    const number = typeof type === 'number' ? type : EVENT_TYPES[type];
    return this.#changed(text, (event) => ({ ...event, type: number }));
  }

  /** The log with another label before the covered text of an event. */
  eventLogRelabelled(text: string, label: string): Uint8Array {
    return this.#changed(text, (event) => {
      const data = Buffer.from(event.data).toString('latin1').replace(text, label);
      return { ...event, data: Buffer.from(data, 'latin1') };
    });
  }

  /** The log of a boot in which a text of GRUB's was another one, as it would have been measured. */
  eventLogRemeasured(text: string, change: (text: string) => string): Uint8Array {
    return this.#changed(text, (event) => {
      const data = Buffer.from(change(Buffer.from(event.data).toString('latin1')), 'latin1');
      const measured = labelledText(data)?.covered ?? new Uint8Array();
      const digests = new Map(
        [...event.digests.keys()].map((bank) => [bank, Uint8Array.from(hash(bank, measured, 'buffer'))]),
      );
      return { ...event, digests, data };
    });
  }

  #changed(text: string, change: (event: UntrustedEvent) => UntrustedEvent): Uint8Array {
    const found = this.events().find((event) => eventText(event).startsWith(text));
    if (found === undefined) throw new Error(`no event ${text}`);
    return this.#logOf(this.events().map((event) => (event.number === found.number ? change(event) : event)));
  }

  #logOf(events: readonly UntrustedEvent[]): Uint8Array {
    const writer = new ByteWriter();
    for (const { number, pcr, type, digests, data } of events) {
      writer.u32le(pcr ?? 0xffffffff).u32le(type);
      if (number > 0) writer.u32le(digests.size);
      for (const [bank, digest] of digests) {
        if (number > 0) writer.u16le(HASHES[bank as PcrBank].id);
        writer.bytes(digest);
      }
      writer.sized32le(data);
    }
    return writer.finish();
  }

  /** The bytes of each entry. */
  #imaParts(): readonly Uint8Array[] {
    const bytes = readFileSync(this.file('ima'));
    const replay = new ImaReplay(bytes, ['sha256']);
    const parts: Uint8Array[] = [];
    for (let from = 0; replay.step(1); from = replay.position().bytes)
      parts.push(bytes.subarray(from, replay.position().bytes));
    return parts;
  }

  #imaOf(parts: readonly Uint8Array[]): Uint8Array {
    return Uint8Array.from(Buffer.concat(parts));
  }
}
