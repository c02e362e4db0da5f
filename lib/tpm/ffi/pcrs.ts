/** Reading PCRs: more than one command carries, and all of one moment. */
import { ByteReader } from '../../bytes/reader.ts';
import { TvmmpError } from '../../errors.ts';
import { formatPcrSelection, parsePcrSelection } from '../pcr-selection.ts';
import type { PcrSelection, PcrSnapshot, PcrValue } from '../port.ts';
import { NONE, input, output, word } from './connection.ts';
import type { Connection } from './connection.ts';
import { structure, wordOf } from './objects.ts';

const PCR_READ_ATTEMPTS = 8;

/** TPM2_PCR_Read until all is read (eight PCRs at a time) with one update counter. */
export function readPcrs(connection: Connection, selection: PcrSelection): PcrSnapshot {
  for (let attempt = 0; attempt < PCR_READ_ATTEMPTS; attempt++) {
    const snapshot = readPcrsOnce(connection, selection);
    if (snapshot !== undefined) return snapshot;
  }
  throw new TvmmpError('tpm-call-failed', `PCRs changed during each of ${PCR_READ_ATTEMPTS} readings`, {
    details: { command: 'PCR_Read' },
  });
}

function readPcrsOnce(connection: Connection, selection: PcrSelection): PcrSnapshot | undefined {
  const values: PcrValue[] = [];
  let counter: number | undefined;
  let left = selection;
  for (;;) {
    const answers = connection.send(
      'PCR_Read',
      NONE,
      NONE,
      NONE,
      input('TPML_PCR_SELECTION', formatPcrSelection(left)),
      word,
      output('TPML_PCR_SELECTION'),
      output('TPML_DIGEST'),
    );
    const updateCounter = wordOf(answers);
    if (counter !== undefined && counter !== updateCounter) return undefined;
    counter = updateCounter;
    const read = parsePcrSelection(structure(answers, 0));
    const before = values.length;
    values.push(...pairPcrs(read, structure(answers, 1)));
    if (values.length === before) break;
    left = left.map(({ bank, pcrs }) => ({
      bank,
      pcrs: pcrs.filter((pcr) => !read.some((some) => some.bank === bank && some.pcrs.includes(pcr))),
    }));
    if (left.every(({ pcrs }) => pcrs.length === 0)) break;
  }
  return { updateCounter: counter, values: inOrderOf(selection, values) };
}

function pairPcrs(selection: PcrSelection, digests: Uint8Array): PcrValue[] {
  const reader: ByteReader = new ByteReader(digests, { what: 'TPML_DIGEST', code: 'tpm-structure-invalid' });
  const wanted = selection.flatMap(({ bank, pcrs }) => pcrs.map((pcr) => ({ bank, pcr })));
  if (reader.u32be() !== wanted.length) reader.fail('another number of PCRs than selected');
  const values = wanted.map(({ bank, pcr }) => ({ bank, pcr, digest: reader.sized16be(64) }));
  reader.end();
  return values;
}

function inOrderOf(selection: PcrSelection, values: readonly PcrValue[]): PcrValue[] {
  return selection.flatMap(({ bank }) =>
    values.filter((value) => value.bank === bank).sort((a, b) => a.pcr - b.pcr),
  );
}
