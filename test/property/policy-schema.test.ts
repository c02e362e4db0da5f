/** The JSON Schema of policies and the parser give one verdict, but for what no schema can say. */
import { strict as assert } from 'node:assert';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { SIGNED_POLICY_SCHEMA, policySchema } from '../../lib/appraisal/policy-schema.ts';
import { parsePolicyDocument, parsePolicyText } from '../../lib/appraisal/policy-text.ts';
import { ruledComponents } from '../../lib/appraisal/host-rules.ts';
import { keyVariables } from '../../lib/appraisal/secure-boot.ts';
import { TvmmpError } from '../../lib/errors.ts';

const ajv = new Ajv2020({ strict: true, strictRequired: false, allErrors: false });
const draftSchema = ajv.compile(policySchema());
const signedSchema = ajv.getSchema(SIGNED_POLICY_SCHEMA)!;

const pem = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({
  type: 'spki',
  format: 'pem',
});
const hexes = ['00', 'a5', 'ff'];
const sha256 = fc.constantFrom(...hexes.map((byte) => byte.repeat(32)));
const digest = fc.constantFrom(
  ...hexes.flatMap((byte) => [
    `sha256:${byte.repeat(32)}`,
    `sha1:${byte.repeat(20)}`,
    `sha512:${byte.repeat(64)}`,
  ]),
);
const line = fc.constantFrom('/usr/bin/x', 'a b', '\u00e4', '\u{1f512}', '__proto__', '~/', 'x'.repeat(4096));
const printable = fc.constantFrom('a', 'B 7', '~', ' ', '"\\', 'x'.repeat(128));
const condition = fc.constantFrom('level >= 2', 'region == "eu" and level >= 2', 'not (a in [1, "b"])');
const version = fc.constantFrom('6', '6.1', '10.0.22', '1.2.3.999999');
const listOf = <T>(item: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(item, { maxLength: 3 });
/** An object with at least one of these members. */
const someOf = (parts: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<object> =>
  fc.record(parts, { requiredKeys: [] }).filter((value) => Object.keys(value).length > 0);
const same = (names: readonly string[], of: fc.Arbitrary<unknown>): Record<string, fc.Arbitrary<unknown>> =>
  Object.fromEntries(names.map((name) => [name, of]));

const eventLog = someOf({
  secureBoot: fc.boolean(),
  keys: someOf(same(keyVariables, listOf(sha256))),
  commandLines: listOf(line),
  ...same(['firmware', 'drivers', 'images', 'bootFiles'], listOf(sha256)),
});
const ima = fc.record(
  {
    files: fc.dictionary(line, listOf(digest), { maxKeys: 3 }),
    excluded: listOf(line),
    keys: listOf(fc.constant(pem)),
    allowViolations: fc.boolean(),
  },
  { requiredKeys: ['files'] },
);

/** Policies that the parser accepts; `state` gives what each state has besides. */
function policies(more: object, state: object): fc.Arbitrary<object> {
  const selection = fc
    .uniqueArray(fc.nat(23), { minLength: 1, maxLength: 4 })
    .map((pcrs) => pcrs.sort((a, b) => a - b));
  const names = fc.uniqueArray(printable, { minLength: 1, maxLength: 3 });
  return fc.tuple(selection, names).chain(([pcrs, named]) => {
    const values = fc.record(Object.fromEntries(pcrs.map((pcr) => [String(pcr), sha256])));
    const rule = someOf({
      attributes: condition,
      versions: someOf(same(ruledComponents, version)),
      states: fc.subarray(named, { minLength: 1 }),
    });
    return fc
      .record(
        {
          format: fc.constant('tvmmp-policy/1'),
          id: fc.constantFrom('fleet', '0', `a${'.'.repeat(63)}`),
          version: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
          pcrs: fc.constant({ sha256: pcrs }),
          states: fc.tuple(
            ...named.map((name) =>
              fc
                .record({ name: fc.constant(name), pcrs: fc.record({ sha256: values }) })
                .map((one) => ({ ...one, ...state })),
            ),
          ),
          forward: rule,
          backward: rule,
          eventLog,
          ima,
          quarantine: fc.record({
            everySeconds: fc.integer({ min: 10, max: 86_400 }),
            leave: fc.constantFrom('never', 'trusted'),
          }),
        },
        { requiredKeys: ['format', 'id', 'version', 'pcrs', 'states'] },
      )
      .map((policy) => ({ ...policy, ...more }));
  });
}

const drafts = policies({}, {});
const signed = policies(
  { issuedAt: '2026-11-23T17:00:00.000Z' },
  { approval: Buffer.alloc(64, 7).toString('base64') },
);

const junk: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    0,
    -1,
    1.5,
    24,
    1e300,
    '',
    'x',
    [],
    {},
    [[]],
    'a == ',
    '\u0000',
    'A'.repeat(200),
  ),
  fc.jsonValue({ maxDepth: 2 }),
  sha256,
  printable,
);

