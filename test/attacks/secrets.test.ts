/** The vTPM's passphrase: known to the test through a wrapper around swtpm, and looked for where it must not be. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { attackLab, victim } from '../support/attacker-lab.ts';

/** Gives swtpm what it was given, and a copy to the test. */
const wrapper = (real: string, copy: string): string => `#!/bin/bash
arguments=()
for argument; do
  if [[ $argument =~ ^pwdfd=([0-9]+)(.*)$ ]]; then
    exec {fd}<&"\${BASH_REMATCH[1]}"
    IFS= read -r -d '' key <&$fd
    printf %s "$key" >>${copy}
    printf '\\n' >>${copy}
    exec {again}< <(printf %s "$key")
    argument="pwdfd=$again\${BASH_REMATCH[2]}"
  fi
  arguments+=("$argument")
done
exec ${real} "\${arguments[@]}"
`;

describe('attacks: where the vTPM key can be seen', function () {
  this.timeout(180_000);
  const world = attackLab();

  it('is in no heap, journal, log, file or argument of the agents that handed it on', async () => {
    const { lab, relayDirectory } = world();
    const copy = join(relayDirectory, 'passphrases');
    const real = join(relayDirectory, 'swtpm.real');
    const script = join(relayDirectory, 'swtpm.wrapper');
    writeFileSync(copy, '');
    writeFileSync(script, wrapper(real, copy));
    chmodSync(script, 0o755);
    await lab.on('beta', 'cp', '/usr/bin/swtpm', real);
    await lab.on('beta', 'mount', '--bind', script, '/usr/bin/swtpm');
    const snapshots = join(relayDirectory, 'snapshots');
    mkdirSync(snapshots);
    const before = process.env['NODE_OPTIONS'];
    process.env['NODE_OPTIONS'] = `--heapsnapshot-signal=SIGUSR2 --diagnostic-dir=${snapshots}`;
    try {
      for (const host of ['alpha', 'beta']) {
        await lab.must('stop-agent', host);
        await lab.must('start-agent', host);
      }
    } finally {
      if (before === undefined) delete process.env['NODE_OPTIONS'];
      else process.env['NODE_OPTIONS'] = before;
    }
    const moved = await world().virshMigrate('beta');
    assert.equal(moved.status, 0, moved.stderr);
    const passphrases = new Set(
      readFileSync(copy, 'utf8')
        .split('\n')
        .filter((line) => line !== ''),
    );
    assert.equal(passphrases.size, 1, 'the wrapper did not see swtpm’s passphrase');
    const [passphrase = ''] = passphrases;
    assert.match(passphrase, /^[0-9a-f]{64}$/);
    await world().becomes('alpha', 'gone');

    for (const host of ['alpha', 'beta']) {
      const snapshot = await heapSnapshot(host, snapshots);
      assert.ok(snapshot.includes('journal.sqlite'), 'not the heap of an agent');
      assertAbsent(snapshot, passphrase, `heap of ${host}`);
      const found = await lab.on(
        host,
        'bash',
        '-c',
        `grep -rlaE -f /dev/stdin /var/lib/tvmmp /var/log/tvmmp /etc/tvmmp /run/tvmmp /var/log/libvirt /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null <<<'${passphrase}' || true`,
      );
      // The search has the passphrase in its own arguments.
      assert.deepEqual(
        found.split('\n').filter((line) => line !== '' && !line.startsWith('/proc/')),
        [],
      );
      assertAbsent(Buffer.from(await commandLines(host)), passphrase, `arguments on ${host}`);
    }
    await lab.on('beta', 'umount', '-l', '/usr/bin/swtpm');
    await world().ticksOn('beta');
    await world().comeHome();
    await world().ticksOn('alpha');
  });

  it('is in no secret of libvirt once the VM runs, and cannot be read by anybody while it is', async () => {
    const list = await world().lab.on('alpha', 'virsh', '-q', 'secret-list');
    assert.doesNotMatch(list, /tvmmp/);
    const xml = await world().lab.on('alpha', 'virsh', '-q', 'dumpxml', '--security-info', victim);
    assert.match(xml, /<encryption secret=/);
  });

  async function heapSnapshot(host: string, directory: string): Promise<Buffer> {
    const seen = new Set(readdirSync(directory));
    const from = world().log(host).length;
    await world().lab.on(host, 'bash', '-c', 'kill -USR2 "$(</run/tvmmpd-lab.pid)"');
    for (;;) {
      const [file] = readdirSync(directory).filter(
        (name) => name.endsWith('.heapsnapshot') && !seen.has(name),
      );
      if (file !== undefined) {
        // The agent answers again only when the snapshot is whole.
        await world().lab.on(host, 'tvmmp', 'status');
        const bytes = readFileSync(join(directory, file));
        if (bytes.subarray(-2).toString().trim().endsWith('}')) return bytes;
      }
      assert.ok(world().log(host).length >= from);
      await sleep(100);
    }
  }

  function commandLines(host: string): Promise<string> {
    return world().lab.on(host, 'bash', '-c', 'cat /proc/[0-9]*/cmdline | tr "\\0" "\\n"');
  }
});

/** As text, in base64 and as raw bytes. */
function assertAbsent(where: Buffer, passphrase: string, what: string): void {
  const raw = Buffer.from(passphrase, 'hex');
  for (const form of [Buffer.from(passphrase), Buffer.from(raw.toString('base64')), raw]) {
    assert.equal(where.includes(form), false, `the passphrase is in the ${what}`);
  }
}
