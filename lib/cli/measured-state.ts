/** Platform states as `tvmmp host measure --json` writes them and `tvmmp policy new` reads them. */
import { sha256Form, unhex } from '../encoding/hex.ts';
import { JsonShapeError, objectOf, textOf } from '../encoding/json-object.ts';
import { TvmmpError } from '../errors.ts';
import type { DraftState } from '../appraisal/policy-text.ts';
import type { PcrValue } from '../tpm/port.ts';
import { usageError } from './exit.ts';
import { readText } from './files.ts';
import { pcrObject } from './policy-view.ts';

const STATE_BYTES_MAX = 64 * 1024;
const PCR = /^(?:\d|1\d|2[0-3])$/;

/** The JSON of one state. */
export function stateJson(state: DraftState): unknown {
  return { name: state.name, pcrs: { sha256: pcrObject(state.pcrs) } };
}

/** A state out of PCRs that were read. */
export function stateOf(name: string, values: readonly PcrValue[]): DraftState {
  return { name, pcrs: new Map(values.map(({ pcr, digest }) => [pcr, digest])) };
}

/** Reads one state's file. Throws `usage-invalid`. */
export function readState(file: string): DraftState {
  const text = readText(file, STATE_BYTES_MAX);
  try {
    const state = objectOf(JSON.parse(text), 'the state', ['name', 'pcrs']);
    const { sha256 } = objectOf(state['pcrs'], 'pcrs', ['sha256']) as { sha256: unknown };
    if (typeof sha256 !== 'object' || sha256 === null)
      throw new JsonShapeError('pcrs.sha256 is not an object');
    const values = Object.entries(sha256).map(([pcr, value]) => {
      const index = Number(textOf(pcr, 'a PCR', PCR));
      return [index, unhex(textOf(value, `PCR ${pcr}`, sha256Form))] as const;
    });
    return { name: textOf(state['name'], 'name', /^[\x20-\x7e]{1,128}$/), pcrs: new Map(values) };
  } catch (cause) {
    if (!(cause instanceof JsonShapeError || cause instanceof SyntaxError)) throw cause;
    throw usageError(`${file} is not the output of tvmmp host measure --json: ${cause.message}`, cause);
  }
}

/** A state with these PCRs alone. Throws `usage-invalid` where it lacks one. */
export function restrictTo(state: DraftState, pcrs: readonly number[]): DraftState {
  const values = pcrs.map((pcr) => {
    const value = state.pcrs.get(pcr);
    if (value === undefined) {
      throw new TvmmpError(
        'usage-invalid',
        `the state ${state.name} has no PCR ${pcr}; measure it again with --pcrs ${pcrs.join(',')}`,
      );
    }
    return [pcr, value] as const;
  });
  return { name: state.name, pcrs: new Map(values) };
}