type Tree = Record<string, unknown>;

/** The document with one thing changed at a place that `steps` lead to. */
function changed(
  document: object,
  steps: readonly number[],
  how: number,
  value: unknown,
  name: string,
): object {
  const copy = structuredClone(document) as Tree;
  let [at, key]: [Tree, string] = [{ '': copy }, ''];
  for (const step of steps) {
    const here = at[key];
    if (typeof here !== 'object' || here === null || Object.keys(here).length === 0) break;
    const keys = Object.keys(here);
    [at, key] = [here as Tree, keys[step % keys.length]!];
  }
  const whole = at[key] === copy;
  if (how === 0 && !whole) {
    if (Array.isArray(at)) at.splice(Number(key), 1);
    else Reflect.deleteProperty(at, key);
  } else if (how === 1) {
    const here = at[key];
    if (Array.isArray(here)) here.push(here.length > 0 && name.length % 2 === 0 ? here[0] : value);
    else if (typeof here === 'object' && here !== null) put(here as Tree, name, value);
  } else if (!whole) put(at, key, value);
  return JSON.parse(JSON.stringify(copy)) as object;
}

/** A member of its own, whatever its name is. */
function put(at: Tree, name: string, value: unknown): void {
  Object.defineProperty(at, name, { value, enumerable: true, configurable: true, writable: true });
}

/** `accepted`, `inconsistent` (which no schema sees), or the fault by which the parser refuses. */
function verdictOf(parse: (text: string) => unknown, document: unknown): string {
  try {
    parse(JSON.stringify(document));
    return 'accepted';
  } catch (error) {
    assert.ok(error instanceof TvmmpError && error.code === 'policy-invalid', String(error));
    const { reason, fault, pointer } = error.details;
    if (reason === 'not-canonical') return 'accepted';
    assert.equal(reason, 'malformed');
    assert.equal(typeof fault, 'string', error.message);
    assert.match(String(pointer), /^(?:\/[^/]*)*$/);
    return String(fault);
  }
}

