/** Facts about the devices of a domain, for facts.ts: what of the host or the network a guest can reach through each of them. */
import { type Element, attribute, children, descend } from './xml.ts';

/** A block device. */
export interface DiskFacts {
  /** `disk`, `cdrom`, `floppy` or `lun`. */
  readonly device: string;
  /** `file`, `block`, `network`, `volume`, ... */
  readonly type: string;
  /** Path, pool and volume, or protocol and name; null for an empty drive. */
  readonly source: string | null;
  readonly format: string | null;
  readonly target: string | null;
  readonly bus: string | null;
  readonly readonly: boolean;
  readonly shareable: boolean;
}

/** A vTPM. */
export interface TpmFacts {
  readonly model: string | null;
  /** `emulator`, `passthrough` or `external`. */
  readonly backend: string | null;
  readonly version: string | null;
  readonly persistentState: boolean;
  /** Active PCR banks that the XML asks for, in alphabetical order; empty when it leaves them to libvirt. */
  readonly pcrBanks: readonly string[];
  /** UUID of the libvirt secret that encrypts its state, lower case; null when it is not encrypted. */
  readonly encryptionSecret: string | null;
  /** Host device or socket of a `passthrough` or `external` one. */
  readonly source: string | null;
}

/** A network interface. */
export interface InterfaceFacts {
  /** As the XML has it: a running VM on a libvirt network may show the network's own kind here. */
  readonly type: string;
  readonly mac: string | null;
  readonly model: string | null;
  readonly source: string | null;
}

/** A device of the host that is handed to the guest. */
export interface HostDeviceFacts {
  readonly mode: string | null;
  readonly type: string | null;
  readonly source: string | null;
}

/** A directory of the host that the guest can mount, or a persistent memory device. */
export interface FilesystemFacts {
  readonly type: string;
  readonly driver: string | null;
  readonly source: string | null;
  readonly target: string | null;
  readonly readonly: boolean;
}

/** The devices that matter, each kind in the order of the XML. */
export interface DeviceFacts {
  readonly emulator: string | null;
  readonly disks: readonly DiskFacts[];
  readonly tpms: readonly TpmFacts[];
  readonly interfaces: readonly InterfaceFacts[];
  readonly hostDevices: readonly HostDeviceFacts[];
  readonly filesystems: readonly FilesystemFacts[];
  /** Names of memory shared with other processes of the host. */
  readonly sharedMemory: readonly string[];
}

/** Reads the devices; a domain without `<devices>` has none. */
export function deviceFacts(devices: Element | null): DeviceFacts {
  return {
    emulator: descend(devices, 'emulator')?.textContent?.trim() ?? null,
    disks: children(devices, 'disk').map(disk),
    tpms: children(devices, 'tpm').map(tpm),
    interfaces: children(devices, 'interface').map(networkInterface),
    hostDevices: children(devices, 'hostdev').map(hostDevice),
    filesystems: children(devices, 'filesystem').map(filesystem),
    sharedMemory: children(devices, 'shmem').map((shmem) => attribute(shmem, 'name') ?? ''),
  };
}

function disk(element: Element): DiskFacts {
  const target = descend(element, 'target');
  return {
    device: attribute(element, 'device') ?? 'disk',
    type: attribute(element, 'type') ?? 'file',
    source: storageSource(descend(element, 'source')),
    format: attribute(descend(element, 'driver'), 'type'),
    target: attribute(target, 'dev'),
    bus: attribute(target, 'bus'),
    readonly: descend(element, 'readonly') !== null,
    shareable: descend(element, 'shareable') !== null,
  };
}

/** A storage source in one line; attributes that libvirt adds to that of a running VM (`index`, `startupPolicy`) are left out. */
function storageSource(source: Element | null): string | null {
  for (const name of ['file', 'dev', 'dir', 'path']) {
    const value = attribute(source, name);
    if (value !== null) return value;
  }
  const pool = attribute(source, 'pool');
  if (pool !== null) return `volume ${pool}/${attribute(source, 'volume') ?? ''}`;
  const protocol = attribute(source, 'protocol');
  if (protocol === null) return null;
  const hosts = children(source, 'host').map(
    (host) =>
      attribute(host, 'socket') ?? `${attribute(host, 'name') ?? ''}:${attribute(host, 'port') ?? ''}`,
  );
  return `${protocol} ${attribute(source, 'name') ?? ''} ${hosts.join(',')}`;
}

function tpm(element: Element): TpmFacts {
  const backend = descend(element, 'backend');
  const banks = descend(backend, 'active_pcr_banks');
  const names: string[] = [];
  for (let node = banks?.firstChild ?? null; node !== null; node = node.nextSibling) {
    if (node.nodeType === 1) names.push(node.nodeName);
  }
  const source = descend(backend, 'source') ?? descend(backend, 'device');
  return {
    model: attribute(element, 'model'),
    backend: attribute(backend, 'type'),
    version: attribute(backend, 'version'),
    persistentState: attribute(backend, 'persistent_state') === 'yes',
    pcrBanks: names.sort(),
    encryptionSecret: attribute(descend(backend, 'encryption'), 'secret')?.toLowerCase() ?? null,
    source: attribute(source, 'path'),
  };
}

function networkInterface(element: Element): InterfaceFacts {
  const source = descend(element, 'source');
  const names = ['network', 'bridge', 'dev', 'path', 'name'];
  const found = names.map((name) => attribute(source, name)).find((value) => value !== null);
  return {
    type: attribute(element, 'type') ?? '',
    mac: attribute(descend(element, 'mac'), 'address')?.toLowerCase() ?? null,
    model: attribute(descend(element, 'model'), 'type'),
    source: found ?? null,
  };
}

function hostDevice(element: Element): HostDeviceFacts {
  const source = descend(element, 'source');
  return {
    mode: attribute(element, 'mode'),
    type: attribute(element, 'type'),
    source: source === null ? null : hostDeviceSource(source),
  };
}

/** USB by vendor and product where they are given (libvirt adds the bus address when the VM runs), everything else by address. */
function hostDeviceSource(source: Element): string {
  const vendor = attribute(descend(source, 'vendor'), 'id');
  const product = attribute(descend(source, 'product'), 'id');
  if (vendor !== null && product !== null) return `usb ${vendor}:${product}`;
  const address = descend(source, 'address');
  const adapter = descend(source, 'adapter');
  const parts = [
    ...['protocol', 'wwpn', 'name'].map((name) => attribute(source, name)),
    attribute(adapter, 'name'),
    ...['uuid', 'domain', 'bus', 'slot', 'function', 'target', 'unit', 'device'].map((name) =>
      attribute(address, name),
    ),
  ];
  return parts.filter((part) => part !== null).join(' ');
}

function filesystem(element: Element): FilesystemFacts {
  const source = descend(element, 'source');
  const names = ['dir', 'file', 'name', 'dev', 'socket', 'usage'];
  const found = names.map((name) => attribute(source, name)).find((value) => value !== null);
  return {
    type: attribute(element, 'type') ?? '',
    driver: attribute(descend(element, 'driver'), 'type'),
    source: found ?? null,
    target: attribute(descend(element, 'target'), 'dir'),
    readonly: descend(element, 'readonly') !== null,
  };
}
