/**
 * The thread's half of a synchronous library behind one dedicated worker thread (DESIGN: an ESYS_CONTEXT and a
 * libvirt connection belong to one thread, and libvirt's last error can only be read on the thread that saw it).
 * A worker module defines a table of plain synchronous functions and hands it to `serve`; the host side calls
 * them by name through `WorkerHost` (host.ts). Calls run one after another, in the order they were made.
 */
import { parentPort } from 'node:worker_threads';
import { TvmmpError } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';

/** What a worker module offers: functions whose arguments and results survive a structured clone. */
export type CallTable = Record<string, (...args: never[]) => unknown>;

/** A call on its way to the thread. */
export interface CallRequest {
  readonly id: number;
  readonly name: string;
  readonly args: readonly unknown[];
}

/** The only message that is not a call: run the close hook and end the thread. */
export interface CloseRequest {
  readonly close: true;
}

/** An exception in a form that survives a structured clone: class and code of a TvmmpError are lost otherwise. */
export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** The thread's answer to one call. */
export type CallReply =
  { readonly id: number; readonly value: unknown } | { readonly id: number; readonly error: WireError };

function toWire(error: unknown): WireError {
  if (error instanceof TvmmpError) {
    return { code: error.code, message: error.message, details: error.details };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'internal', message, details: {} };
}

/**
 * Answers the host's calls from a table of synchronous functions; worker modules call it once, at top level.
 * `onClose` frees what the library holds before the thread ends; what it throws is lost with the thread.
 */
export function serve(calls: CallTable, onClose: () => void = () => undefined): void {
  const port = parentPort;
  if (port === null) throw new TvmmpError('internal', 'a worker module was loaded outside a worker thread');
  const answer = (request: CallRequest): CallReply => {
    try {
      const call = Object.hasOwn(calls, request.name) ? calls[request.name] : undefined;
      if (call === undefined) throw new TvmmpError('internal', `the worker has no call ${request.name}`);
      return { id: request.id, value: call(...(request.args as never[])) };
    } catch (error) {
      return { id: request.id, error: toWire(error) };
    }
  };
  port.on('message', (message: CallRequest | CloseRequest) => {
    if ('close' in message) {
      try {
        onClose();
      } finally {
        port.close();
      }
      return;
    }
    port.postMessage(answer(message));
  });
}
