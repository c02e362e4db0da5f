/** What libvirt passes on: XML that any user of a source host may have worded (SPEC 7), and the call of its hook. */
import { strict as assert } from 'node:assert';
import { parseCall } from '../../../lib/agent/hook-server.ts';
import { encode } from '../../../lib/encoding/cbor.ts';
import { canonicalFacts } from '../../../lib/libvirt/canonical-facts.ts';
import { withEncryption, withoutEncryption } from '../../../lib/libvirt/encryption.ts';
import { facts, vtpmSecret } from '../../../lib/libvirt/facts.ts';
import { outgoingMigration } from '../../../lib/libvirt/migration-job.ts';
import { fixture } from '../../unit/libvirt/fixtures.ts';
import type { Target } from '../target.ts';

const domains = ['small-inactive', 'rich-source-live', 'efi-hook-prepare-begin'];
const textOf = (input: Uint8Array): string => Buffer.from(input).toString();

const domain: Target = {
  name: 'domain-xml',
  about: 'domain XML: its facts can be read and encoded, or it is refused',
  seeds: () => domains.map((name) => Buffer.from(fixture(name))),
  form: 'xml',
  refusals: ['domain-xml-invalid', 'limit-exceeded'],
  bytesMax: 12 * 1024,
  executions: 3000,
  run: (input) => {
    encode(canonicalFacts(facts(textOf(input))));
  },
};

const SECRET = '0a1b2c3d-0000-4000-8000-00000000abcd';

const encryption: Target = {
  name: 'domain-encryption',
  about:
    'edits of domain XML: the vTPM has the secret that was put in, none after it was taken out, and nothing else changes',
  seeds: () => [
    Buffer.from(fixture('small-inactive')),
    Buffer.from(
      `<domain type='kvm'><name>a</name><uuid>${SECRET}</uuid><memory>1</memory><vcpu>1</vcpu><os><type>hvm</type></os><devices><tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices></domain>`,
    ),
  ],
  form: 'xml',
  refusals: ['domain-xml-invalid', 'limit-exceeded'],
  bytesMax: 6 * 1024,
  executions: 1500,
  run: (input) => {
    const bare = withoutEncryption(textOf(input));
    const before = facts(bare);
    assert.equal(vtpmSecret(before), null);
    const encrypted = withEncryption(bare, SECRET);
    const after = facts(encrypted);
    assert.equal(vtpmSecret(after), SECRET);
    const [tpm] = before.tpms;
    assert.deepEqual(after, { ...before, tpms: [{ ...tpm, encryptionSecret: SECRET }] });
    assert.deepEqual(facts(withoutEncryption(encrypted)), before);
  },
};

const status: Target = {
  name: 'migration-status',
  about: 'libvirt’s record of a running VM, its description included: a migration, none, or refused',
  seeds: () => [Buffer.from(fixture('status-migrating-tls'))],
  form: 'xml',
  refusals: ['domain-xml-invalid', 'limit-exceeded'],
  bytesMax: 16 * 1024,
  executions: 1500,
  run: (input) => {
    outgoingMigration(textOf(input));
  },
};

const hook: Target = {
  name: 'hook-call',
  about: 'what the hook client passes on: four arguments and the XML, all of it kept',
  seeds: () => [
    hookCall('web', 'migrate', 'begin', '-', '<domain/>'),
    hookCall('', 'reconnect', 'begin', '-', ''),
  ],
  form: 'bytes',
  refusals: ['encoding-invalid'],
  bytesMax: 8192,
  executions: 10_000,
  run: (input) => {
    const { name, operation, subOperation, extra, xml } = parseCall(input);
    assert.deepEqual(hookCall(name, operation, subOperation, extra, xml), input);
  },
};

/** As native/hook-client.c writes it, without the frame. */
function hookCall(...words: readonly string[]): Uint8Array {
  const parts = words.map((word, index) => {
    const bytes = Buffer.from(word);
    return index === 4
      ? bytes
      : Buffer.concat([Uint8Array.of(bytes.length >> 8, bytes.length & 0xff), bytes]);
  });
  return new Uint8Array(Buffer.concat(parts));
}

export const libvirtTargets: readonly Target[] = [domain, encryption, status, hook];
