import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Guest, ProductLab } from './product-lab.ts';

/** Copies journal and vTPM of a VM that is off as a backup of the host's disk would; the answer puts them back. The TPM stays as it is. */
export async function diskCopy(lab: ProductLab, host: string, of: Guest): Promise<() => Promise<void>> {
  const directories = [join(lab.hostDirectory(host), 'fs/var-lib-tvmmp'), lab.vtpmDirectory(host, of)];
  const copy = (index: number): string => join(lab.directory, `backup-${of.name}-${index}`);
  await lab.state(host, of, 'stopped');
  await lab.must('stop-agent', host);
  directories.forEach((directory, index) => {
    cpSync(directory, copy(index), { recursive: true });
  });
  await lab.must('start-agent', host);
  return async () => {
    await lab.must('stop-agent', host);
    directories.forEach((directory, index) => {
      // The directory itself is mounted on the host.
      if (index > 0) rmSync(directory, { recursive: true, force: true });
      else
        for (const suffix of ['', '-wal', '-shm'])
          rmSync(join(directory, `journal.sqlite${suffix}`), { force: true });
      cpSync(copy(index), directory, { recursive: true });
    });
    await lab.must('start-agent', host);
  };
}
