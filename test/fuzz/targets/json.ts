/** What is JSON: policies, messages of an enrolment, requests of the CLI, the agent's configuration. */
import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { parseConfig } from '../../../lib/agent/config.ts';
import { parseRequest } from '../../../lib/agent/control-server.ts';
import { verifySignedPolicy } from '../../../lib/appraisal/policy.ts';
import {
  formatPolicy,
  formatPolicyDraft,
  parsePolicyDocument,
  parsePolicyText,
} from '../../../lib/appraisal/policy-text.ts';
import { formatMessage, parseMessage } from '../../../lib/authority/enrolment-messages.ts';
import { parseRootCertificate } from '../../../lib/certificates/root-certificate.ts';
import { decodeProof } from '../../../lib/proof/proof.ts';
import type { Target } from '../target.ts';

const textOf = (input: Uint8Array): string => Buffer.from(input).toString();
const vector = JSON.parse(
  readFileSync(new URL('../../vectors/proof/good-there-and-back.json', import.meta.url), 'utf8'),
) as { root: string; proof: string };
const root = parseRootCertificate(new Uint8Array(Buffer.from(vector.root, 'base64')));
const { certificates: signers, policies } = decodeProof(new Uint8Array(Buffer.from(vector.proof, 'base64')));
const at = new Date('2030-01-01T00:00:00Z');

const envelope: Target = {
  name: 'policy-envelope',
  about: 'a signed policy (SPEC 10): verified, or refused',
  seeds: () => policies.map((text) => Buffer.from(text)),
  form: 'json',
  refusals: ['policy-invalid'],
  bytesMax: 8192,
  executions: 3000,
  run: (input) => {
    verifySignedPolicy(textOf(input), { root, signers, at });
  },
};

const payloads = policies.map((text) => {
  const { payload } = JSON.parse(text) as { payload: string };
  return Buffer.from(payload, 'base64');
});

const policy: Target = {
  name: 'policy-payload',
  about: 'the payload of a policy: what is accepted is the one spelling of its value (SPEC 10)',
  seeds: () => payloads,
  form: 'json',
  refusals: ['policy-invalid'],
  bytesMax: 8192,
  executions: 5000,
  run: (input) => {
    const text = textOf(input);
    assert.equal(formatPolicy(parsePolicyDocument(text)), text);
  },
};

const draft: Target = {
  name: 'policy-draft',
  about: 'a policy as an operator writes it: what was read is written so that it reads the same',
  seeds: () => payloads.map((text) => Buffer.from(formatPolicyDraft(parsePolicyDocument(text.toString())))),
  form: 'json',
  refusals: ['policy-invalid'],
  bytesMax: 8192,
  executions: 5000,
  run: (input) => {
    const read = parsePolicyText(textOf(input));
    assert.deepEqual(parsePolicyText(formatPolicyDraft(read)), read);
  },
};

const enrolment: Target = {
  name: 'enrolment',
  about: 'a line of an enrolment (SPEC 1.2): what was read is written so that it reads the same',
  seeds: () => [
    Buffer.from(formatMessage({ type: 'answer', credential: new Uint8Array(32) })),
    Buffer.from(formatMessage({ type: 'refused', reason: 'no' })),
  ],
  form: 'json',
  refusals: ['enrolment-refused'],
  bytesMax: 8192,
  executions: 5000,
  run: (input) => {
    const message = parseMessage(textOf(input));
    assert.deepEqual(parseMessage(formatMessage(message)), message);
  },
};

const request: Target = {
  name: 'control-request',
  about: 'a request of the CLI: a method and its named parameters',
  seeds: () => [Buffer.from('{"method":"migrate","params":{"vm":"web","destination":"beta"}}')],
  form: 'json',
  refusals: ['usage-invalid'],
  bytesMax: 1024,
  executions: 5000,
  run: (input) => {
    const { method, params } = parseRequest(textOf(input));
    assert.equal(typeof method, 'string');
    assert.equal(Object.prototype.toString.call(params), '[object Object]');
  },
};

const config: Target = {
  name: 'config',
  about: 'the agent’s configuration: known members of the right type, no others',
  seeds: () => [
    Buffer.from('{}'),
    Buffer.from(
      '{"name":"alpha","tpm":{"tcti":"swtpm"},"listen":{"address":"::1","port":1},"log":{"level":"warn"}}',
    ),
    Buffer.from('{"libvirt":{"uri":"a","migrationUri":"b"},"advertise":"c:1","directories":{"state":"/d"}}'),
  ],
  form: 'json',
  refusals: ['config-invalid'],
  bytesMax: 1024,
  executions: 5000,
  run: (input) => {
    const read = parseConfig(textOf(input));
    assert.deepEqual(parseConfig(JSON.stringify(read)), read);
  },
};

export const jsonTargets: readonly Target[] = [envelope, policy, draft, enrolment, request, config];
