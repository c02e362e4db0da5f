import type { DomainFacts, InterfaceFacts } from './facts.ts';

/** What canonical facts are made of: a part of what our CBOR encodes (lib/encoding). */
export type FactValue = number | string | null | readonly FactValue[];

const FORMAT_VERSION = 1;

/**
 * The facts that both hosts see alike, in a fixed order, to be encoded and hashed by lib/proof (SPEC 7.1). Equal for the inactive, the live and the
 * migratable description of one VM, for what the hooks read on the destination, and for the live description there afterwards: tested with XML of
 * libvirt 9.0. The one exception is an inactive description that leaves the firmware to libvirt (`firmwareIsAutomatic`): before 9.2 libvirt names the
 * loader only in the running VM. Lists whose order means nothing are sorted; those whose order has a meaning are not.
 *
 * | In | Out, and why |
 * |---|---|
 * | uuid, name, type, os type, architecture, machine | id: given anew at each start |
 * | loader, its type, secure boot | `firmware=`: libvirt replaces it by the loader when the VM starts; loader's readonly: follows from its type |
 * | kernel, initrd, command line, device tree, ACPI tables | boot order: what can be booted from is listed among the disks |
 * | - | nvram path and template: each host's own file, filled in at start |
 * | emulator, vCPUs at most, memory at most | current memory and vCPUs: the balloon and hotplug change them |
 * | - | CPU mode, model, features: libvirt expands `host-model` at start and adds features; its own ABI check compares them |
 * | disks: device, type, source, format, target, bus, readonly, shareable | driver options, addresses, aliases, backing chain, index: assigned or probed at start |
 * | TPMs: model, backend, version, encryption secret, PCR banks, persistence, source | alias |
 * | interfaces: kind, MAC, model | source, target, portid: each host's own bridge; network, bridge and direct count as one kind |
 * | host devices, file systems, shared memory | aliases, guest addresses, bus address of a USB device named by vendor and product |
 * | SMBIOS and firmware configuration, `qemu:` pass-through, launch security | QEMU capabilities |
 * | whether our metadata is there | the agent's address in it: rewritten by each holder; everybody else's metadata |
 * | - | seclabels, cgroup partition, pty and socket paths, graphics ports, vsock CID, controllers, input, video, audio, memory balloon |
 */
export function canonicalFacts(facts: DomainFacts): FactValue {
  const { boot, passThrough } = facts;
  return [
    FORMAT_VERSION,
    facts.uuid,
    facts.name,
    [facts.type, facts.osType, facts.architecture, facts.machine],
    [boot.loader, boot.loaderType, bit(boot.secureBoot)],
    [boot.kernel, boot.initrd, boot.commandLine, boot.deviceTree, boot.acpiTables],
    facts.emulator,
    [facts.vcpus, facts.memoryKiB],
    sorted(
      facts.disks.map((disk) => [
        disk.device,
        disk.type,
        disk.source,
        disk.format,
        disk.target,
        disk.bus,
        bit(disk.readonly),
        bit(disk.shareable),
      ]),
    ),
    facts.tpms.map((tpm) => [
      tpm.model,
      tpm.backend,
      tpm.version,
      tpm.encryptionSecret,
      tpm.pcrBanks,
      bit(tpm.persistentState),
      tpm.source,
    ]),
    sorted(facts.interfaces.map((one) => [interfaceKind(one), one.mac, one.model])),
    sorted(facts.hostDevices.map((device) => [device.mode, device.type, device.source])),
    sorted(facts.filesystems.map((fs) => [fs.type, fs.driver, fs.source, fs.target, bit(fs.readonly)])),
    sorted(facts.sharedMemory),
    facts.systemInformation,
    [passThrough.arguments, passThrough.environment, passThrough.other],
    facts.launchSecurity,
    bit(facts.metadata !== null),
  ];
}

function bit(flag: boolean): number {
  return flag ? 1 : 0;
}

/** In the order of their JSON text, by code units: any fixed order would do. */
function sorted(values: readonly FactValue[]): FactValue {
  const keyed = values.map((value) => ({ key: JSON.stringify(value), value }));
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  return keyed.map(({ value }) => value);
}

/** A libvirt network shows as what it is made of once the VM runs: the ordinary kinds count as one, the others (`hostdev`, ...) as themselves. */
function interfaceKind({ type }: InterfaceFacts): string {
  return type === 'bridge' || type === 'direct' ? 'network' : type;
}
