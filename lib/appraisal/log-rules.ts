/**
 * The rules of a policy about event logs and IMA lists (SPEC 10.2): its members `eventLog` and `ima`, both optional. What is not
 * ruled is not judged; what is ruled has to be there.
 */
import { createPublicKey } from 'node:crypto';
import { JsonShapeError, arrayOf, someOf, textOf } from '../encoding/json-object.ts';
import { limits } from '../limits.ts';
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
  /** Digests by path, as in `sha256:<hexadecimal>`; for ima-buf entries the name of what was measured. */
  readonly files: Readonly<Record<string, readonly string[]>>;
  /** Paths that may have any contents; `*` stands for anything but `/`, `**` for anything. */
  readonly excluded?: readonly string[];
  /** RSA public keys (PEM) whose signatures in ima-sig entries are accepted in place of a digest. */
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

const SHA256_HEX = /^[0-9a-f]{64}$/;
const DIGEST = /^(?:sha1|sha224|sha256|sha384|sha512|md5|sm3-256):[0-9a-f]{32,128}$/;
const ANY_LINE = /^[^\p{Cc}]{1,4096}$/u;
const PEM = /^-----BEGIN PUBLIC KEY-----\n[\s\S]{1,8192}\n-----END PUBLIC KEY-----\n?$/;
const DIGEST_RULES = ['firmware', 'drivers', 'images', 'bootFiles'] as const;
const EVENT_LOG_MEMBERS = [
  'secureBoot',
  'keys',
  'firmware',
  'drivers',
  'images',
  'commandLines',
  'bootFiles',
] as const;
const IMA_MEMBERS = ['files', 'excluded', 'keys', 'allowViolations'] as const;

/** Reads the rules from a policy's JSON. Throws JsonShapeError: unknown members are errors, and so is a rule without effect. */
export function readLogRules(members: Readonly<Record<string, unknown>>): LogRules {
  const { eventLog, ima } = members as { eventLog?: unknown; ima?: unknown };
  return {
    ...(eventLog === undefined ? {} : { eventLog: readEventLog(eventLog) }),
    ...(ima === undefined ? {} : { ima: readIma(ima) }),
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

function readEventLog(value: unknown): EventLogRules {
  const rules = someOf(value, 'eventLog', EVENT_LOG_MEMBERS);
  const { secureBoot, keys, commandLines } = rules as {
    secureBoot?: unknown;
    keys?: unknown;
    commandLines?: unknown;
  };
  if (Object.keys(rules).length === 0) throw new JsonShapeError('eventLog has no rule');
  if (secureBoot !== undefined && typeof secureBoot !== 'boolean')
    throw new JsonShapeError('secureBoot is neither true nor false');
  const digests = DIGEST_RULES.filter((name) => rules[name] !== undefined).map((name) => [
    name,
    textsOf(rules[name], name, SHA256_HEX),
  ]);
  return {
    ...(secureBoot === undefined ? {} : { secureBoot }),
    ...(keys === undefined ? {} : { keys: readKeys(keys) }),
    ...(Object.fromEntries(digests) as Pick<EventLogRules, (typeof DIGEST_RULES)[number]>),
    ...(commandLines === undefined ? {} : { commandLines: textsOf(commandLines, 'commandLines', ANY_LINE) }),
  };
}

function readKeys(value: unknown): NonNullable<EventLogRules['keys']> {
  const keys = someOf(value, 'keys', keyVariables);
  if (Object.keys(keys).length === 0) throw new JsonShapeError('keys names no variable');
  return Object.fromEntries(
    Object.entries(keys).map(([name, of]) => [name, textsOf(of, `keys.${name}`, SHA256_HEX)]),
  );
}

function readIma(value: unknown): ImaRules {
  const rules = someOf(value, 'ima', IMA_MEMBERS);
  const { files, excluded, keys, allowViolations } = rules as Record<(typeof IMA_MEMBERS)[number], unknown>;
  if (typeof files !== 'object' || files === null || Array.isArray(files))
    throw new JsonShapeError('ima.files is not an object');
  if (allowViolations !== undefined && typeof allowViolations !== 'boolean')
    throw new JsonShapeError('allowViolations is neither true nor false');
  const pems = keys === undefined ? undefined : textsOf(keys, 'ima.keys', PEM);
  for (const pem of pems ?? []) assertRsa(pem);
  return {
    files: Object.fromEntries(
      Object.entries(files).map(([path, digests]) => [
        path,
        textsOf(digests, `ima.files of ${path}`, DIGEST),
      ]),
    ),
    ...(excluded === undefined ? {} : { excluded: textsOf(excluded, 'ima.excluded', ANY_LINE) }),
    ...(pems === undefined ? {} : { keys: pems }),
    ...(allowViolations === undefined ? {} : { allowViolations }),
  };
}

function assertRsa(pem: string): void {
  let type: string | undefined;
  try {
    type = createPublicKey(pem).asymmetricKeyType;
  } catch {
    type = undefined;
  }
  if (type !== 'rsa') throw new JsonShapeError('a key of ima.keys is not an RSA public key in PEM');
}

function textsOf(value: unknown, what: string, pattern: RegExp): readonly string[] {
  return arrayOf(value, what, 0, limits.policyRuleItemsMax).map((item) =>
    textOf(item, `an item of ${what}`, pattern),
  );
}
