/**
 * The rules of a policy about event logs and IMA lists (SPEC 10.2): its members `eventLog` and `ima`, both optional. What is not
 * ruled is not judged; what is ruled has to be there.
 */
import { createPublicKey } from 'node:crypto';
import { sha256Form } from '../encoding/hex.ts';
import type { JsonMembers, JsonPlace } from '../encoding/json-place.ts';
import { limits } from '../limits.ts';
import { isImaKey } from './ima-signature.ts';
import { keyVariables } from './secure-boot.ts';
import type { KeyVariable } from './secure-boot.ts';

/** Rules about the event log. Digests are those of the SHA-256 bank, hexadecimal. */
export interface EventLogRules {
  /** Whether Secure Boot has to be on, or has to be off. */
  readonly secureBoot?: boolean;
  /** Keys that PK, KEK and db may hold, and keys that dbx must hold: SHA-256 of certificates, hashes of images. */
  readonly keys?: Readonly<Partial<Record<KeyVariable, readonly string[]>>>;
  /** What may be in PCR 0: firmware and its version. */
  readonly firmware?: readonly string[];
  /** What may be in PCR 2: drivers and option ROMs. */
  readonly drivers?: readonly string[];
  /** What may be in PCR 4: boot loaders and kernels, by Authenticode hash. */
  readonly images?: readonly string[];
  /** Kernel command lines, as GRUB measures them into PCR 8: the kernel's path and its parameters. */
  readonly commandLines?: readonly string[];
  /** What may be in PCR 9: files that GRUB, or the kernel's EFI stub, measured. */
  readonly bootFiles?: readonly string[];
}

/** Rules about the IMA list. */
export interface ImaRules {
  /** Digests by path, as in `sha256:<hexadecimal>` or, of fs-verity, `verity:sha256:<hexadecimal>`; for ima-buf entries the name of what was measured. */
  readonly files: Readonly<Record<string, readonly string[]>>;
  /** Paths that may have any contents; `*` stands for anything but `/`, `**` for anything. */
  readonly excluded?: readonly string[];
  /** Public keys (PEM; RSA, P-256, P-384) whose signatures in ima-sig entries are accepted in place of a digest. */
  readonly keys?: readonly string[];
  /** Whether entries of files that could not be measured are accepted. Default: no. */
  readonly allowViolations?: boolean;
}

/** All rules of a policy about logs. */
export interface LogRules {
  readonly eventLog?: EventLogRules;
  readonly ima?: ImaRules;
}

/** The members of a policy that hold log rules, in the order of SPEC 10.2. */
export const logRuleMembers = ['eventLog', 'ima'] as const;

/** Forms of the texts in these rules; the policy's JSON Schema is written from them too. */
export const logRuleForms = {
  sha256: sha256Form,
  /** A digest in an IMA list: the algorithm by the kernel's name, and as much hexadecimal as it makes. */
  digest:
    /^(?:(?:(?:verity:)?sha256|sm3-256):[0-9a-f]{64}|sha1:[0-9a-f]{40}|sha224:[0-9a-f]{56}|sha384:[0-9a-f]{96}|(?:verity:)?sha512:[0-9a-f]{128}|md5:[0-9a-f]{32})$/,
  line: /^[^\p{Cc}]{1,4096}$/u,
  pem: /^-----BEGIN PUBLIC KEY-----\n[\s\S]{1,8192}\n-----END PUBLIC KEY-----\n?$/,
} as const;
/** Rules that are lists of digests. */
export const digestRules = ['firmware', 'drivers', 'images', 'bootFiles'] as const;
export const eventLogMembers = [
  'secureBoot',
  'keys',
  'firmware',
  'drivers',
  'images',
  'commandLines',
  'bootFiles',
] as const;
export const imaMembers = ['files', 'excluded', 'keys', 'allowViolations'] as const;

/** Reads the rules from a policy's JSON. Throws JsonFaultError: unknown members are errors, and so is a rule without effect. */
export function readLogRules(members: JsonMembers<never, (typeof logRuleMembers)[number]>): LogRules {
  const { eventLog, ima } = members;
  return {
    ...(eventLog === undefined ? {} : { eventLog: readEventLogRules(eventLog) }),
    ...(ima === undefined ? {} : { ima: readImaRules(ima) }),
  };
}

/** PCRs that the rules read, ascending: a quote has to cover them. */
export function pcrsOfRules({ eventLog, ima }: LogRules): readonly number[] {
  const pcrs: readonly (readonly [number, unknown])[] = [
    [0, eventLog?.firmware],
    [2, eventLog?.drivers],
    [4, eventLog?.images],
    [7, eventLog?.secureBoot ?? eventLog?.keys],
    [8, eventLog?.commandLines],
    [9, eventLog?.bootFiles],
    [10, ima],
  ];
  return pcrs.flatMap(([pcr, rule]) => (rule === undefined ? [] : [pcr]));
}

/** Reads `eventLog`. Throws JsonFaultError. */
export function readEventLogRules(place: JsonPlace): EventLogRules {
  const rules = place.someOf(eventLogMembers);
  const { secureBoot, keys, commandLines } = rules;
  const digests = digestRules.flatMap((name) => {
    const list = rules[name];
    return list === undefined ? [] : [[name, textsOf(list, logRuleForms.sha256)] as const];
  });
  return {
    ...(secureBoot === undefined ? {} : { secureBoot: secureBoot.boolean() }),
    ...(keys === undefined ? {} : { keys: readKeys(keys) }),
    ...(Object.fromEntries(digests) as Pick<EventLogRules, (typeof digestRules)[number]>),
    ...(commandLines === undefined ? {} : { commandLines: textsOf(commandLines, logRuleForms.line) }),
  };
}

function readKeys(place: JsonPlace): NonNullable<EventLogRules['keys']> {
  const keys = place.someOf(keyVariables);
  return Object.fromEntries(
    keyVariables.flatMap((name) => {
      const list = keys[name];
      return list === undefined ? [] : [[name, textsOf(list, logRuleForms.sha256)]];
    }),
  );
}

/** Reads `ima`. Throws JsonFaultError. */
export function readImaRules(place: JsonPlace): ImaRules {
  const { files, excluded, keys, allowViolations } = place.object(['files'], imaMembers);
  const listed = files.names().map((path) => [path, textsOf(files.at(path), logRuleForms.digest)] as const);
  return {
    files: Object.fromEntries(listed),
    ...(excluded === undefined ? {} : { excluded: textsOf(excluded, logRuleForms.line) }),
    ...(keys === undefined ? {} : { keys: readPems(keys) }),
    ...(allowViolations === undefined ? {} : { allowViolations: allowViolations.boolean() }),
  };
}

function readPems(place: JsonPlace): readonly string[] {
  const pems = textsOf(place, logRuleForms.pem);
  const wrong = pems.findIndex((pem) => !isKey(pem));
  if (wrong >= 0)
    throw place.at(wrong).fault('inconsistent', 'is not a public key in PEM of RSA, P-256 or P-384');
  return pems;
}

function isKey(pem: string): boolean {
  try {
    return isImaKey(createPublicKey(pem));
  } catch {
    return false;
  }
}

function textsOf(place: JsonPlace, form: RegExp): readonly string[] {
  return place.texts(form, 0, limits.policyRuleItemsMax);
}
