/** Disks of a lab's host: file systems of its own on images, so that they can be full, and lose what was not synced when the power goes. */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** Directories of scripts/lab.d/hosts.sh by the image that they lie on. Logs stay outside: the guest's ticks are in them, and no part of the product. */
const images = {
  agent: { mebibytes: 48, directories: ['var-lib-tvmmp'] },
  host: { mebibytes: 192, directories: ['etc-libvirt', 'var-lib-libvirt', 'etc-tvmmp', 'swtpm-localca'] },
} as const;
type Image = keyof typeof images;
const names = Object.keys(images) as readonly Image[];

/**
 * What a loss of power leaves on a disk: FS_IOC_SHUTDOWN without flushing (linux/fs.h; ext4 has it for such tests) drops all that was
 * written and not yet put on the device.
 */
const dropUnsynced = `
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))
`;
const chunk = Buffer.alloc(256 * 1024);

/** The disks of one host. They are seen by it from its next boot on. */
export class HostDisks {
  readonly #host: string;
  /** How often each image has lost its power. */
  readonly #losses = new Map<Image, number>();

  private constructor(host: string) {
    this.#host = host;
  }

  /** Puts what the host (its directory in the lab) has so far on images. */
  static make(host: string): HostDisks {
    const disks = new HostDisks(host);
    mkdirSync(join(host, 'disks'));
    for (const image of names) {
      const file = disks.#file(image);
      run('truncate', '-s', `${images[image].mebibytes}M`, file);
      run('mkfs.ext4', '-q', '-F', file);
      mkdirSync(disks.#mountPoint(image));
      run('mount', '-o', 'loop', file, disks.#mountPoint(image));
      for (const directory of images[image].directories)
        run('cp', '-a', join(host, 'fs', directory), disks.#mountPoint(image));
      // The host that the tests begin with has been there for long.
      run('sync', '--file-system', disks.#mountPoint(image));
      disks.#bind(image);
    }
    return disks;
  }

  /** To be called when the host has no process any more: brings back what was synced, and no more. */
  losePower(): void {
    for (const image of names) run('python3', '-c', dropUnsynced, this.#mountPoint(image));
    this.release();
    for (const image of names) {
      // What the device has is the disk from now on. The old one may live on for a while: every namespace that was made meanwhile sees it.
      const before = this.#file(image);
      this.#losses.set(image, this.#lossesOf(image) + 1);
      run('cp', '--sparse=always', before, this.#file(image));
      rmSync(before);
      run('mount', '-o', 'loop', this.#file(image), this.#mountPoint(image));
      this.#bind(image);
    }
  }

  /** Takes all that is left of the disk that the agent's state lies on; gives it back when called. */
  fill(): () => void {
    const path = join(this.#mountPoint('agent'), 'filler');
    const file = openSync(path, 'w');
    try {
      for (let size = chunk.length; size >= 1;) {
        try {
          writeSync(file, chunk, 0, size);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
          size = Math.floor(size / 2);
        }
      }
    } finally {
      closeSync(file);
    }
    return () => {
      rmSync(path, { force: true });
    };
  }

  /** Unmounts all; what the host still has open stays until it is down. */
  release(): void {
    for (const image of [...names].reverse()) {
      for (const directory of images[image].directories)
        run('umount', '-l', join(this.#host, 'fs', directory));
      run('umount', '-l', this.#mountPoint(image));
    }
  }

  #bind(image: Image): void {
    for (const directory of images[image].directories)
      run('mount', '--bind', join(this.#mountPoint(image), directory), join(this.#host, 'fs', directory));
  }

  #file(image: Image): string {
    return join(this.#host, 'disks', `${image}-${this.#lossesOf(image)}.img`);
  }

  #lossesOf(image: Image): number {
    return this.#losses.get(image) ?? 0;
  }

  #mountPoint(image: Image): string {
    return join(this.#host, 'disks', image);
  }
}

function run(command: string, ...args: readonly string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
}
