/** What main thread and fuzzing thread share. */

export interface Task {
  readonly target: string;
  readonly seed: number;
  /** Executions beyond the first inputs; 0 runs those alone. */
  readonly executions: number;
  readonly seconds: number;
  /** Keep only inputs that reach a block, not those that reach it more often. */
  readonly coarse: boolean;
  /** Number of executions, length of the running input, the running input. */
  readonly shared: SharedArrayBuffer;
  /** Inputs of earlier runs beside the committed ones. */
  readonly extra: readonly Uint8Array[];
}

/** Offsets in `Task.shared`, and its size. */
export const SHARED = { executions: 0, length: 8, input: 16, bytes: 16 + 256 * 1024 } as const;
