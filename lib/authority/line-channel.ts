/** Lines over a pair of byte streams, bounded in size and time: an ssh command, a pipe, a socket. */
import type { Readable, Writable } from 'node:stream';
import { limits } from '../limits.ts';
import { enrolmentError } from './enrolment-error.ts';

/** The two ends of a pipe as this side sees them. */
export class LineChannel {
  readonly #output: Writable;
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #deadlineMs: number;
  #buffered = Buffer.alloc(0);
  /** A broken pipe is reported by `send`; without a listener it would end the process. */
  readonly #ignore = (): void => undefined;

  constructor(input: Readable, output: Writable, deadlineMs: number = limits.enrolmentStepDeadlineMs) {
    this.#output = output;
    this.#deadlineMs = deadlineMs;
    this.#chunks = input.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
    output.on('error', this.#ignore);
  }

  /** The next line. Throws `enrolment-refused`: ended, timeout, malformed (too long, or not UTF-8). */
  async receive(): Promise<string> {
    for (;;) {
      const end = this.#buffered.indexOf(0x0a);
      if (
        end > limits.enrolmentLineBytesMax ||
        (end < 0 && this.#buffered.length > limits.enrolmentLineBytesMax)
      ) {
        throw enrolmentError('malformed', 'a line of the enrolment is too long');
      }
      if (end >= 0) {
        const line = this.#buffered.subarray(0, end);
        this.#buffered = this.#buffered.subarray(end + 1);
        return decode(line);
      }
      this.#buffered = Buffer.concat([this.#buffered, await this.#next()]);
    }
  }

  async send(line: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#output.write(`${line}\n`, (error) => {
        if (error) reject(enrolmentError('ended', `the other side is gone: ${error.message}`, error));
        else resolve();
      });
    });
  }

  async #next(): Promise<Buffer> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(enrolmentError('timeout', 'the other side did not answer in time'));
      }, this.#deadlineMs);
    });
    try {
      const result = await Promise.race([this.#chunks.next(), timeout]);
      if (result.done === true) throw enrolmentError('ended', 'the other side ended the enrolment');
      return Buffer.from(result.value);
    } finally {
      clearTimeout(timer);
    }
  }
}

function decode(line: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(line);
  } catch (cause) {
    throw enrolmentError('malformed', 'a line of the enrolment is not UTF-8', cause);
  }
}
