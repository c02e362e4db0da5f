/** Migrations that are cut off in the middle: agents killed, libvirtd killed, cables pulled. One holder, whatever happens. */
import assert from 'node:assert/strict';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { assertRefused, withLab } from '../support/product-lab.ts';
import type { Guest, ProductLab } from '../support/product-lab.ts';

describe('recovery of a migration that is cut off', function () {
  this.timeout(180_000);
  let lab: ProductLab;
  let guest: Guest;
  /** Where the guest is; each test leaves it on one of them. */
  let here = 'alpha';

  withLab({}, async (fresh) => {
    lab = fresh;
    // libvirt gives a silent peer up after half a minute; here after a few seconds.
    for (const host of lab.hostNames) {
      appendFileSync(
        join(lab.hostDirectory(host), 'fs/etc-libvirt/qemu.conf'),
        'keepalive_interval = 1\nkeepalive_count = 5\n',
      );
      await lab.must('restart-libvirtd', host);
    }
    guest = await lab.guest('alpha', 'guest');
  });

  const other = (host: string): string => (host === 'alpha' ? 'beta' : 'alpha');

  /** Both journals name one holder and one head, it ticks there, nothing is at the other host, and both copies of the proof verify. */
  async function oneHolder(holder: string, ...lastKinds: readonly string[]): Promise<void> {
    await lab.settled('alpha', 'beta');
    const empty = other(holder);
    here = holder;
    await lab.ticksOn(holder, guest);
    await lab.endsWith(holder, guest, ...lastKinds);
    const held = await lab.vm(holder, guest);
    assert.deepEqual([held?.state, held?.holder], ['running', holder]);
    await lab.nothingLeft(empty, guest);
    assert.ok([null, 'shut off'].includes(await lab.domainState(empty, guest)));
    assert.equal((await lab.vm(empty, guest))?.state ?? 'gone', 'gone');
    assert.equal((await lab.on(holder, 'virsh', '-q', 'secret-list')).trim(), '');
    const proof = await lab.proof(holder, guest);
    assert.equal(proof.holder, holder);
    assert.ok(proof.holdings.slice(0, -1).every(({ destroyed }) => destroyed !== null));
    await lab.unbroken(guest);
  }

  async function moved(holder: string): Promise<void> {
    await oneHolder(holder, 'departing', 'arrived');
    const [a, b] = [await lab.vm('alpha', guest), await lab.vm('beta', guest)];
    assert.deepEqual([a?.holder, a?.epoch, a?.head], [b?.holder, b?.epoch, b?.head]);
    await lab.proof(other(holder), guest);
  }

  const stayed = (holder: string): Promise<void> => oneHolder(holder, 'departing', 'aborted');

  for (const role of ['source', 'destination'] as const) {
    it(`ends at the destination when the ${role}'s agent is killed while memory travels, and started again`, async () => {
      const [from, to] = [here, other(here)];
      const migration = await lab.slowly(from, to, guest);
      const victim = role === 'source' ? from : to;
      await lab.killAgent(victim);
      await lab.must('start-agent', victim);
      const result = await migration.finish();
      assert.equal(result.status, 0, result.stderr);
      await moved(to);
    });

    it(`ends at the destination when the ${role}'s agent is dead until libvirt has finished`, async () => {
      const [from, to] = [here, other(here)];
      const migration = await lab.slowly(from, to, guest);
      const victim = role === 'source' ? from : to;
      await lab.killAgent(victim);
      const result = await migration.finish();
      assert.equal(result.status, 0, result.stderr);
      await lab.must('start-agent', victim);
      await moved(to);
    });
  }

  it('ends at the destination when both agents are dead until libvirt has finished', async () => {
    const [from, to] = [here, other(here)];
    const migration = await lab.slowly(from, to, guest);
    for (const host of lab.hostNames) await lab.killAgent(host);
    const result = await migration.finish();
    assert.equal(result.status, 0, result.stderr);
    for (const host of lab.hostNames) await lab.must('start-agent', host);
    await moved(to);
  });

  it('refuses when the destination’s agent is killed before it has answered the hook', async () => {
    const [from, to] = [here, other(here)];
    const sourceAgent = lab.agentPid(from);
    process.kill(sourceAgent, 'SIGSTOP');
    try {
      const result = lab.migrate(from, to, guest);
      await lab.eventually(`a hook waits on ${to}`, async () => {
        const hooks = await lab.exec(to, 'pgrep', '-f', 'hooks/qemu.d/50-tvmmp');
        return hooks.status === 0 ? true : null;
      });
      await lab.killAgent(to);
      assertRefused(await result, /agent/);
    } finally {
      process.kill(sourceAgent, 'SIGCONT');
    }
    await lab.must('start-agent', to);
    await lab.settled(from, to);
    assert.equal(await lab.domainState(from, guest), 'running');
    await lab.nothingLeft(to, guest);
    await lab.ticksOn(from, guest);
    await lab.moved(from, to, guest);
    await moved(to);
  });

  it('stays when its user cancels, and a second migration works', async () => {
    const [from, to] = [here, other(here)];
    const migration = await lab.slowly(from, to, guest);
    await lab.on(from, 'virsh', '-q', 'domjobabort', guest.name);
    assert.notEqual((await migration.ended).status, 0);
    await stayed(from);
    await lab.moved(from, to, guest);
    await moved(to);
  });

  it('stays when its user cancels while both agents are dead', async () => {
    const [from, to] = [here, other(here)];
    const migration = await lab.slowly(from, to, guest);
    for (const host of lab.hostNames) await lab.killAgent(host);
    await lab.on(from, 'virsh', '-q', 'domjobabort', guest.name);
    assert.notEqual((await migration.ended).status, 0);
    for (const host of lab.hostNames) await lab.must('start-agent', host);
    await stayed(from);
  });

  it('stays when tvmmp migrate is cancelled, and says so', async () => {
    const [from, to] = [here, other(here)];
    const ended = lab.exec(from, 'tvmmp', 'migrate', guest.name, to, '--bandwidth', '1');
    await lab.copying(from, guest);
    await lab.on(from, 'virsh', '-q', 'domjobabort', guest.name);
    const result = await ended;
    assert.notEqual(result.status, 0);
    assert.match(result.stderr, /^tvmmp: /m);
    await stayed(from);
  });

  it('stays when the network is cut off while memory travels', async () => {
    const [from, to] = [here, other(here)];
    const migration = await lab.slowly(from, to, guest);
    await lab.must('link', to, 'down');
    try {
      assert.notEqual((await migration.ended).status, 0);
      await lab.ticksOn(from, guest);
    } finally {
      await lab.must('link', to, 'up');
    }
    await stayed(from);
    await lab.moved(from, to, guest);
    await moved(to);
  });

  for (const role of ['source', 'destination'] as const) {
    it(`stays when the ${role}'s libvirtd is killed while memory travels`, async () => {
      const [from, to] = [here, other(here)];
      const migration = await lab.slowly(from, to, guest);
      const victim = role === 'source' ? from : to;
      await killLibvirtd(victim);
      assert.notEqual((await migration.ended).status, 0);
      await lab.must('start-libvirtd', victim);
      await stayed(from);
    });
  }

  it('stays when the destination loses its power while memory travels', async () => {
    const [from, to] = [here, other(here)];
    const migration = await lab.slowly(from, to, guest);
    await lab.must('reboot', to, '--hard');
    assert.notEqual((await migration.ended).status, 0);
    await lab.must('start-agent', to);
    await stayed(from);
    await lab.moved(from, to, guest);
    await moved(to);
  });

  it('keeps the vTPM of a VM that came, and stopped, before the destination’s agent saw it', async () => {
    const [from, to] = [here, other(here)];
    const { secret } = await lab.ticksOn(from, guest);
    const migration = await lab.slowly(from, to, guest);
    await lab.killAgent(to);
    const result = await migration.finish();
    assert.equal(result.status, 0, result.stderr);
    await lab.on(to, 'virsh', '-q', 'destroy', guest.name);
    await lab.must('start-agent', to);
    await lab.settled(from, to);
    await lab.endsWith(to, guest, 'departing', 'arrived', 'stopped');
    assert.deepEqual([(await lab.vm(to, guest))?.state, (await lab.vm(to, guest))?.holder], ['stopped', to]);
    await lab.nothingLeft(from, guest);
    assert.equal((await lab.boot(to, guest)).secret, secret);
  });

  async function killLibvirtd(host: string): Promise<void> {
    const inner = (await lab.on(host, 'cat', '/run/libvirtd.pid')).trim();
    assert.match(inner, /^\d+$/);
    await lab.on(
      host,
      'bash',
      '-c',
      `kill -KILL ${inner}; while [[ -d /proc/${inner} ]]; do sleep 0.05; done`,
    );
  }
});
