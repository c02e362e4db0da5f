import { strict as assert } from 'node:assert';
import { signEnvelope } from '../../../lib/appraisal/dsse.ts';
import type { PolicyReason } from '../../../lib/appraisal/policy-error.ts';
import { formatOpening, openResult, parseOpening } from '../../../lib/proof/result-opening.ts';
import { RESULT_PAYLOAD_TYPE, resultOf, signResult, verifyResult } from '../../../lib/proof/result.ts';
import type { DraftResult } from '../../../lib/proof/result.ts';
import { verifyProof } from '../../../lib/proof/verify.ts';
import type { VerifiedProof } from '../../../lib/proof/verify.ts';
import { failsWith } from '../../support/failures.ts';
import { ChainBuilder, Tenant, makeWorld, worldStart } from '../../support/proof-world.ts';
import type { World, WorldHost } from '../../support/proof-world.ts';
import { testKeyPair } from '../../support/test-authority.ts';

const issuedAt = new Date('2026-11-23T20:00:00.000Z');
const appraised = { issuedAt, revocations: 0, unbelieved: new Set<number>() };
const EU = new Map<string, string | number>([
  ['level', 2],
  ['region', 'eu'],
]);

const refused = (reason: PolicyReason, says?: RegExp) => failsWith('policy-invalid', reason, says);

