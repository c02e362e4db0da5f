/**
 * The C functions of tpm2-tss that the adapter calls, and nothing else. Pointers are declared as 64-bit numbers and
 * never turned into Buffers: ref-napi's bookkeeping per returned pointer grows without bound in a loop.
 */
import ffi from 'ffi-napi';
import { TvmmpError } from '../../errors.ts';

/** p: pointer or size_t; u4, u2, u1, i4: integers by width in bytes. */
type Code = 'p' | 'u4' | 'u2' | 'u1' | 'i4';

const FFI_TYPES: Readonly<Record<Code, string>> = {
  p: 'uint64',
  u4: 'uint32',
  u2: 'uint16',
  u1: 'uint8',
  i4: 'int32',
};

/** ESAPI commands: arguments after the ESYS_CONTEXT, as tss2_esys.h declares them (ESYS_TR is 32 bits wide). */
const ESYS_COMMANDS = {
  ActivateCredential: 'u4 u4 u4 u4 u4 p p p',
  Certify: 'u4 u4 u4 u4 u4 p p p p',
  Create: 'u4 u4 u4 u4 p p p p p p p p p',
  CreatePrimary: 'u4 u4 u4 u4 p p p p p p p p p',
  EvictControl: 'u4 u4 u4 u4 u4 u4 p',
  FlushContext: 'u4',
  GetCapability: 'u4 u4 u4 u4 u4 u4 p p',
  GetRandom: 'u4 u4 u4 u2 p',
  Load: 'u4 u4 u4 u4 p p p',
  LoadExternal: 'u4 u4 u4 p p u4 p',
  NV_DefineSpace: 'u4 u4 u4 u4 p p p',
  NV_Increment: 'u4 u4 u4 u4 u4',
  NV_Read: 'u4 u4 u4 u4 u4 u2 u2 p',
  NV_ReadPublic: 'u4 u4 u4 u4 p p',
  PCR_Read: 'u4 u4 u4 p p p p',
  PolicyAuthorize: 'u4 u4 u4 u4 p p p p',
  PolicyPCR: 'u4 u4 u4 u4 p p',
  PolicySecret: 'u4 u4 u4 u4 u4 p p p i4 p p',
  Quote: 'u4 u4 u4 u4 p p p p p',
  ReadClock: 'u4 u4 u4 p',
  ReadPublic: 'u4 u4 u4 u4 p p p',
  Sign: 'u4 u4 u4 u4 p p p p',
  StartAuthSession: 'u4 u4 u4 u4 u4 p u1 p u2 p',
  VerifySignature: 'u4 u4 u4 u4 p p p',
} as const;

/** A command that the adapter can send. */
export type EsysCommand = keyof typeof ESYS_COMMANDS;

/** Structures that cross the port as wire bytes. */
export const STRUCTURES = [
  'TPM2B_ATTEST',
  'TPM2B_DATA',
  'TPM2B_DIGEST',
  'TPM2B_ENCRYPTED_SECRET',
  'TPM2B_ID_OBJECT',
  'TPM2B_MAX_NV_BUFFER',
  'TPM2B_NAME',
  'TPM2B_NV_PUBLIC',
  'TPM2B_PRIVATE',
  'TPM2B_PUBLIC',
  'TPM2B_SENSITIVE_CREATE',
  'TPML_DIGEST',
  'TPML_PCR_SELECTION',
  'TPMS_CAPABILITY_DATA',
  'TPMS_TIME_INFO',
  'TPMT_SIG_SCHEME',
  'TPMT_SIGNATURE',
  'TPMT_SYM_DEF',
  'TPMT_TK_HASHCHECK',
  'TPMT_TK_VERIFIED',
] as const;

/** A structure that crosses the port as wire bytes. */
export type Structure = (typeof STRUCTURES)[number];

type NativeFunction = (...args: number[]) => number;

