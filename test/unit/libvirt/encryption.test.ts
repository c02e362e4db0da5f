import assert from 'node:assert/strict';
import { withEncryption, withoutEncryption } from '../../../lib/libvirt/encryption.ts';
import { facts, vtpmSecret } from '../../../lib/libvirt/facts.ts';
import { fixture } from './fixtures.ts';

const SECRET = '6f2a4c1e-0000-4000-8000-00000000feed';
const OTHER = '0b6f0d3a-1111-4222-8333-444455556666';

describe('encryption of the vTPM in a domain’s XML', () => {
  const encrypted = fixture('small-inactive');

  it('is taken out and put back byte for byte', () => {
    const bare = withoutEncryption(encrypted);
    assert.equal(vtpmSecret(facts(bare)), null);
    assert.equal(withEncryption(bare, SECRET), encrypted);
    assert.equal(withoutEncryption(bare), bare);
  });

  it('is replaced by that of another secret, and nothing else changes', () => {
    assert.equal(withEncryption(encrypted, OTHER.toUpperCase()), encrypted.replace(SECRET, OTHER));
  });

  it('finds an empty backend, one with other children, and one with odd spelling', () => {
    const bare = withoutEncryption(encrypted);
    const backend = /<backend[\s\S]*<\/backend>/;
    for (const text of [
      `<backend type='emulator'/>`,
      `<backend  version="2.0" type="emulator" />`,
      `<backend type='emulator'></backend>`,
      `<backend type='emulator'><active_pcr_banks><sha256/></active_pcr_banks></backend>`,
      `<backend type='emulator'><!-- <encryption secret='x'/> > --></backend>`,
      `<backend type='emulator' persistent_state='yes'\n>\n</backend>`,
    ]) {
      const xml = bare.replace(backend, text);
      const result = withEncryption(xml, SECRET);
      assert.equal(vtpmSecret(facts(result)), SECRET, text);
      assert.equal(vtpmSecret(facts(withoutEncryption(result))), null, text);
      const [head, tail] = xml.split(text);
      assert.ok(result.startsWith(head!) && result.endsWith(tail!), text);
    }
  });

  it('removes a long form with its own start and end tag', () => {
    const long = encrypted.replace(/<encryption [^>]*\/>/, `<encryption secret='${SECRET}'>\n </encryption>`);
    assert.equal(withoutEncryption(long), withoutEncryption(encrypted));
  });

  it('is refused where there is not exactly one emulator vTPM, and for a UUID that is none', () => {
    const none = encrypted.replace(/<tpm [\s\S]*<\/tpm>/, '');
    const two = encrypted.replace(/(<tpm [\s\S]*<\/tpm>)/, '$1$1');
    const external = encrypted.replace(`type='emulator'`, `type='external'`);
    for (const xml of [none, two, external]) {
      assert.throws(() => withEncryption(xml, SECRET), { code: 'domain-xml-invalid' });
      assert.throws(() => withoutEncryption(xml), { code: 'domain-xml-invalid' });
    }
    assert.throws(() => withEncryption(encrypted, `x'/><evil`), { code: 'domain-xml-invalid' });
  });
});