describe('attestation results (SPEC 4.2)', () => {
  let world: World;
  let alpha: WorldHost;
  let beta: WorldHost;
  before(async () => {
    world = await makeWorld();
    alpha = await world.enrol('alpha.test', { attributes: EU });
    beta = await world.enrol('beta.test', { attributes: EU });
  });

  const proofOf = (bytes: Uint8Array): VerifiedProof => {
    const proof = verifyProof(bytes, { root: world.authority.root, checkpoints: 'any' });
    assert.ok(proof.outcome === 'verified', JSON.stringify(proof));
    return proof;
  };
  /** There, and back. */
  const travelled = (): ChainBuilder => {
    const chain = new ChainBuilder(world);
    chain.holder = alpha;
    return chain.live('created', 'started').migrate(beta).migrate(alpha).live('stopped');
  };
  const sign = ({ document }: DraftResult): string =>
    signResult(document, world.authority.policyKeys, world.authority.policySigner);
  const verify = (text: string) => verifyResult(text, world.authority.root, issuedAt);
  /** The file after a change to its payload, signed again by this key. */
  const resigned = (text: string, change: (payload: string) => string, keys = world.authority.policyKeys) => {
    const file = JSON.parse(text) as { envelope: { payload: string } };
    const payload = change(Buffer.from(file.envelope.payload, 'base64').toString());
    const envelope = JSON.parse(signEnvelope(RESULT_PAYLOAD_TYPE, Buffer.from(payload), keys)) as unknown;
    return JSON.stringify({ ...file, envelope });
  };

  it('come out as they were signed', () => {
    const draft = resultOf(proofOf(travelled().bytes()), { ...appraised, revocations: 3 });
    const { digest, ...read } = verify(sign(draft));
    assert.deepEqual(read, draft.document);
    assert.equal(digest.byteLength, 32);
  });

  it('show each stay, one pseudonym for each host, and who signed destruction', () => {
    const { document } = resultOf(proofOf(travelled().bytes()), appraised);
    const { stays } = document;
    assert.deepEqual(
      stays.map(({ epoch, departed, policy, attributes }) => [epoch, departed, policy, attributes]),
      [
        [0, true, 3, EU],
        [1, true, 3, EU],
        [2, false, 3, EU],
      ],
    );
    assert.equal(stays[0]?.holder, stays[2]?.holder);
    assert.notEqual(stays[0]?.holder, stays[1]?.holder);
    assert.deepEqual(
      [document.from, document.state, document.policy, document.tenant, stays[0]?.since.getTime()],
      ['birth', 'stopped', 'lab', null, worldStart + 1000],
    );
  });

  it('hold nothing by which a host could be told from another one with the same attributes', () => {
    const proof = proofOf(travelled().bytes());
    const text = sign(resultOf(proof, appraised));
    const payload = Buffer.from(
      (JSON.parse(text) as { envelope: { payload: string } }).envelope.payload,
      'base64',
    ).toString();
    for (const { entry, hash, pcrState } of proof.entries) {
      const hidden = [entry.host.akName, entry.host.certificate, hash, entry.session ?? hash];
      for (const bytes of hidden)
        assert.doesNotMatch(payload, new RegExp(Buffer.from(bytes).toString('hex')));
      assert.doesNotMatch(payload, new RegExp(entry.host.name));
      assert.doesNotMatch(payload, new RegExp(`"${String(pcrState)}"`));
    }
    assert.deepEqual(Object.keys((JSON.parse(payload) as { stays: object[] }).stays[0] ?? {}), [
      'epoch',
      'holder',
      'attributes',
      'policy',
      'since',
      'departed',
      'last',
    ]);
  });

  it('about one proof have no pseudonym and no commitment in common', () => {
    const proof = proofOf(travelled().bytes());
    const shown = [resultOf(proof, appraised), resultOf(proof, appraised)].map(({ document }) =>
      document.stays.flatMap(({ holder, last }) => [holder, last]),
    );
    const [first = [], second = []] = shown;
    assert.equal(first.filter((text) => second.includes(text)).length, 0);
    assert.equal(new Set(second).size, 5, 'two pseudonyms, three commitments');
  });

  it('of a certificate that was renewed with other attributes show two stays in one epoch', async () => {
    const chain = travelled();
    chain.holder = await world.enrol('alpha.test', { tpm: alpha.tpm, attributes: new Map([['level', 3]]) });
    const { document } = resultOf(proofOf(chain.live('started').bytes()), appraised);
    assert.deepEqual(
      document.stays.slice(2).map(({ epoch, attributes }) => [epoch, attributes]),
      [
        [2, EU],
        [2, new Map([['level', 3]])],
      ],
    );
    assert.equal(document.stays[2]?.holder, document.stays[3]?.holder);
    assert.deepEqual(verify(sign(resultOf(proofOf(chain.bytes()), appraised))).stays.length, 4);
  });

  it('name the tenant, and a checkpoint at which the proof began', () => {
    const tenant = new Tenant();
    const chain = new ChainBuilder(world);
    chain.holder = alpha;
    chain.add('created').bound(tenant.policy('region == "eu"', 4)).add('started');
    const at = chain.sequence;
    const { document } = resultOf(proofOf(chain.checkpoint().migrate(beta).from(at)), appraised);
    assert.equal(document.from, 'checkpoint');
    assert.equal(document.tenant?.version, 4);
    assert.equal(document.vtpm?.length, 68);
  });

  it('do not repeat a statement of destruction that is not believed', () => {
    const proof = proofOf(travelled().bytes());
    const { document } = resultOf(proof, { ...appraised, unbelieved: new Set([0]) });
    assert.deepEqual(
      document.stays.map(({ departed }) => departed),
      [false, true, false],
    );
  });

  it('are believed from a policy signer of the root alone', async () => {
    const text = sign(resultOf(proofOf(travelled().bytes()), appraised));
    const forged = resigned(text, (payload) => payload, testKeyPair());
    assert.throws(() => verify(forged), refused('bad-signature'));
    const other = await makeWorld();
    assert.throws(() => verifyResult(text, other.authority.root, issuedAt), refused('untrusted-signer'));
  });

  it('are no other thing that the policy key signed', () => {
    const text = sign(resultOf(proofOf(travelled().bytes()), appraised));
    const file = JSON.parse(text) as Record<string, unknown>;
    const envelope = JSON.parse(world.policy.text) as unknown;
    assert.throws(() => verify(JSON.stringify({ ...file, envelope })), refused('wrong-payload-type'));
  });

  const badPayloads: Readonly<Record<string, readonly [(payload: string) => string, PolicyReason]>> = {
    'another spelling': [(text) => text.replace('{', '{ '), 'not-canonical'],
    'an unknown member': [(text) => text.replace('{', '{"more":1,'), 'malformed'],
    'a state that a VM is not in': [(text) => text.replace('"stopped"', '"gone"'), 'malformed'],
    'an epoch left out': [(text) => text.replace('"epoch":1,', '"epoch":7,'), 'malformed'],
    'two holders in one epoch': [(text) => text.replace('"epoch":1,', '"epoch":0,'), 'malformed'],
    'an attribute that is none': [(text) => text.replace('"level":2', '"level":-2'), 'malformed'],
    'attributes in another order': [
      (text) => text.replace('"level":2,"region":"eu"', '"region":"eu","level":2'),
      'not-canonical',
    ],
    'no stays': [(text) => text.replace(/"stays":\[.*\]/, '"stays":[]'), 'malformed'],
    'no JSON': [(text) => text.slice(1), 'malformed'],
  };
  for (const [what, [change, reason]] of Object.entries(badPayloads)) {
    it(`with ${what} are refused, whoever signed them`, () => {
      const text = sign(resultOf(proofOf(travelled().bytes()), appraised));
      assert.throws(() => verify(resigned(text, change)), refused(reason));
    });
  }

  describe('opened', () => {
    const opened = (proofBytes?: Uint8Array) => {
      const bytes = travelled().bytes();
      const { document, salts } = resultOf(proofOf(bytes), appraised);
      const result = verify(signResult(document, world.authority.policyKeys, world.authority.policySigner));
      const opening = parseOpening(formatOpening({ result: result.digest, salts }));
      return { result, opening, proof: proofOf(proofBytes ?? bytes) };
    };

    it('tell which pseudonym is which host', () => {
      const { result, opening, proof } = opened();
      assert.deepEqual(
        openResult(result, opening, proof).map(({ host, lastEntry }) => [host, lastEntry]),
        [
          ['alpha.test', 2],
          ['beta.test', 4],
          ['alpha.test', 6],
        ],
      );
    });

    it('open with a proof that goes on after the result, too', () => {
      const bytes = travelled();
      const { document, salts } = resultOf(proofOf(bytes.bytes()), appraised);
      const result = verify(sign({ document, salts }));
      const longer = proofOf(bytes.live('started').migrate(beta).bytes());
      assert.equal(openResult(result, { result: result.digest, salts }, longer).length, 3);
    });

    it('do not open with another proof, salt or opening', () => {
      const { result, opening, proof } = opened();
      const chain = new ChainBuilder(world);
      chain.holder = beta;
      const other = proofOf(chain.live('created', 'started').migrate(alpha).migrate(beta).bytes());
      assert.throws(
        () => openResult(result, opening, other),
        refused('conflict', /epoch 0 is not in the proof/),
      );
      const salts = [...opening.salts].reverse();
      assert.throws(() => openResult(result, { ...opening, salts }, proof), refused('conflict'));
      const foreign = { ...opening, result: new Uint8Array(32) };
      assert.throws(() => openResult(result, foreign, proof), refused('conflict', /another result/));
      assert.throws(() => parseOpening('{}'), refused('malformed'));
    });

    it('do not open where one pseudonym stands for two hosts', () => {
      const { document, salts } = resultOf(proofOf(travelled().bytes()), appraised);
      const holder = document.stays[0]?.holder ?? '';
      const stays = document.stays.map((stay) => ({ ...stay, holder }));
      const result = verify(sign({ document: { ...document, stays }, salts }));
      assert.throws(
        () => openResult(result, { result: result.digest, salts }, proofOf(travelled().bytes())),
        refused('conflict'),
      );
    });
  });
});
