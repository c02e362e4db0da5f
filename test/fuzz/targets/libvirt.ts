/** What libvirt passes on: XML that any user of a source host may have worded (SPEC 7). */
import { encode } from '../../../lib/encoding/cbor.ts';
import { canonicalFacts } from '../../../lib/libvirt/canonical-facts.ts';
import { facts } from '../../../lib/libvirt/facts.ts';
import { fixture } from '../../unit/libvirt/fixtures.ts';
import type { Target } from '../target.ts';

const domain: Target = {
  name: 'domain-xml',
  about: 'domain XML: its facts can be read and encoded, or it is refused',
  seeds: () =>
    ['small-inactive', 'rich-source-live', 'efi-hook-prepare-begin'].map((name) =>
      Buffer.from(fixture(name)),
    ),
  form: 'xml',
  refusals: ['domain-xml-invalid', 'limit-exceeded'],
  bytesMax: 12 * 1024,
  executions: 5_000,
  run: (input) => {
    encode(canonicalFacts(facts(Buffer.from(input).toString())));
  },
};

export const libvirtTargets: readonly Target[] = [domain];
