/** Proofs with a fault in one entry itself: its encoding, signer, quote, policy or platform. */
import { encode } from '../../lib/encoding/cbor.ts';
import { sha256 } from '../../lib/encoding/hash.ts';
import { encodeEntry, entryLeaf, entryShape } from '../../lib/proof/entry.ts';
import type { SignedEntry } from '../../lib/proof/entry.ts';
import type { ProofFault } from '../../lib/proof/fault.ts';
import type { ProofCase } from './proof-cases.ts';
import { ChainBuilder, pcrsOf } from './proof-world.ts';
import type { World } from './proof-world.ts';
import { makeTestAuthority, testValidity } from './test-authority.ts';

const chain = (world: World): ChainBuilder => new ChainBuilder(world).live('created', 'started');
const entries = (index: number): ProofFault['at'] => ({ list: 'entries', index });

/** Replaces the last entry's signed form. */
function withLast(c: ChainBuilder, change: (signed: SignedEntry) => SignedEntry): Uint8Array {
  const all = [...c.entries];
  const last = all.pop() as SignedEntry;
  return c.bytes({ entries: [...all, change(last)] });
}

/** Signs entry bytes that an honest encoder would not write. */
function signBytes(c: ChainBuilder, bytes: Uint8Array): SignedEntry {
  const { tpm } = c.holder;
  return { entry: bytes, path: [], ...tpm.quote(entryLeaf(bytes), c.policy.policy.selection) };
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

const encodingCases: readonly ProofCase[] = [
  {
    name: 'encoding-trailing-byte',
    why: 'two files for one proof',
    expect: 'encoding',
    at: null,
    build: (w) => Uint8Array.from([...chain(w).bytes(), 0]),
  },
  {
    name: 'encoding-truncated',
    why: 'a file cut short',
    expect: 'encoding',
    at: null,
    build: (w) => chain(w).bytes().slice(0, -1),
  },
  {
    name: 'encoding-no-entries',
    why: 'a proof of nothing',
    expect: 'encoding',
    at: null,
    build: () => encode(['tvmmp/proof/1', [], [], [], []]),
  },
  {
    name: 'encoding-other-format',
    why: 'another version of the format is not guessed at',
    expect: 'encoding',
    at: null,
    build: () => encode(['tvmmp/proof/2', [], [], [], []]),
  },
  {
    name: 'encoding-long-integer',
    why: 'an integer not in its shortest form, in an entry that is signed: two encodings of one statement',
    expect: 'encoding',
    at: entries(2),
    build: (w) => {
      const c = chain(w);
      const bytes = Buffer.from(encodeEntry(c.draft('suspended')));
      const version = Buffer.from([bytes[0] ?? 0, 0x18, 0x01]);
      return c.append(signBytes(c, Uint8Array.from(Buffer.concat([version, bytes.subarray(2)])))).bytes();
    },
  },
  {
    name: 'encoding-extra-member',
    why: 'a signed entry with a member that this version does not know',
    expect: 'encoding',
    at: entries(2),
    build: (w) => {
      const c = chain(w);
      const members = entryShape.write(c.draft('suspended')) as readonly number[];
      return c.append(signBytes(c, encode([...members, 0]))).bytes();
    },
  },
  {
    name: 'encoding-unknown-kind',
    why: 'a kind of entry that this version does not know',
    expect: 'encoding',
    at: entries(2),
    build: (w) => {
      const c = chain(w);
      const members = entryShape.write(c.draft('suspended')) as readonly number[];
      return c
        .append(signBytes(c, encode(members.map((member, index) => (index === 4 ? 99 : member)))))
        .bytes();
    },
  },
];

const certificateCases: readonly ProofCase[] = [
  {
    name: 'certificate-missing',
    why: 'without the certificate nothing says whose AK it is',
    expect: 'certificate',
    at: entries(0),
    build: (w) => {
      const c = chain(w);
      return c.bytes({ certificates: [w.authority.policySigner] });
    },
  },
  {
    name: 'certificate-foreign-root',
    why: 'a host that another authority enrolled',
    expect: 'certificate',
    at: entries(0),
    build: async (w) => {
      const other = await makeTestAuthority('Other');
      const { tpm } = w.alpha;
      const names = { name: 'alpha.test', akName: tpm.akName, receiveKeyName: tpm.receiveKeyName };
      const certificate = await other.hostCertificate(names, tpm.akKey);
      const c = new ChainBuilder(w);
      c.holder = { ...w.alpha, certificate, id: { ...w.alpha.id, certificate: sha256(certificate) } };
      return c.live('created').bytes();
    },
  },
  {
    name: 'certificate-expired',
    why: 'an entry made after the end of the enrolment',
    expect: 'certificate',
    at: entries(2),
    build: (w) => {
      const c = chain(w);
      c.time = testValidity.notAfter.getTime();
      return c.live('suspended').bytes();
    },
  },
  {
    name: 'certificate-not-yet-valid',
    why: 'an entry that claims a time before its host was enrolled',
    expect: 'certificate',
    at: entries(2),
    build: (w) =>
      chain(w)
        .add('suspended', { time: testValidity.notBefore.getTime() - 1 })
        .bytes(),
  },
  {
    name: 'certificate-of-other-name',
    why: 'an enrolled host that gives itself the name of another',
    expect: 'certificate',
    at: entries(2),
    build: (w) =>
      chain(w)
        .add('suspended', { host: { ...w.alpha.id, name: 'beta.test' } })
        .bytes(),
  },
  {
    name: 'certificate-of-other-ak',
    why: 'an AK name that is not the one certified',
    expect: 'certificate',
    at: entries(2),
    build: (w) =>
      chain(w)
        .add('suspended', { host: { ...w.alpha.id, akName: w.beta.id.akName } })
        .bytes(),
  },
  {
    name: 'certificate-for-tls',
    why: "the authority's certificate for a host's TLS key, which lies on disk, does not make an AK of it",
    expect: 'certificate',
    at: entries(0),
    build: async (w) => {
      const certificate = await w.authority.agentCertificate('alpha.test', w.alpha.tpm.akKey);
      const c = new ChainBuilder(w);
      c.holder = { ...w.alpha, certificate, id: { ...w.alpha.id, certificate: sha256(certificate) } };
      return c.live('created').bytes();
    },
  },
];

const quoteCases: readonly ProofCase[] = [
  {
    name: 'quote-signature-of-other-host',
    why: 'an enrolled host signs in the name of another',
    expect: 'quote-signature',
    at: entries(2),
    build: (w) => chain(w).add('suspended', {}, { signer: w.beta }).bytes(),
  },
  {
    name: 'quote-signature-bit',
    why: 'one bit of the quote changed after it was signed',
    expect: 'quote-signature',
    at: entries(1),
    build: (w) =>
      withLast(chain(w), (last) => ({ ...last, attest: flipped(last.attest, last.attest.length - 1) })),
  },
  {
    name: 'quote-signature-scheme',
    why: 'a signature of a scheme that the AK does not have is refused, and does not crash',
    expect: 'quote-signature',
    at: entries(1),
    build: (w) => withLast(chain(w), (last) => ({ ...last, signature: flipped(last.signature, 1) })),
  },
  {
    name: 'quote-type-certify',
    why: 'the AK signs other TPM structures too: a TPM2_Certify over chosen data says nothing about PCRs',
    expect: 'quote-type',
    at: entries(2),
    build: (w) =>
      chain(w)
        .add('suspended', {}, { quote: { type: 'certify' } })
        .bytes(),
  },
  {
    name: 'quote-type-not-generated',
    why: 'bytes from outside the TPM that an unrestricted key would sign',
    expect: 'quote-type',
    at: entries(1),
    build: (w) =>
      withLast(chain(w), (last) => {
        const attest = flipped(last.attest, 0);
        return { ...last, attest, signature: w.alpha.tpm.sign(attest) };
      }),
  },
  {
    name: 'quote-binding-reused',
    why: 'a quote that was made for an earlier entry',
    expect: 'quote-binding',
    at: entries(2),
    build: (w) => {
      const c = chain(w);
      const [, { attest, signature } = { attest: new Uint8Array(), signature: new Uint8Array() }] = c.entries;
      return withLast(c.add('suspended'), (last) => ({ ...last, attest, signature }));
    },
  },
  {
    name: 'quote-binding-path',
    why: 'a path with a step that no tree had',
    expect: 'quote-binding',
    at: entries(1),
    build: (w) =>
      withLast(chain(w), (last) => ({ ...last, path: [{ side: 'left', sibling: new Uint8Array(32) }] })),
  },
  {
    name: 'quote-binding-entry',
    why: 'an entry that was changed after it was signed',
    expect: 'quote-binding',
    at: entries(1),
    build: (w) => {
      const c = chain(w);
      const changed = encodeEntry({ ...c.draft('started'), sequence: 1, previous: sha256(Buffer.from('x')) });
      return withLast(c, (last) => ({ ...last, entry: changed }));
    },
  },
];

const policyCases: readonly ProofCase[] = [
  {
    name: 'policy-missing',
    why: 'an entry under a policy that nobody shows',
    expect: 'policy',
    at: entries(0),
    build: (w) => chain(w).bytes({ policies: [] }),
  },
  {
    name: 'policy-of-other-authority',
    why: 'a host with a policy of its own making, which approves what it likes',
    expect: 'policy',
    at: entries(0),
    build: async (w) => {
      const other = await makeTestAuthority('Other');
      const text = other.signPolicy({
        id: 'lab',
        version: 9,
        pcrs: [0, 4, 7],
        states: [{ name: 'mine', pcrs: pcrsOf('base') }],
      });
      const payload = Buffer.from((JSON.parse(text) as { payload: string }).payload, 'base64');
      const c = new ChainBuilder(w);
      c.policy = { ...w.policy, text, id: { id: 'lab', version: 9, digest: sha256(payload) } };
      const { certificates } = c.add('created').proof();
      return c.bytes({ certificates: [...certificates, other.policySigner] });
    },
  },
  {
    name: 'policy-signer-missing',
    why: 'a policy without the certificate of its signer',
    expect: 'policy',
    at: entries(0),
    build: (w) => chain(w).bytes({ certificates: [w.alpha.certificate] }),
  },
  {
    name: 'policy-version-claimed',
    why: 'an entry that names the policy by a higher version than it has',
    expect: 'policy',
    at: entries(2),
    build: (w) =>
      chain(w)
        .add('suspended', { policy: { ...w.policy.id, version: 4 } })
        .bytes(),
  },
  {
    name: 'pcr-selection-fewer',
    why: 'a quote that leaves out the PCR which would tell',
    expect: 'pcr-selection',
    at: entries(2),
    build: (w) =>
      chain(w)
        .add('suspended', {}, { selection: [{ bank: 'sha256', pcrs: [0, 7] }] })
        .bytes(),
  },
  {
    name: 'pcr-selection-other-bank',
    why: 'a quote over the SHA-1 bank, which may not be extended at all',
    expect: 'pcr-selection',
    at: entries(2),
    build: (w) =>
      chain(w)
        .add('suspended', {}, { selection: [{ bank: 'sha1', pcrs: [0, 4, 7] }] })
        .bytes(),
  },
  {
    name: 'pcr-state-unapproved',
    why: 'a genuine quote of a platform in a state that nobody approved',
    expect: 'pcr-state',
    at: entries(2),
    build: (w) =>
      chain(w)
        .add('suspended', {}, { quote: { pcrs: pcrsOf('rootkit') } })
        .bytes(),
  },
  {
    name: 'pcr-state-mixed',
    why: 'PCRs of two approved states do not make a third',
    expect: 'pcr-state',
    at: entries(2),
    build: (w) => {
      const pcrs = new Map([...pcrsOf('base'), ...[...pcrsOf('update')].slice(0, 1)]);
      return chain(w).add('suspended', {}, { quote: { pcrs } }).bytes();
    },
  },
];

/** All of them. */
export const badEntryCases: readonly ProofCase[] = [
  ...encodingCases,
  ...certificateCases,
  ...quoteCases,
  ...policyCases,
];
