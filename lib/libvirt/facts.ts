/**
 * What of a domain's XML matters for trust (SPEC 7.1): what runs, what it was booted from, what of the host it can touch, and which vTPM it has.
 * `facts` reads them for people and policies; canonical-facts.ts picks what both hosts see alike, which is what gets hashed into the proof.
 */
import { Remembered } from '../encoding/remembered.ts';
import { uuidForm } from '../encoding/uuid.ts';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import { deviceFacts } from './device-facts.ts';
import type { DeviceFacts, TpmFacts } from './device-facts.ts';
import { type VmMetadata, metadataOfDomain } from './metadata.ts';
import { type Element, attribute, children, childrenNs, descend, parseXml, textOf } from './xml.ts';

export type {
  DiskFacts,
  FilesystemFacts,
  HostDeviceFacts,
  InterfaceFacts,
  TpmFacts,
} from './device-facts.ts';

/** Firmware and files that the guest boots from; paths are the host's. */
export interface BootFacts {
  /** `efi` or `bios` when libvirt chooses the firmware; null when the loader is named or is QEMU's default. */
  readonly firmware: string | null;
  readonly loader: string | null;
  readonly loaderType: string | null;
  readonly loaderReadonly: boolean;
  readonly secureBoot: boolean;
  readonly nvram: string | null;
  readonly nvramTemplate: string | null;
  readonly kernel: string | null;
  readonly initrd: string | null;
  readonly commandLine: string | null;
  readonly deviceTree: string | null;
  readonly acpiTables: readonly string[];
}

/** Arguments that reach QEMU past libvirt's model (`qemu:` elements): whoever writes them can do whatever QEMU can. */
export interface PassThroughFacts {
  readonly arguments: readonly string[];
  /** `NAME=VALUE`. */
  readonly environment: readonly string[];
  /** Capabilities added or removed, device properties overridden, deprecations: each as its own XML, in order. */
  readonly other: readonly string[];
}

/** The security-relevant facts of a domain. */
export interface DomainFacts extends DeviceFacts {
  /** Lower case. */
  readonly uuid: string;
  readonly name: string;
  /** `kvm` or `qemu`; others are refused by policy, not here. */
  readonly type: string;
  readonly osType: string;
  readonly architecture: string | null;
  readonly machine: string | null;
  readonly boot: BootFacts;
  readonly memoryKiB: number;
  readonly vcpus: number;
  readonly cpuMode: string | null;
  readonly cpuModel: string | null;
  readonly systemInformation: readonly string[];
  readonly passThrough: PassThroughFacts;
  /** SEV and the like: type and policy. */
  readonly launchSecurity: string | null;
  /** Ours; null for a VM that is not protected. */
  readonly metadata: VmMetadata | null;
}

const QEMU_NAMESPACE = 'http://libvirt.org/schemas/domain/qemu/1.0';
const MEMORY_UNITS: Readonly<Record<string, number>> = {
  b: 1 / 1024,
  bytes: 1 / 1024,
  KiB: 1,
  MiB: 1024,
  GiB: 1024 ** 2,
  TiB: 1024 ** 3,
};

/**
 * Reads the facts out of XML that libvirt formatted (dumpxml, or a hook's standard input). Throws `limit-exceeded` or `domain-xml-invalid`: bounds,
 * well-formedness, and what every domain must have (UUID, name, type, memory, CPUs) present exactly once.
 */
export function facts(xml: string): DomainFacts {
  return known.get(xml, () => read(xml));
}

/** One hook asks several times about one description, and a migration has several hooks. */
const known = new Remembered<DomainFacts>(limits.domainsRememberedMax);

function read(xml: string): DomainFacts {
  const root = parseXml(xml, 'domain');
  const os = only(root, 'os');
  const osType = only(os, 'type');
  const cpu = descend(root, 'cpu');
  return {
    uuid: uuidOf(root),
    name: requiredText(root, 'name'),
    type: required(attribute(root, 'type'), 'type'),
    osType: required(textOf(osType), 'os type'),
    architecture: attribute(osType, 'arch'),
    machine: attribute(osType, 'machine'),
    boot: bootFacts(root, os),
    memoryKiB: memoryKiB(only(root, 'memory')),
    vcpus: wholeNumber(requiredText(root, 'vcpu'), 'vcpu'),
    cpuMode: attribute(cpu, 'mode'),
    cpuModel: textOf(descend(cpu, 'model')),
    systemInformation: systemInformation(root),
    passThrough: passThrough(root),
    launchSecurity: launchSecurity(root),
    metadata: metadataOfDomain(root),
    ...deviceFacts(atMostOne(root, 'devices')),
  };
}

/** The secret that opens the vTPM of a protected VM: that of its only TPM, which must be an encrypted emulator; null otherwise. */
export function vtpmSecret({ tpms }: Pick<DomainFacts, 'tpms'>): string | null {
  const tpm: TpmFacts | undefined = tpms.length === 1 ? tpms[0] : undefined;
  return tpm?.backend === 'emulator' ? tpm.encryptionSecret : null;
}