describe('the JSON Schema of policies', () => {
  it('is what lib/appraisal/policy.schema.json holds', () => {
    const file = JSON.parse(readFileSync('lib/appraisal/policy.schema.json', 'utf8')) as unknown;
    assert.deepEqual(
      file,
      JSON.parse(JSON.stringify(policySchema())),
      'tvmmp policy schema -o lib/appraisal/policy.schema.json',
    );
  });

  for (const [what, documents, parse, schema] of [
    ['a draft', drafts, parsePolicyText, draftSchema],
    ['the payload of a signed policy', signed, parsePolicyDocument, signedSchema],
  ] as const) {
    it(`accepts ${what} that the parser accepts`, () => {
      fc.assert(
        fc.property(documents, (document) => {
          assert.equal(verdictOf(parse, document), 'accepted');
          assert.ok(schema(document), ajv.errorsText(schema.errors));
        }),
        { numRuns: 200 },
      );
    });

    it(`judges ${what} with one thing changed as the parser does, and leaves to it what no schema can say`, () => {
      const seen = new Map<string, number>();
      const steps = fc.array(fc.nat(11), { minLength: 1, maxLength: 5 });
      const name = fc.oneof(fc.constantFrom('x', 'commandLines', '24', '7', '__proto__'), printable);
      fc.assert(
        fc.property(documents, steps, fc.nat(2), junk, name, (document, path, how, value, added) => {
          const mutant = changed(document, path, how, value, added);
          const verdict = verdictOf(parse, mutant);
          seen.set(verdict, (seen.get(verdict) ?? 0) + 1);
          const expected = verdict === 'accepted' || verdict === 'inconsistent';
          assert.equal(schema(mutant), expected, `${verdict}: ${JSON.stringify(mutant)}`);
        }),
        { numRuns: 2000, seed: 20261123 },
      );
      for (const verdict of ['accepted', 'inconsistent', 'wrong-type', 'unknown-member', 'missing-member'])
        assert.ok((seen.get(verdict) ?? 0) > 20, `${verdict}: ${JSON.stringify([...seen])}`);
    });
  }

  it('refuses what is no policy at all', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        assert.notEqual(verdictOf(parsePolicyText, value), 'accepted');
        assert.equal(draftSchema(value), false);
      }),
    );
  });
});

describe('a policy that is not as it has to be', () => {
  const digits = '00'.repeat(32);
  const draft = {
    format: 'tvmmp-policy/1',
    id: 'fleet',
    version: 1,
    pcrs: { sha256: [0, 7] },
    states: [{ name: 'a', pcrs: { sha256: { 0: digits, 7: digits } } }],
  };
  const faults: readonly (readonly [change: object, fault: string, pointer: string])[] = [
    [{ forwrad: {} }, 'unknown-member', '/forwrad'],
    [{ 'a/b~c': 1 }, 'unknown-member', '/a~1b~0c'],
    [{ version: '1' }, 'wrong-type', '/version'],
    [{ version: 0 }, 'out-of-range', '/version'],
    [{ states: undefined }, 'missing-member', ''],
    [{ states: [{ ...draft.states[0], pcrs: { sha1: {} } }] }, 'unknown-member', '/states/0/pcrs/sha1'],
    [{ pcrs: { sha256: [0, 0] } }, 'repeated', '/pcrs/sha256/1'],
    [{ pcrs: { sha256: [7, 0] } }, 'inconsistent', '/pcrs/sha256/1'],
    [{ pcrs: { sha256: [0] } }, 'inconsistent', '/states/0/pcrs/sha256/7'],
    [{ states: [draft.states[0], draft.states[0]] }, 'inconsistent', '/states/1/name'],
    [{ forward: {} }, 'wrong-count', '/forward'],
    [{ forward: { attributes: 'level >=' } }, 'inconsistent', '/forward/attributes'],
    [{ backward: { states: ['b'] } }, 'inconsistent', '/backward/states/0'],
    [{ ima: { files: { '/bin/sh': ['sha256:00'] } } }, 'wrong-text', '/ima/files/~1bin~1sh/0'],
    [{ eventLog: { keys: { mok: [] } } }, 'unknown-member', '/eventLog/keys/mok'],
  ];
  for (const [change, fault, pointer] of faults)
    it(`is refused with the place: ${fault} at ${pointer === '' ? 'the document' : pointer}`, () => {
      assert.throws(
        () => parsePolicyText(JSON.stringify({ ...draft, ...change })),
        (error) => {
          assert.ok(error instanceof TvmmpError);
          assert.deepEqual(error.details, { reason: 'malformed', fault, pointer });
          assert.ok(
            error.message.includes(`${pointer || 'the document'} `) && error.message.includes(`(${fault})`),
          );
          return true;
        },
      );
    });
});
