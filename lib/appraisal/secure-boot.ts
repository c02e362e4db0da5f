/**
 * What an event log says about Secure Boot (SPEC 14.2), read from PCR 7 alone and from nothing that a digest does not cover.
 * go-attestation's rules: every event there is of a type that belongs there, its data hash to its digest, variables come once
 * and before the separator. Whether the digests are those of the TPM is a question for the replay.
 */
import { hex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';
import {
  EFI_GLOBAL_VARIABLE,
  EFI_IMAGE_SECURITY_DATABASE,
  parseEfiVariable,
  parseSignatureLists,
} from '../evidence/efi-variable.ts';
import type { EfiSignature, EfiVariable } from '../evidence/efi-variable.ts';
import { coverageOf } from '../evidence/event-coverage.ts';
import { isMeasured } from '../evidence/event-log.ts';
import type { UntrustedEvent, UntrustedEventLog } from '../evidence/event-log.ts';
import { eventTypeName, eventTypeText } from '../evidence/event-types.ts';
import type { FindingName, LogFinding } from './log-finding.ts';

/** Names of the variables that hold keys. */
export const keyVariables = ['PK', 'KEK', 'db', 'dbx'] as const;
export type KeyVariable = (typeof keyVariables)[number];

/** Secure Boot as it was measured. */
export interface SecureBootState {
  /** null where the log does not say, or says it in a way that cannot be believed (`findings`). */
  readonly enabled: boolean | null;
  /** Keys by variable, as far as they were measured and can be read. */
  readonly keys: ReadonlyMap<KeyVariable, readonly EfiSignature[]>;
  /** Whether a separator closes the firmware's part. */
  readonly closed: boolean;
  /** Images that Secure Boot let run, each by an entry of a database. */
  readonly authorities: number;
  /** Why PCR 7's events cannot be believed. */
  readonly findings: readonly LogFinding[];
}

/** Why an event cannot be believed: name and text of a finding. */
type Flaw = readonly [name: FindingName, text: string];

const PCR = 7;
const DEBUG_MODE = 'UEFI Debug Mode';
/** Actions that PCR 7 may hold and that take nothing away from Secure Boot. */
const HARMLESS_ACTIONS: readonly string[] = ['DMA Protection Disabled'];

/** Reads the state of Secure Boot from the events of PCR 7. */
export function secureBootOf(log: UntrustedEventLog): SecureBootState {
  const found = new Pcr7();
  for (const event of log.events) if (isMeasured(event) && event.pcr === PCR) found.read(event);
  return found.state();
}

/** Collects what the events of PCR 7 say, one after another. */
class Pcr7 {
  readonly #variables = new Map<string, EfiVariable>();
  readonly #findings: LogFinding[] = [];
  #closed = false;
  #authorities = 0;

  read(event: UntrustedEvent): void {
    const flaw = this.#flawOf(event);
    if (flaw !== undefined) {
      const [name, text] = flaw;
      this.#findings.push({ name, event: event.number, pcr: event.pcr, text });
    }
  }

  state(): SecureBootState {
    const keys = new Map<KeyVariable, readonly EfiSignature[]>();
    for (const name of keyVariables) {
      const guid = name === 'PK' || name === 'KEK' ? EFI_GLOBAL_VARIABLE : EFI_IMAGE_SECURITY_DATABASE;
      const signatures = signaturesOf(this.#variables.get(`${guid}:${name}`));
      if (signatures !== undefined) keys.set(name, signatures);
    }
    return {
      enabled: this.#findings.length > 0 ? null : this.#enabled(),
      keys,
      closed: this.#closed,
      authorities: this.#authorities,
      findings: this.#findings,
    };
  }

  /** A variable without a value is one that this firmware does not have: Secure Boot is off. */
  #enabled(): boolean | null {
    const value = this.#variables.get(`${EFI_GLOBAL_VARIABLE}:SecureBoot`)?.value;
    if (value === undefined) return null;
    if (value.byteLength === 0) return false;
    const text = hex(value);
    return text === '01' ? true : text === '00' ? false : null;
  }

  /** Takes in what an event says, or says why it cannot be believed. */
  #flawOf(event: UntrustedEvent): Flaw | undefined {
    const name = eventTypeName(event.type);
    if (name === undefined) return ['unknown-type', `type ${eventTypeText(event.type)}`];
    if (coverageOf(event) !== 'data') return ['digest-mismatch', 'its digest is not that of its data'];
    switch (name) {
      case 'EV_SEPARATOR':
        return this.#separator(event.data);
      case 'EV_EFI_ACTION':
        return actionFlaw(Buffer.from(event.data).toString('latin1'));
      case 'EV_EFI_VARIABLE_DRIVER_CONFIG':
        return this.#variable(event.data);
      case 'EV_EFI_VARIABLE_AUTHORITY':
        this.#authorities += 1;
        return undefined;
      default:
        return ['unexpected-type', `${name} does not belong into PCR ${PCR}`];
    }
  }

  #separator(data: Uint8Array): Flaw | undefined {
    if (this.#closed) return ['duplicate-separator', 'a second separator'];
    this.#closed = true;
    const good = hex(data) === '00000000';
    return good ? undefined : ['error-separator', 'the firmware reports an error'];
  }

  #variable(data: Uint8Array): Flaw | undefined {
    let variable: EfiVariable;
    try {
      variable = parseEfiVariable(data);
    } catch (error) {
      if (!(error instanceof TvmmpError)) throw error;
      return ['malformed-variable', error.message];
    }
    const key = `${variable.guid}:${variable.name}`;
    if (this.#closed) return ['late-variable', `${variable.name} after the separator`];
    if (this.#variables.has(key)) return ['duplicate-variable', `${variable.name} twice`];
    this.#variables.set(key, variable);
    return undefined;
  }
}

function actionFlaw(text: string): Flaw | undefined {
  if (text === DEBUG_MODE) return ['debug-mode', 'a UEFI debugger was attached'];
  return HARMLESS_ACTIONS.includes(text) ? undefined : ['unexpected-action', text.slice(0, 80)];
}

function signaturesOf(variable: EfiVariable | undefined): readonly EfiSignature[] | undefined {
  if (variable === undefined) return undefined;
  try {
    return parseSignatureLists(variable.value);
  } catch (error) {
    if (error instanceof TvmmpError) return undefined;
    throw error;
  }
}