/** The bound functions. Every number is an address, a size, a handle or a plain integer; results are TSS2_RC. */
export interface TssLibrary {
  readonly command: Readonly<Record<EsysCommand, NativeFunction>>;
  readonly marshal: Readonly<Record<Structure, NativeFunction>>;
  readonly unmarshal: Readonly<Record<Structure, NativeFunction>>;
  readonly esysInitialize: NativeFunction;
  readonly esysFinalize: NativeFunction;
  readonly esysFree: NativeFunction;
  readonly trFromTpmPublic: NativeFunction;
  readonly trClose: NativeFunction;
  readonly sessionSetAttributes: NativeFunction;
  readonly tctiInitialize: NativeFunction;
  readonly tctiFinalize: NativeFunction;
  readonly rcDecode: NativeFunction;
  readonly strncpy: NativeFunction;
}

/** Opens tpm2-tss's libraries by soname. `tpm-unreachable` where they are not installed. */
export function openTssLibrary(): TssLibrary {
  const esys = bind('libtss2-esys.so.0', {
    Esys_Initialize: ['u4', 'p p p'],
    Esys_Finalize: ['void', 'p'],
    Esys_Free: ['void', 'p'],
    Esys_TR_FromTPMPublic: ['u4', 'p u4 u4 u4 u4 p'],
    Esys_TR_Close: ['u4', 'p p'],
    Esys_TRSess_SetAttributes: ['u4', 'p u4 u1 u1'],
    ...Object.fromEntries(
      Object.entries(ESYS_COMMANDS).map(([name, args]) => [`Esys_${name}`, ['u4', `p ${args}`]]),
    ),
  });
  const mu = bind(
    'libtss2-mu.so.0',
    Object.fromEntries(
      STRUCTURES.flatMap((name) => [
        [`Tss2_MU_${name}_Marshal`, ['u4', 'p p p p']],
        [`Tss2_MU_${name}_Unmarshal`, ['u4', 'p p p p']],
      ]),
    ),
  );
  const tcti = bind('libtss2-tctildr.so.0', {
    Tss2_TctiLdr_Initialize: ['u4', 'p p'],
    Tss2_TctiLdr_Finalize: ['void', 'p'],
  });
  const rc = bind('libtss2-rc.so.0', { Tss2_RC_Decode: ['p', 'u4'] });
  const libc = bind(null, { strncpy: ['p', 'p p p'] });
  const commands = Object.keys(ESYS_COMMANDS) as EsysCommand[];
  return {
    command: table(commands, (name) => esys(`Esys_${name}`)),
    marshal: table(STRUCTURES, (name) => mu(`Tss2_MU_${name}_Marshal`)),
    unmarshal: table(STRUCTURES, (name) => mu(`Tss2_MU_${name}_Unmarshal`)),
    esysInitialize: esys('Esys_Initialize'),
    esysFinalize: esys('Esys_Finalize'),
    esysFree: esys('Esys_Free'),
    trFromTpmPublic: esys('Esys_TR_FromTPMPublic'),
    trClose: esys('Esys_TR_Close'),
    sessionSetAttributes: esys('Esys_TRSess_SetAttributes'),
    tctiInitialize: tcti('Tss2_TctiLdr_Initialize'),
    tctiFinalize: tcti('Tss2_TctiLdr_Finalize'),
    rcDecode: rc('Tss2_RC_Decode'),
    strncpy: libc('strncpy'),
  };
}

function bind(
  file: string | null,
  signatures: Record<string, readonly [string, string]>,
): (name: string) => NativeFunction {
  const definition = Object.fromEntries(
    Object.entries(signatures).map(([name, [result, args]]) => [
      name,
      [ffiType(result), args.split(' ').map(ffiType)] as [string, string[]],
    ]),
  );
  let functions: Record<string, unknown>;
  try {
    functions = ffi.Library(file, definition);
  } catch (cause) {
    throw new TvmmpError('tpm-unreachable', `${file ?? 'the C library'} cannot be loaded`, { cause });
  }
  return (name) => {
    const bound = functions[name];
    if (typeof bound !== 'function') throw new TvmmpError('internal', `${name} was not bound`);
    return bound as NativeFunction;
  };
}

function ffiType(code: string): string {
  return code === 'void' ? 'void' : FFI_TYPES[code as Code];
}

function table<Name extends string, Value>(
  names: readonly Name[],
  value: (name: Name) => Value,
): Record<Name, Value> {
  return Object.fromEntries(names.map((name) => [name, value(name)])) as Record<Name, Value>;
}
