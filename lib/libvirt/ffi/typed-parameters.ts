/** libvirt's typed parameters (`struct virTypedParameter`, libvirt-common.h) read out of C memory. */
import { TvmmpError } from '../../errors.ts';
import type { TypedParameterValues } from '../job-statistics.ts';
import { libvirt } from './library.ts';
import { type Address, readBytes, readString } from './memory.ts';

// struct { char field[80]; int type; union { ... 8 bytes } value; }
const STRUCT_BYTES = 96;
const FIELD_BYTES = 80;
const TYPE_OFFSET = 80;
const VALUE_OFFSET = 88;
const PARAMETERS_MAX = 1024;
const STRING_BYTES_MAX = 64 * 1024;

/** Copies the parameters and frees them, with `virTypedParamsFree`. */
export function takeTypedParameters(address: Address, count: number): TypedParameterValues {
  try {
    if (count > PARAMETERS_MAX) throw new TvmmpError('limit-exceeded', `${count} typed parameters`);
    const values = new Map<string, number | bigint | string | boolean>();
    if (count <= 0) return values;
    const bytes = readBytes(address, count * STRUCT_BYTES);
    for (let at = 0; at < bytes.length; at += STRUCT_BYTES) {
      const one = bytes.subarray(at, at + STRUCT_BYTES);
      const end = one.indexOf(0);
      const name = one.toString('utf8', 0, end < 0 || end > FIELD_BYTES ? FIELD_BYTES : end);
      const value = valueOf(one);
      if (value !== null) values.set(name, value);
    }
    return values;
  } finally {
    libvirt.virTypedParamsFree(address, count);
  }
}

function valueOf(one: Buffer): number | bigint | string | boolean | null {
  switch (one.readInt32LE(TYPE_OFFSET)) {
    case 1:
      return one.readInt32LE(VALUE_OFFSET);
    case 2:
      return one.readUInt32LE(VALUE_OFFSET);
    case 3:
      return one.readBigInt64LE(VALUE_OFFSET);
    case 4:
      return one.readBigUInt64LE(VALUE_OFFSET);
    case 5:
      return one.readDoubleLE(VALUE_OFFSET);
    case 6:
      return one.readInt8(VALUE_OFFSET) !== 0;
    case 7: {
      const text = Number(one.readBigUInt64LE(VALUE_OFFSET));
      return text === 0 ? null : readString(text, STRING_BYTES_MAX);
    }
    default:
      return null;
  }
}