/**
 * Whether libvirt has yet to choose the firmware (`<os firmware='efi'>` in an inactive description). The facts will name the loader once the VM starts,
 * and so differ from these: whoever records facts before the first start wants the loader named in the XML.
 */
export function firmwareIsAutomatic({ boot }: Pick<DomainFacts, 'boot'>): boolean {
  return boot.firmware !== null && boot.loader === null;
}

function invalid(message: string): TvmmpError {
  return new TvmmpError('domain-xml-invalid', `the domain XML ${message}`);
}

function atMostOne(parent: Element, name: string): Element | null {
  const found = children(parent, name);
  if (found.length > 1) throw invalid(`has more than one <${name}>`);
  return found[0] ?? null;
}

function only(parent: Element, name: string): Element {
  const found = atMostOne(parent, name);
  if (found === null) throw invalid(`has no <${name}>`);
  return found;
}

function required(value: string | null, what: string): string {
  if (value === null || value === '') throw invalid(`has no ${what}`);
  return value;
}

function requiredText(parent: Element, name: string): string {
  return required(textOf(only(parent, name)), name);
}

function uuidOf(root: Element): string {
  const uuid = requiredText(root, 'uuid').toLowerCase();
  if (!uuidForm.test(uuid)) throw invalid('has a UUID that is none');
  return uuid;
}

function wholeNumber(text: string, what: string): number {
  if (!/^[0-9]{1,15}$/.test(text)) throw invalid(`has a ${what} that is no number`);
  return Number(text);
}

function memoryKiB(memory: Element): number {
  const factor = MEMORY_UNITS[attribute(memory, 'unit') ?? 'KiB'];
  if (factor === undefined) throw invalid('has memory in an unknown unit');
  const kib = wholeNumber(textOf(memory) ?? '', 'memory') * factor;
  if (!Number.isSafeInteger(kib)) throw invalid('has memory that is no whole number of KiB');
  return kib;
}

function bootFacts(root: Element, os: Element): BootFacts {
  const loader = atMostOne(os, 'loader');
  const nvram = atMostOne(os, 'nvram');
  const path = (name: string): string | null => emptyToNull(textOf(atMostOne(os, name)));
  const acpi = descend(os, 'acpi');
  return {
    firmware: attribute(os, 'firmware'),
    loader: emptyToNull(textOf(loader)),
    loaderType: attribute(loader, 'type'),
    loaderReadonly: attribute(loader, 'readonly') === 'yes',
    secureBoot: attribute(loader, 'secure') === 'yes',
    nvram: emptyToNull(textOf(nvram)) ?? attribute(descend(nvram, 'source'), 'file'),
    nvramTemplate: attribute(nvram, 'template'),
    kernel: path('kernel'),
    initrd: path('initrd'),
    commandLine: path('cmdline'),
    deviceTree: path('dtb'),
    acpiTables: children(acpi, 'table').map((table) => textOf(table) ?? ''),
  };
}

function emptyToNull(text: string | null): string | null {
  return text === '' ? null : text;
}

/** SMBIOS strings and firmware configuration that the guest reads as if its maker had put them there. */
function systemInformation(root: Element): string[] {
  return children(root, 'sysinfo').map((element) => describe(element));
}

function passThrough(root: Element): PassThroughFacts {
  const lines = childrenNs(root, QEMU_NAMESPACE, 'commandline');
  const value = (element: Element, name: string): string => attribute(element, name) ?? '';
  const others = ['capabilities', 'override', 'deprecation'].flatMap((name) =>
    childrenNs(root, QEMU_NAMESPACE, name),
  );
  return {
    arguments: lines
      .flatMap((line) => childrenNs(line, QEMU_NAMESPACE, 'arg'))
      .map((arg) => value(arg, 'value')),
    environment: lines
      .flatMap((line) => childrenNs(line, QEMU_NAMESPACE, 'env'))
      .map((env) => `${value(env, 'name')}=${value(env, 'value')}`),
    other: others.map((element) => describe(element)),
  };
}

function launchSecurity(root: Element): string | null {
  const element = atMostOne(root, 'launchSecurity');
  if (element === null) return null;
  return [attribute(element, 'type') ?? '', textOf(descend(element, 'policy')) ?? ''].join(' ').trim();
}

/** An element in one spelling: local names, attributes in order of their names, trimmed text; comments and white space left out. */
function describe(element: Element): string {
  const attributes = Array.from(element.attributes)
    .filter(({ name }) => name !== 'xmlns' && !name.startsWith('xmlns:'))
    .map(({ name, value }) => `${name}=${JSON.stringify(value)}`)
    .sort();
  const inner: string[] = [];
  for (let node = element.firstChild; node !== null; node = node.nextSibling) {
    if (node.nodeType === 1) inner.push(describe(node as Element));
  }
  if (inner.length === 0) {
    const text = textOf(element) ?? '';
    if (text !== '') inner.push(JSON.stringify(text));
  }
  return `${[element.localName, ...attributes].join(' ')}(${inner.join(',')})`;
}
