/**
 * Loads @peculiar/x509 when the first certificate is read: it takes a tenth of a second, which commands that see no
 * certificate need not wait for.
 */
import { webcrypto } from 'node:crypto';
import { createRequire } from 'node:module';

type Library = typeof import('@peculiar/x509');

const require = createRequire(import.meta.url);
let loaded: Library | undefined;

/** The X.509 library, with Node's own cryptography as its provider. */
export function x509(): Library {
  if (loaded === undefined) {
    require('reflect-metadata');
    const library = require('@peculiar/x509') as Library;
    library.cryptoProvider.set(webcrypto);
    loaded = library;
  }
  return loaded;
}
