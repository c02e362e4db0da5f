/** Enrols one host over a pipe: the authority's end. */
import { isIP } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { checkAttributes } from '../certificates/attributes.ts';
import type { HostAttributes } from '../certificates/attributes.ts';
import { isHostName } from '../certificates/host-name.ts';
import { TvmmpError } from '../errors.ts';
import type { Authority } from './authority.ts';
import { loadEndorsementTrust } from './endorsement.ts';
import { AuthorityEnrolment } from './enrolment.ts';
import { formatMessage, parseMessage } from './enrolment-messages.ts';
import { LineChannel } from './line-channel.ts';

/** What the authority's operator says of the host. */
export interface EnrolSessionOptions {
  readonly hostName: string;
  /** IP addresses at which the host is reached, for its TLS certificates. */
  readonly addresses: readonly string[];
  /** Directory of PEM files: whose EK certificates to believe. */
  readonly ekRoots: string;
  /** Directory of certificates of the manufacturers of machines: whose platform certificates to believe. A host has to show one then. */
  readonly platformRoots?: string;
  /** Put what the platform certificate says into the host's attributes. */
  readonly platformAttributes?: boolean;
  /** End earlier enrolments of this name or TPM. */
  readonly replace?: boolean;
  /** Only new certificates for the enrolment that there is. */
  readonly renew?: boolean;
  /** How long the certificates are good for. */
  readonly days?: number;
  /** What the authority says of the host. */
  readonly attributes?: HostAttributes;
  readonly deadlineMs?: number;
  readonly now?: () => Date;
}

/**
 * Runs one enrolment from request to issue. Throws `enrolment-refused` after telling the host, `usage-invalid` and
 * `config-invalid` before anything is read.
 */
export async function enrolSession(
  authority: Authority,
  input: Readable,
  output: Writable,
  options: EnrolSessionOptions,
): Promise<void> {
  const {
    hostName,
    addresses,
    replace = false,
    renew = false,
    days,
    attributes,
    now = () => new Date(),
  } = options;
  if (!isHostName(hostName)) throw new TvmmpError('usage-invalid', `${hostName} is not a host name`);
  const bad = addresses.find((address) => isIP(address) === 0);
  if (bad !== undefined) throw new TvmmpError('usage-invalid', `${bad} is not an IP address`);
  if (attributes !== undefined) checkAttributes(attributes);
  if (options.platformAttributes === true && options.platformRoots === undefined)
    throw new TvmmpError(
      'usage-invalid',
      'attributes of a platform need roots to believe (--platform-roots)',
    );
  const both = [...(attributes ?? new Map<string, unknown>()).keys()].find((name) =>
    name.startsWith('platform_'),
  );
  if (options.platformAttributes === true && both !== undefined)
    throw new TvmmpError(
      'usage-invalid',
      `${both} is what the platform certificate says (--platform-attributes)`,
    );
  const trust = loadEndorsementTrust(options.ekRoots);
  const platform =
    options.platformRoots === undefined
      ? undefined
      : {
          trust: loadEndorsementTrust(options.platformRoots),
          attributes: options.platformAttributes ?? false,
        };
  const channel = new LineChannel(input, output, options.deadlineMs);
  const enrolment = new AuthorityEnrolment(authority, {
    hostName,
    addresses,
    trust,
    ...(platform === undefined ? {} : { platform }),
    replace,
    renew,
    ...(days === undefined ? {} : { days }),
    ...(attributes === undefined ? {} : { attributes }),
  });
  try {
    while (!enrolment.issued) {
      const message = parseMessage(await channel.receive());
      await channel.send(formatMessage(await enrolment.receive(message, now())));
    }
  } catch (error) {
    await refuse(channel, error);
    throw error;
  }
}

/** Tells the host why; its operator is the one who can mend it. Faults of the authority stay here. */
async function refuse(channel: LineChannel, error: unknown): Promise<void> {
  const known = error instanceof TvmmpError && error.code === 'enrolment-refused';
  const reason = known ? error.message : 'the authority failed';
  const printable = reason.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 1024);
  await channel.send(formatMessage({ type: 'refused', reason: printable })).catch(() => undefined);
}
