/** Sizes of what comes from outside (SPEC 11): one more than the bound is refused, by that name, before anything is made of it. */
import assert from 'node:assert/strict';
import { parseCertificate } from '../../../lib/certificates/untrusted-certificate.ts';
import { decode, encode } from '../../../lib/encoding/cbor.ts';
import { TvmmpError } from '../../../lib/errors.ts';
import { parseEventLog } from '../../../lib/evidence/event-log.ts';
import { ImaListReader } from '../../../lib/evidence/ima-list.ts';
import { logFaultOf } from '../../../lib/evidence/log-fault.ts';
import { facts } from '../../../lib/libvirt/facts.ts';
import { limits } from '../../../lib/limits.ts';
import { decodeProof } from '../../../lib/proof/proof.ts';
import { oldLog } from '../../support/event-log-builder.ts';
import { imaList } from '../../support/ima-builder.ts';

const refused =
  (code: string, text: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof TvmmpError, String(error));
    assert.deepEqual([error.code, text.test(error.message)], [code, true], error.message);
    return true;
  };

describe('bounds of what comes from outside (SPEC 11)', () => {
  it('hold for the bytes of a domain’s XML', () => {
    const xml = `<domain>${' '.repeat(limits.domainXmlBytesMax)}</domain>`;
    assert.throws(() => facts(xml), refused('limit-exceeded', /^XML of more than/));
  });

  it('hold for the depth of a domain’s XML', () => {
    const deep = (levels: number): string =>
      `<domain>${'<a>'.repeat(levels - 1)}${'</a>'.repeat(levels - 1)}</domain>`;
    assert.throws(() => facts(deep(limits.domainXmlDepthMax + 1)), refused('limit-exceeded', /^XML deeper/));
    assert.throws(() => facts(deep(limits.domainXmlDepthMax)), refused('domain-xml-invalid', /./));
  });

  it('hold for the items of CBOR', () => {
    const count = limits.cborItemsMax + 1;
    const bytes = Uint8Array.from([0x9a, 0, count >> 16, (count >> 8) & 255, count & 255]);
    const whole = Uint8Array.from([...bytes, ...new Uint8Array(count)]);
    assert.throws(() => decode(whole), refused('limit-exceeded', /items in one array/));
    assert.throws(
      () => encode(Array<number>(count).fill(0)),
      refused('limit-exceeded', /items in one array/),
    );
  });

  it('hold for the entries of a proof', () => {
    const proof = (entries: number): Uint8Array =>
      encode(['tvmmp/proof/1', Array<number>(entries).fill(0), [], [], []]);
    const bound = new RegExp(`1 to ${limits.proofEntriesMax} items`);
    for (const count of [limits.proofEntriesMax + 1, 0])
      assert.throws(() => decodeProof(proof(count)), refused('encoding-invalid', bound));
  });

  it('hold for a certificate', () => {
    assert.throws(
      () => parseCertificate(new Uint8Array(limits.certificateBytesMax + 1)),
      refused('certificate-invalid', /^a certificate of \d+ bytes/),
    );
  });

  it('hold for the bytes and the events of an event log', () => {
    const fault = (bytes: Uint8Array): string | undefined => {
      try {
        parseEventLog(bytes);
        return 'none';
      } catch (error) {
        return logFaultOf(error);
      }
    };
    assert.equal(fault(new Uint8Array(limits.eventLogBytesMax + 1)), 'too-large');
    const event = { pcr: 0, type: 'EV_POST_CODE', data: new Uint8Array() } as const;
    const one = oldLog([event]);
    const many = (count: number): Uint8Array => Buffer.concat(Array<Uint8Array>(count).fill(one));
    assert.equal(fault(many(limits.eventsMax)), 'none');
    assert.equal(fault(many(limits.eventsMax + 1)), 'too-many');
  });

  it('hold for the entries of an IMA list, also of one that is continued', () => {
    const reader = new ImaListReader(imaList([{ path: '/x' }]), limits.imaEntriesMax);
    assert.throws(
      () => reader.next(),
      (error) => logFaultOf(error) === 'too-many',
    );
    new ImaListReader(imaList([{ path: '/x' }]), limits.imaEntriesMax - 1).next();
  });
});
