/** A VM as one host's libvirt has it, and the XML that the shipped code reads. */
import type { DomainState, DomainStateReason } from '../../lib/libvirt/words.ts';

/** The VM itself, wherever it is: what an oracle knows. */
export interface VmTruth {
  readonly uuid: string;
  readonly name: string;
  /** Number of the newest state of its vTPM: what must never be lost. */
  latest: number;
  /** Hosts that run it by libvirt's own mistake, beside the one that should: libvirt lost the answer of its last phase. */
  readonly doubled: Set<string>;
}

/** A job of libvirt's on a domain. */
export interface Job {
  readonly startedMs: number;
  cancelled: boolean;
}

/** QEMU and swtpm of a VM on one host. */
export interface Running {
  state: DomainState;
  reason: DomainStateReason;
  readonly id: number;
  /** Which state of the vTPM it has. */
  version: number;
  /** It waits for the end of a migration to here. */
  incoming: boolean;
  /** Our element in the XML that it runs with. */
  metadata: string | null;
}

/** A domain of one host's libvirt. */
export class Domain {
  readonly vm: VmTruth;
  base: string;
  /** Our element in the definition that stays. */
  metadata: string | null = null;
  persistent = true;
  running: Running | null = null;
  offReason: DomainStateReason = 'unknown';
  savedVersion: number | null = null;
  /** Our element in what was saved. */
  savedMetadata: string | null = null;
  job: Job | null = null;
  /** libvirt works on it, or waits for one of its hooks: others who ask about it wait. */
  lock: Promise<void> = Promise.resolve();

  constructor(vm: VmTruth, base: string) {
    this.vm = vm;
    this.base = base;
  }

  isActive(): boolean {
    return this.running !== null;
  }

  /** Whether its CPUs run, or its user paused it: as opposed to a copy that a migration holds. */
  get alive(): boolean {
    const { running } = this;
    if (running === null || running.incoming) return false;
    return running.state === 'running' || running.reason === 'user';
  }

  /** Whether its CPUs run. */
  get runs(): boolean {
    return this.running?.state === 'running' && !this.running.incoming;
  }

  /** `off`: our element in the definition that it is about to run with. */
  xml(off = this.metadata): string {
    const metadata = this.running === null ? off : this.running.metadata;
    const element = metadata?.replace('<vm ', '<tvmmp:vm xmlns:tvmmp="https://tvmmp.org/xmlns/vm/1.0" ');
    return this.base.replace(
      '<metadata/>',
      element === undefined ? '<metadata/>' : `<metadata>${element}</metadata>`,
    );
  }
}

/** A definition without metadata, and our element in it as `setMetadata` was given it. */
export function split(xml: string): { readonly base: string; readonly metadata: string | null } {
  const found = /<metadata>(.*)<\/metadata>/s.exec(xml);
  const element = found?.[1]?.replace(/<tvmmp:vm xmlns:tvmmp="[^"]*" /, '<vm ').trim() ?? null;
  return { base: found === null ? xml : xml.replace(found[0], '<metadata/>'), metadata: element };
}

/** What an operator would define. */
export function domainXml({ uuid, name }: Pick<VmTruth, 'uuid' | 'name'>): string {
  return `<domain type='kvm'><name>${name}</name><uuid>${uuid}</uuid><metadata/><memory unit='KiB'>65536</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='hd'/></os><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/disks/${name}.img'/><target dev='vda' bus='virtio'/></disk>
<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices></domain>`;
}
