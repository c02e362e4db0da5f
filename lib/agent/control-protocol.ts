/**
 * What the CLI and the agent say to each other over `agent.sock`: one JSON object a line. A request is answered by any number of
 * progress lines and then one result or one error.
 */
export interface ControlRequest {
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
}

/** Something that goes on meanwhile, for people and progress bars. */
export interface Progress {
  /** Short name of the step, such as `attest`, `move`. */
  readonly step: string;
  readonly message: string;
  /** 0 to 1 where it is known. */
  readonly fraction?: number;
}

export type ControlReply =
  | { readonly progress: Progress }
  | { readonly result: unknown }
  /** `refused` is a decision (exit 1), anything else a code of lib/errors.ts (exit 2 or 3). */
  | { readonly error: { readonly code: string; readonly message: string } };

/** Of a request or a reply: a rescue (`limits.rescueBytesMax`) in base64 is the longest. */
export const controlLineBytesMax = 96 * 1024 * 1024;
