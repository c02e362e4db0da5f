import assert from 'node:assert/strict';
import {
  isAgentAddress,
  metadataElement,
  metadataOfDomain,
  qualifiedMetadataElement,
} from '../../../lib/libvirt/metadata.ts';
import { fixture } from './fixtures.ts';

describe('our metadata in a domain', () => {
  const bare = fixture('small-inactive').replace(/<metadata>[\s\S]*<\/metadata>/, '');
  const withMetadata = (inner: string): string =>
    bare.replace('<memory', `<metadata>${inner}</metadata><memory`);

  it('is absent from a VM that is not protected', () => {
    assert.equal(metadataOfDomain(bare), null);
    assert.equal(metadataOfDomain(withMetadata(`<vm xmlns='urn:other' agent='a:1'/>`)), null);
  });

  it('is read back as it was written, whatever the prefix', () => {
    const xml = withMetadata(qualifiedMetadataElement('host-a.example:16515'));
    assert.deepEqual(metadataOfDomain(xml), { untrustedAgent: 'host-a.example:16515', untrustedRun: null });
    assert.deepEqual(metadataOfDomain(xml.replaceAll('tvmmp:vm', 'x:vm').replace('xmlns:tvmmp', 'xmlns:x')), {
      untrustedAgent: 'host-a.example:16515',
      untrustedRun: null,
    });
    assert.equal(metadataElement('[::1]:16515'), '<vm agent="[::1]:16515"/>');
  });

  it('has the number of a run, and no other text in its place', () => {
    for (const [text, run] of [
      ['0', 0],
      ['13', 13],
      ['', -1],
      ['01', -1],
      ['1e3', -1],
      ['-1', -1],
      ['9'.repeat(16), -1],
    ] as const) {
      const xml = withMetadata(qualifiedMetadataElement('h:1').replace('/>', ` run="${text}"/>`));
      assert.deepEqual(metadataOfDomain(xml), { untrustedAgent: 'h:1', untrustedRun: run }, text);
    }
    assert.equal(metadataElement('h:1', 7), '<vm agent="h:1" run="7"/>');
  });

  it('protects the VM even where its hint is useless', () => {
    for (const agent of ['', 'host', 'host:0', 'host:65536', 'a b:1', '-x:1', 'host:1/../x', 'host:１']) {
      const xml = withMetadata(qualifiedMetadataElement('h:1').replace('h:1', agent));
      assert.deepEqual(metadataOfDomain(xml), { untrustedAgent: null, untrustedRun: null }, agent);
      assert.throws(() => metadataElement(agent), { code: 'config-invalid' });
    }
  });

  it('takes names, IPv4 and bracketed IPv6 addresses with a port', () => {
    for (const agent of ['h:1', 'a.b-c.example:65535', '192.0.2.1:16515', '[2001:db8::1]:16515']) {
      assert.ok(isAgentAddress(agent), agent);
    }
    assert.equal(isAgentAddress(`${'a'.repeat(400)}:1`), false);
  });
});
