import { limits } from '../limits.ts';

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/**
 * Whether a text is a host name of SPEC 1: lower-case DNS labels, at most 253 bytes, and not an IPv4 address. One spelling
 * per name, so that names can be compared as texts.
 */
export function isHostName(text: string): boolean {
  if (text.length === 0 || text.length > limits.hostNameBytesMax) return false;
  const labels = text.split('.');
  return labels.every((label) => LABEL.test(label)) && !/^[0-9]+$/.test(labels.at(-1) ?? '');
}
