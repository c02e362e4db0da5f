import { readFileSync } from 'node:fs';

/** XML captured from libvirt 9.0.0 by two private libvirtd (test/support/libvirtd.ts); paths shortened to /srv. */
export function fixture(name: string): string {
  return readFileSync(new URL(`./fixtures/${name}.xml`, import.meta.url), 'utf8');
}
