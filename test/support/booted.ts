/** What a host has measured since it booted: logs, and the PCRs that they lead to; honest until a test changes one of them alone. */
import { readFileSync } from 'node:fs';
import { parseEventLog } from '../../lib/evidence/event-log.ts';
import { replayEventLog } from '../../lib/evidence/event-log-replay.ts';
import { ImaReplay } from '../../lib/evidence/ima-replay.ts';
import type { LogFiles } from '../../lib/migration/log-files.ts';
import { BootEvidence } from './boot-evidence.ts';
import { imaEntry } from './ima-builder.ts';
import type { Pcrs } from './software-tpm.ts';

/** A boot that was recorded (test/vectors/boot), and goes on. */
export class Booted {
  readonly recorded: BootEvidence;
  /** What it shows. */
  eventLog: Uint8Array | null;
  ima: Uint8Array | null;
  readonly #measured: { eventLog: Uint8Array; ima: Uint8Array };

  constructor(name = 'debian-secure-boot') {
    this.recorded = new BootEvidence(name);
    this.eventLog = Uint8Array.from(readFileSync(this.recorded.file('event-log')));
    this.ima = Uint8Array.from(readFileSync(this.recorded.file('ima')));
    this.#measured = { eventLog: this.eventLog, ima: this.ima };
  }

  /** The firmware measures another log. */
  measuring(eventLog: Uint8Array): this {
    this.eventLog = eventLog;
    this.#measured.eventLog = eventLog;
    return this;
  }

  /** A file is measured; gives the bytes that the list grows by. */
  run(path: string, contents: string): number {
    return this.append(imaEntry({ path, contents, template: 'ima-sig' }));
  }

  append(entries: Uint8Array): number {
    this.#measured.ima = Uint8Array.from(Buffer.concat([this.#measured.ima, entries]));
    this.ima = this.#measured.ima;
    return entries.byteLength;
  }

  /** The SHA-256 bank of its TPM. */
  get pcrs(): Pcrs {
    const start = replayEventLog(parseEventLog(this.#measured.eventLog));
    const replay = new ImaReplay(this.#measured.ima, ['sha256'], undefined, start);
    replay.finish();
    return replay.position().pcrs.get('sha256') ?? new Map();
  }

  /** What its kernel shows, as it is when it is looked at. */
  get files(): LogFiles {
    return {
      eventLog: () => Promise.resolve(this.eventLog),
      imaLength: () => Promise.resolve(this.ima === null ? null : String(this.ima.byteLength)),
      imaList: (from) => Promise.resolve(this.ima === null ? null : this.#pieces(from)),
    };
  }

  async *#pieces(from: number): AsyncGenerator<Uint8Array> {
    const rest = this.ima?.subarray(from) ?? new Uint8Array();
    if (rest.byteLength > 0) yield await Promise.resolve(rest);
  }
}
