/** The hook called by hand, by others, and while the agent is away; policies that go back. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stageAt } from '../support/attacker-stage.ts';
import { attackLab, victim } from '../support/attacker-lab.ts';

/** A thousand million letters, were anybody to write them out. */
const explosion = `<!DOCTYPE domain [<!ENTITY a "${'x'.repeat(1000)}"><!ENTITY b "${'&a;'.repeat(1000)}"><!ENTITY c "${'&b;'.repeat(1000)}">]>`;

describe('attacks: the hook', function () {
  this.timeout(180_000);
  const world = attackLab();

  afterEach(async () => {
    await world().becomes('alpha', 'running');
    await world().ticksOn('alpha');
  });

  const victimXml = (): Promise<string> =>
    world().lab.on('alpha', 'virsh', '-q', 'dumpxml', '--migratable', '--security-info', victim);

  it('does not reach the agent for another user: its sockets are root’s', async () => {
    const { status, stderr } = await world().hook('beta', 'migrate', await victimXml(), { user: 'nobody' });
    assert.equal(status, 1);
    assert.match(stderr, /tvmmp: refused: /);
    const modes = await world().lab.on(
      'beta',
      'stat',
      '-c',
      '%U %a',
      '/run/tvmmp/hook.sock',
      '/run/tvmmp/agent.sock',
    );
    assert.equal(modes, 'root 600\nroot 600\n');
  });

  it('refuses another user even where somebody opened the sockets to all', async () => {
    const sockets = ['/run/tvmmp/hook.sock', '/run/tvmmp/agent.sock'];
    await world().lab.on('beta', 'chmod', '0777', '/run/tvmmp', ...sockets);
    try {
      const from = world().log('beta').length;
      const { status } = await world().hook('beta', 'started', await victimXml(), { user: 'nobody' });
      assert.equal(status, 0, 'a notice is never refused');
      await world().logged('beta', /hook socket used by uid 65534/, from);
      assert.doesNotMatch(world().log('beta').slice(from), /hook: (allowed|refused)/);
      const as = ['setpriv', '--reuid', 'nobody', '--regid', 'nogroup', '--clear-groups'];
      const asked = await world().exec('beta', ...as, 'tvmmp', 'status', '--socket', '/run/tvmmp/agent.sock');
      assert.notEqual(asked.status, 0);
      await world().logged('beta', /control socket used by uid 65534/, from);
    } finally {
      await world().lab.on('beta', 'chmod', '0600', ...sockets);
      await world().lab.on('beta', 'chmod', '0700', '/run/tvmmp');
    }
  });

  it('refuses root who calls it for a VM that nobody migrates', async () => {
    const { status, stderr } = await world().hook('beta', 'migrate', await victimXml());
    assert.equal(status, 1);
    assert.match(stderr, /tvmmp: refused: .*no outgoing migration/);
    const [row] = await world().refusals('alpha');
    assert.match(row!.reason, /libvirt has no outgoing migration of victim under way/);
  });

  it('refuses to start a VM by hand that is held elsewhere', async () => {
    const { status, stderr } = await world().hook('beta', 'prepare', await victimXml());
    assert.equal(status, 1);
    assert.match(
      stderr,
      /tvmmp: refused: victim (is held by alpha|is protected, and this host has never held it)/,
    );
  });

  it('refuses while the agent hangs', async () => {
    const pid = (await world().lab.on('beta', 'cat', '/run/tvmmpd-lab.pid')).trim();
    await world().lab.on('beta', 'kill', '-STOP', pid);
    try {
      const client = ['--deadline-ms', '500'];
      const { status, stderr } = await world().hook('beta', 'migrate', await victimXml(), { client });
      assert.equal(status, 1);
      assert.match(stderr, /tvmmp: refused: /);
    } finally {
      await world().lab.on('beta', 'kill', '-CONT', pid);
    }
  });

  it('refuses while the agent is down', async () => {
    await world().lab.must('stop-agent', 'beta');
    try {
      const { status, stderr } = await world().virshMigrate('beta');
      assert.equal(status, 1);
      assert.match(stderr, /tvmmp: refused: /);
    } finally {
      await world().lab.must('start-agent', 'beta');
    }
  });

  it('lets a VM in once for a permit, and no other VM for it', async () => {
    const { uuid, xml, abort } = await stageAt(world().mallory, 'beta', await victimXml());

    const changed = await world().hook('beta', 'migrate', xml.replace('victim.img', 'other.img'));
    assert.equal(changed.status, 1);
    assert.match(changed.stderr, /tvmmp: refused: facts: /);

    const other = randomUUID();
    const elsewhere = await world().hook('beta', 'migrate', xml.replaceAll(uuid, other));
    assert.equal(elsewhere.status, 1, 'a permit for another VM was taken');

    const first = await world().hook('beta', 'migrate', xml);
    assert.equal(first.status, 0, first.stderr);
    const second = await world().hook('beta', 'migrate', xml);
    assert.equal(second.status, 1);
    assert.match(second.stderr, /tvmmp: refused: the permit of moved was used or has expired/);
    await abort();
    const after = await world().hook('beta', 'prepare', xml);
    assert.equal(after.status, 1);
    assert.match(after.stderr, /tvmmp: refused: /);
  });

  for (const [what, sealedFor] of [
    ['another VM', { vm: randomUUID() }],
    ['another epoch', { epoch: 1 }],
    ['another session', { session: new Uint8Array(32).fill(7) }],
  ] as const) {
    it(`refuses a vTPM key that was sealed for ${what}`, async () => {
      const { xml, abort } = await stageAt(world().mallory, 'beta', await victimXml(), sealedFor);
      const { status, stderr } = await world().hook('beta', 'migrate', xml);
      assert.equal(status, 1);
      assert.match(stderr, /tvmmp: refused: /);
      assert.doesNotMatch(await world().lab.on('beta', 'virsh', '-q', 'secret-list'), /tvmmp/);
      await abort();
    });
  }

  for (const [what, change] of [
    [
      'a document type whose entities explode',
      (xml: string) => `${explosion}${xml.replace('victim', '&c;')}`,
    ],
    ['two roots', (xml: string) => xml + xml],
    ['more than a MiB', (xml: string) => xml.replace('</domain>', `${'<a/>'.repeat(270_000)}</domain>`)],
    ['a name that writes to terminals', (xml: string) => xml.replace('>victim<', '>&#27;]0;owned&#7;<')],
  ] as const) {
    it(`refuses a definition with ${what}, and serves on`, async () => {
      const { status, stderr } = await world().hook('beta', 'migrate', change(await victimXml()));
      assert.equal(status, 1);
      assert.match(stderr, /^tvmmp: refused: [^\p{Cc}]*\n$/u);
      await world().lab.on('beta', 'tvmmp', 'status');
    });
  }

  it('refuses a policy that is older than the one in force', async () => {
    const old = readFileSync(join(world().etc('beta'), 'policy.json'), 'utf8');
    const file = join(world().relayDirectory, 'old-policy.json');
    writeFileSync(file, old);
    await world().lab.must('approve', 'beta', 'beta-again');
    const { status, stderr } = await world().exec('beta', 'tvmmp', 'policy', 'install', file);
    assert.notEqual(status, 0);
    assert.match(stderr, /version/);
    const now = JSON.parse(await world().lab.on('beta', 'tvmmp', 'status', '--json')) as {
      policy: { version: number };
    };
    assert.ok(now.policy.version >= 2);
    await world().reloadMallory();
  });
});
