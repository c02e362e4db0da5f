import { ByteReader } from '../bytes/reader.ts';
import { faultyLog } from './log-fault.ts';
import type { LogErrorCode, LogFault } from './log-fault.ts';

/** How a LogReader names what it finds wrong by itself: bytes that end too early, and bytes that are left over. */
export interface LogReaderOptions {
  readonly code: LogErrorCode;
  /** Default `truncated`. */
  readonly short?: LogFault;
  /** Default `trailing-bytes`. */
  readonly left?: LogFault;
}

/** Reads logs: a ByteReader whose errors have a name of lib/evidence/log-fault.ts. */
export class LogReader extends ByteReader {
  readonly #code: LogErrorCode;
  readonly #short: LogFault;
  readonly #left: LogFault;

  constructor(bytes: Uint8Array, options: LogReaderOptions) {
    super(bytes, { what: 'log', code: options.code });
    this.#code = options.code;
    this.#short = options.short ?? 'truncated';
    this.#left = options.left ?? 'trailing-bytes';
  }

  /** Throws the named fault at this reader's present offset. */
  fault(name: LogFault, reason: string): never {
    throw faultyLog(this.#code, name, reason, { offset: this.offset });
  }

  override fail(reason: string): never {
    return this.fault(this.#short, `at byte ${this.offset}: ${reason}`);
  }

  override end(): void {
    if (this.remaining !== 0) this.fault(this.#left, `${this.remaining} bytes are left over`);
  }
}
