/**
 * Our element in a domain's metadata (SPEC 7.2). It marks a protected VM, and tells a destination's agent where the agent of the VM's holder
 * listens. The address is a hint that anyone may have written: it says whom to ask, never whom to trust.
 */
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import { type Element, attribute, childrenNs, descend, escapeXml, parseXml } from './xml.ts';

/** The XML namespace of our metadata. */
export const METADATA_NAMESPACE = 'https://tvmmp.org/xmlns/vm/1.0';
/** The prefix that we write. */
export const METADATA_PREFIX = 'tvmmp';

/** What the element says. */
export interface VmMetadata {
  /** `HOST:PORT` of the agent that wrote it, untrusted; null when it is absent or not of that shape. */
  readonly untrustedAgent: string | null;
  /** Number of the run that this definition is of (SPEC 8.7), untrusted; null in a definition that a VM boots with. */
  readonly untrustedRun: number | null;
}

const HOST_PORT = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):([1-9][0-9]{0,4})$/;

/** Whether a text is `HOST:PORT`: a name, an IPv4 address or an IPv6 address in brackets, and a port from 1 to 65535. */
export function isAgentAddress(text: string): boolean {
  const match = HOST_PORT.exec(text);
  return match !== null && text.length <= limits.hostNameBytesMax + 8 && Number(match[1]) <= 65_535;
}

/**
 * The element for `Hypervisor.setMetadata` (`elementXml`): without prefix or declaration of the namespace, which libvirt adds.
 * Throws `config-invalid` when the address is not `HOST:PORT`.
 */
export function metadataElement(agent: string, run: number | null = null): string {
  if (!isAgentAddress(agent)) throw new TvmmpError('config-invalid', `not an agent address: ${agent}`);
  return `<vm agent="${escapeXml(agent)}"${run === null ? '' : ` run="${run}"`}/>`;
}

/** Our element as it stands in a domain's XML, namespace and all. */
export function qualifiedMetadataElement(agent: string): string {
  return metadataElement(agent).replace(
    '<vm ',
    `<${METADATA_PREFIX}:vm xmlns:${METADATA_PREFIX}="${METADATA_NAMESPACE}" `,
  );
}

/** Our metadata in a domain's XML; null when the VM has none and so is not protected. */
export function metadataOfDomain(domain: Element | string): VmMetadata | null {
  const root = typeof domain === 'string' ? parseXml(domain, 'domain') : domain;
  const elements = childrenNs(descend(root, 'metadata'), METADATA_NAMESPACE, 'vm');
  const agent = attribute(elements[0] ?? null, 'agent');
  const run = attribute(elements[0] ?? null, 'run');
  if (elements.length === 0) return null;
  return {
    untrustedAgent: agent !== null && isAgentAddress(agent) ? agent : null,
    untrustedRun: run === null ? null : readRun(run),
  };
}

/** What is no number is a run that nobody had. */
function readRun(text: string): number {
  return /^(?:0|[1-9][0-9]{0,14})$/.test(text) ? Number(text) : -1;
}
