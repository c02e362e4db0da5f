import { decode, encode } from '../encoding/cbor.ts';
import type { CborValue } from '../encoding/cbor.ts';
import {
  bytesUpTo,
  hash,
  hostName,
  listOf,
  literal,
  nullable,
  numbered,
  record,
  recordWith,
  textMap,
  textUpTo,
  uintUpTo,
  uuid,
} from '../encoding/shape.ts';
import type { Shape } from '../encoding/shape.ts';
import { TvmmpError } from '../errors.ts';
import { claim } from '../evidence/claim.ts';
import { limits } from '../limits.ts';
import { policyId } from '../evidence/identity.ts';
import { logKind, logsWanted } from '../evidence/logs-wanted.ts';
import { roleNumbers } from '../evidence/statement.ts';
import { disclaimerShape } from '../proof/disclaimer.ts';
import { signedEntryShape } from '../proof/entry.ts';
import type {
  Aborted,
  Arrived,
  Departed,
  EvidenceMessage,
  Hello,
  LogMessage,
  Message,
  MessageKind,
  Offer,
  Question,
  QuestionOf,
  Staged,
  RefusedMessage,
  RevocationsMessage,
} from './messages.ts';
import { refusalHints } from './messages.ts';

const certificate = bytesUpTo(limits.certificateBytesMax);
const tpmPublic = bytesUpTo(2048);
const sealed = bytesUpTo(256);

const hello: Shape<Hello> = recordWith(
  {
    kind: literal('hello'),
    version: literal(1),
    session: hash,
    role: numbered(roleNumbers),
    vm: uuid,
    nonce: hash,
    host: hostName,
    agent: textUpTo(limits.hostNameBytesMax + 8),
    akCertificate: certificate,
    akPublic: tpmPublic,
    receivePublic: tpmPublic,
    policy: policyId,
    versions: textMap(16, 64),
    wanted: logsWanted,
  },
  'wanted',
);

const evidence: Shape<EvidenceMessage> = record({ kind: literal('evidence'), session: hash, claim });
const offer: Shape<Offer> = record({
  kind: literal('offer'),
  session: hash,
  claim,
  proof: bytesUpTo(limits.frameBytesMax),
  sealed,
});
const staged: Shape<Staged> = record({ kind: literal('staged'), session: hash, head: hash });
/** What is needed to verify a statement. */
const credentials = {
  certificates: listOf(certificate, { max: 8 }),
  policies: listOf(textUpTo(limits.policyEnvelopeBytesMax), { max: 2 }),
};
/** A signed entry with what is needed to verify it. */
const statement = <Kind extends 'arrived' | 'departed'>(kind: Kind) =>
  record({
    kind: literal(kind),
    session: hash,
    entry: signedEntryShape,
    ...credentials,
  });
const arrived: Shape<Arrived> = statement('arrived');
const departed: Shape<Departed> = statement('departed');
const aborted: Shape<Aborted> = record({
  kind: literal('aborted'),
  session: hash,
  disclaimer: disclaimerShape,
  ...credentials,
});
const question = <Kind extends Question['kind']>(kind: Kind): Shape<QuestionOf<Kind>> =>
  record({ kind: literal(kind), session: hash, head: hash });

const refused: Shape<RefusedMessage> = record({
  kind: literal('refused'),
  session: hash,
  hint: nullable(numbered(refusalHints)),
});

const revocations: Shape<RevocationsMessage> = record({
  kind: literal('revocations'),
  session: hash,
  list: textUpTo(limits.policyEnvelopeBytesMax),
});

const log: Shape<LogMessage> = record({
  kind: literal('log'),
  session: hash,
  log: logKind,
  from: uintUpTo(limits.imaListBytesMax),
  data: bytesUpTo(limits.logPieceBytesMax),
});

/** One grammar per message kind (SPEC 6), in one table: a kind that is not here does not exist. */
const shapes: { readonly [K in MessageKind]: Shape<Extract<Message, { kind: K }>> } = {
  hello,
  evidence,
  offer,
  staged,
  arrived,
  departed,
  abort: question('abort'),
  aborted,
  query: question('query'),
  revocations,
  log,
  attested: record({ kind: literal('attested'), session: hash }),
  refused,
};

/** Encodes one message for the wire, without its frame. */
export function encodeMessage(message: Message): Uint8Array {
  return encode((shapes[message.kind] as Shape<Message>).write(message));
}

/** Decodes untrusted bytes. Errors: `encoding-invalid`, `limit-exceeded`. */
export function decodeMessage(bytes: Uint8Array): Message {
  const value = decode(bytes, { bytesMax: limits.frameBytesMax });
  const kind = kindOf(value);
  if ((kind === 'hello' || kind === 'evidence') && bytes.length > limits.helloBytesMax) {
    throw new TvmmpError('limit-exceeded', `${kind} of ${bytes.length} bytes`);
  }
  return (shapes[kind] as Shape<Message>).read(value, kind);
}

function kindOf(value: CborValue): MessageKind {
  const tag: unknown = Array.isArray(value) ? value[0] : undefined;
  if (typeof tag === 'string' && Object.hasOwn(shapes, tag)) return tag as MessageKind;
  throw new TvmmpError('encoding-invalid', 'message of unknown kind');
}
