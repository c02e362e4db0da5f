/** Loads the ASN.1 library when the first attribute certificate is read: commands that see none need not wait for it. */
import { createRequire } from 'node:module';

type Schema = typeof import('@peculiar/asn1-schema');
type X509 = typeof import('@peculiar/asn1-x509');
type Attributes = typeof import('@peculiar/asn1-x509-attr');

const require = createRequire(import.meta.url);

/** @peculiar/asn1-schema, -x509 and -x509-attr: what @peculiar/x509 is made of, and attribute certificates (RFC 5755). */
export function asn1(): { readonly schema: Schema; readonly x509: X509; readonly attributes: Attributes } {
  return {
    schema: require('@peculiar/asn1-schema') as Schema,
    x509: require('@peculiar/asn1-x509') as X509,
    attributes: require('@peculiar/asn1-x509-attr') as Attributes,
  };
}
