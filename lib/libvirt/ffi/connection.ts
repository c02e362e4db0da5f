/** One libvirt connection on the dedicated thread: opened when first needed, and again when it was lost. */
import { TvmmpError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { HypervisorVersions } from '../port.ts';
import { callFailed, lastError, libvirt, nonNegative, nonNull, silenceErrors } from './library.ts';
import { type Address, takeString } from './memory.ts';

const HOST_TEXT_BYTES_MAX = 4 * limits.domainXmlBytesMax;

/** The connection; not shared between threads. */
export class Connection {
  readonly #uri: string;
  #handle: Address = 0;
  #closed = false;

  constructor(uri: string) {
    this.#uri = uri;
    silenceErrors();
    nonNegative('virInitialize', libvirt.virInitialize());
  }

  /**
   * A handle that answered just now. libvirt's client notices a closed socket only when it is used (keepalive needs an event loop,
   * which this thread must not have), and a call that fails half-way must not be repeated: so one round trip, about 0.1 ms, comes first.
   */
  handle(): Address {
    if (this.#closed) throw new TvmmpError('libvirt-connection-lost', 'the connection to libvirt was closed');
    if (this.#handle !== 0 && this.#answers()) return this.#handle;
    this.#drop();
    this.#handle = libvirt.virConnectOpen(this.#uri);
    if (this.#handle === 0) {
      const { message, libvirtCode, libvirtDomain } = lastError();
      throw new TvmmpError('libvirt-connection-lost', `cannot reach libvirt: ${message}`, {
        details: { libvirtCode, libvirtDomain, call: 'virConnectOpen', uri: this.#uri },
      });
    }
    return this.#handle;
  }

  #answers(): boolean {
    return libvirt.virConnectGetLibVersion(this.#handle, Buffer.alloc(8)) === 0;
  }

  #drop(): void {
    if (this.#handle !== 0) libvirt.virConnectClose(this.#handle);
    this.#handle = 0;
  }

  close(): void {
    this.#closed = true;
    this.#drop();
  }

  hostname(): string {
    const text = nonNull('virConnectGetHostname', libvirt.virConnectGetHostname(this.handle()));
    return takeString(text, HOST_TEXT_BYTES_MAX);
  }

  /** XML of what the host can do. */
  capabilities(): string {
    const text = nonNull('virConnectGetCapabilities', libvirt.virConnectGetCapabilities(this.handle()));
    return takeString(text, HOST_TEXT_BYTES_MAX);
  }

  versions(): HypervisorVersions {
    const connection = this.handle();
    const read = (call: string, fill: (buffer: Buffer) => number): string => {
      const buffer = Buffer.alloc(8);
      if (fill(buffer) < 0) throw callFailed(call);
      return versionText(Number(buffer.readBigUInt64LE(0)));
    };
    return {
      libvirt: read('virConnectGetLibVersion', (at) => libvirt.virConnectGetLibVersion(connection, at)),
      client: read('virGetVersion', (at) => libvirt.virGetVersion(at, null, Buffer.alloc(8))),
      hypervisor: read('virConnectGetVersion', (at) => libvirt.virConnectGetVersion(connection, at)),
    };
  }
}

/** libvirt's `major * 1,000,000 + minor * 1,000 + release` as text. */
function versionText(version: number): string {
  return [Math.floor(version / 1_000_000), Math.floor(version / 1_000) % 1_000, version % 1_000].join('.');
}
