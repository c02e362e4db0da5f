import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { canonicalFacts } from '../../lib/libvirt/canonical-facts.ts';
import { facts } from '../../lib/libvirt/facts.ts';
import {
  METADATA_NAMESPACE,
  METADATA_PREFIX,
  metadataElement,
  metadataOfDomain,
  qualifiedMetadataElement,
} from '../../lib/libvirt/metadata.ts';
import { readOutgoingMigration } from '../../lib/libvirt/migration-job.ts';
import type { OutgoingMigration } from '../../lib/libvirt/migration-job.ts';
import type { Hypervisor, HypervisorEvent } from '../../lib/libvirt/port.ts';
import { PrivateLibvirtd, libvirtdMissing, smallDomainXml } from '../support/libvirtd.ts';
import { skipWithout } from '../support/skip.ts';

/** Makes a `Hypervisor` of one kind for a libvirt URI. */
export type HypervisorFactory = (uri: string) => Promise<Hypervisor>;

const START_MS = 90_000;
const MOVE_MS = 60_000;
const POLL_MS = 20;
/** Waiting for something that must come: long enough that only a fault ends it. */
const POLLS_MAX = 1_500;

/** Polls until `read` gives something other than null. */
async function eventually<Found>(
  what: string,
  read: () => Found | null | Promise<Found | null>,
): Promise<Found> {
  for (let poll = 0; poll < POLLS_MAX; poll += 1) {
    const found = await read();
    if (found !== null) return found;
    await delay(POLL_MS);
  }
  throw new Error(`waited in vain for ${what}`);
}

/** What every implementation of the port must do, shown on a real libvirtd of our own. Skipped, saying so, where none can run. */
export function describeHypervisorConformance(name: string, connect: HypervisorFactory): void {
  describe(`${name} as a hypervisor`, function () {
    this.timeout(MOVE_MS);
    let daemon: PrivateLibvirtd;
    let hypervisor: Hypervisor;

    before(async function () {
      this.timeout(START_MS);
      skipWithout(this, libvirtdMissing());
      daemon = await PrivateLibvirtd.start();
      hypervisor = await connect(daemon.uri);
    });

    after(async () => {
      // Both may be missing when `before` skipped or failed.
      await (hypervisor as Hypervisor | undefined)?.close();
      await (daemon as PrivateLibvirtd | undefined)?.stop();
    });

    hostTests(() => ({ daemon, hypervisor, connect }));
    domainTests(() => ({ daemon, hypervisor, connect }));
    secretTests(() => ({ daemon, hypervisor, connect }));
    connectionTests(() => ({ daemon, hypervisor, connect }));
  });
}

interface World {
  readonly daemon: PrivateLibvirtd;
  readonly hypervisor: Hypervisor;
  readonly connect: HypervisorFactory;
}

function hostTests(world: () => World): void {
  it('knows the host’s name, UUID and versions', async () => {
    const { daemon, hypervisor } = world();
    assert.equal(await hypervisor.hostname(), daemon.hostname);
    assert.equal(await hypervisor.hostUuid(), daemon.hostUuid);
    const { libvirt, client, hypervisor: emulator } = await hypervisor.versions();
    for (const version of [libvirt, client, emulator]) assert.match(version, /^[0-9]+\.[0-9]+\.[0-9]+$/);
    assert.equal(await hypervisor.isAlive(), true);
  });
}

function domainTests(world: () => World): void {
  const uuid = randomUUID();
  const name = `vm-${uuid.slice(0, 8)}`;

  it('defines, lists and finds a domain by UUID and by name', async () => {
    const { hypervisor } = world();
    const metadata = qualifiedMetadataElement('h:1');
    const defined = await hypervisor.defineXml(smallDomainXml({ name, uuid, vtpm: {}, metadata }));
    const expected = { uuid, name, state: 'shutoff', reason: 'unknown', persistent: true, id: null };
    assert.deepEqual(defined, expected);
    assert.deepEqual(await hypervisor.domain(uuid), expected);
    assert.deepEqual(await hypervisor.domain(uuid.toUpperCase()), expected);
    assert.deepEqual(await hypervisor.domain(name), expected);
    assert.deepEqual(await hypervisor.domains(), [expected]);
    assert.equal(facts(await hypervisor.dumpXml(uuid)).uuid, uuid);
  });

  it('refuses XML that libvirt does not take, with libvirt’s reason and codes', async () => {
    const { hypervisor } = world();
    await assert.rejects(hypervisor.defineXml('<domain/>'), (error: Record<string, unknown>) => {
      assert.equal(error['code'], 'libvirt-call-failed');
      const details = error['details'] as Record<string, unknown>;
      assert.equal(details['call'], 'virDomainDefineXMLFlags');
      assert.equal(typeof details['libvirtCode'], 'number');
      assert.equal(typeof details['libvirtDomain'], 'number');
      assert.notEqual(error['message'], '');
      return true;
    });
  });

  it('says domain-not-found, by UUID and by name, whatever is asked of it', async () => {
    const { hypervisor } = world();
    const stranger = randomUUID();
    const calls = [
      () => hypervisor.domain(stranger),
      () => hypervisor.domain('no-such-vm'),
      () => hypervisor.dumpXml(stranger),
      () => hypervisor.start(stranger),
      () => hypervisor.destroy(stranger),
      () => hypervisor.undefine(stranger),
      () => hypervisor.jobInfo(stranger),
      () => hypervisor.completedJob(stranger),
      () => hypervisor.abortJob(stranger),
      () => hypervisor.metadata(stranger, METADATA_NAMESPACE),
      () => hypervisor.setMetadata(stranger, null, METADATA_PREFIX, METADATA_NAMESPACE, { config: true }),
    ];
    for (const call of calls) await assert.rejects(call(), { code: 'domain-not-found' });
  });

  it('sets, reads and removes our metadata at rest', async () => {
    const { hypervisor } = world();
    const set = (element: string | null): Promise<void> =>
      hypervisor.setMetadata(uuid, element, METADATA_PREFIX, METADATA_NAMESPACE, { config: true });
    const read = async (): Promise<unknown> => metadataOfDomain(await hypervisor.dumpXml(uuid));
    await set(metadataElement('host-b:16515'));
    assert.deepEqual(await read(), { untrustedAgent: 'host-b:16515', untrustedRun: null });
    assert.match((await hypervisor.metadata(uuid, METADATA_NAMESPACE)) ?? '', /agent=.host-b:16515./);
    await set(null);
    assert.equal(await read(), null);
    assert.equal(await hypervisor.metadata(uuid, METADATA_NAMESPACE), null);
    await set(metadataElement('h:1'));
  });

  it('has no jobs for a domain that does not run', async () => {
    const { hypervisor } = world();
    assert.equal(await hypervisor.jobInfo(uuid), null);
    await assert.rejects(hypervisor.abortJob(uuid), { code: 'libvirt-call-failed' });
  });

  it('starts it with its vTPM, and its facts stay the same in every form', async () => {
    const { hypervisor } = world();
    const canonical = async (options: Parameters<Hypervisor['dumpXml']>[1]): Promise<unknown> =>
      canonicalFacts(facts(await hypervisor.dumpXml(uuid, options)));
    const atRest = await canonical({});
    await hypervisor.start(uuid);
    const running = await hypervisor.domain(uuid);
    assert.equal(running.state, 'running');
    assert.equal(running.reason, 'booted');
    assert.notEqual(running.id, null);
    for (const options of [{}, { inactive: true }, { migratable: true }, { secure: true }]) {
      assert.deepEqual(await canonical(options), atRest, JSON.stringify(options));
    }
    await assert.rejects(hypervisor.start(uuid), { code: 'libvirt-call-failed' });
    assert.equal(await hypervisor.jobInfo(uuid), null);
    assert.equal(await hypervisor.completedJob(uuid), null);
  });

  it('changes the metadata of the running VM and of its configuration apart', async () => {
    const { hypervisor } = world();
    const element = metadataElement('live:1');
    await hypervisor.setMetadata(uuid, element, METADATA_PREFIX, METADATA_NAMESPACE, { live: true });
    assert.match((await hypervisor.metadata(uuid, METADATA_NAMESPACE)) ?? '', /live:1/);
    const inactive = await hypervisor.metadata(uuid, METADATA_NAMESPACE, { inactive: true });
    assert.match(inactive ?? '', /h:1/);
  });

  it('stops and undefines it, and keeps or removes the vTPM’s state as told', async () => {
    const { daemon, hypervisor } = world();
    const state = join(daemon.directory, 'lib/swtpm', uuid);
    const stateFiles = (): string[] => (existsSync(state) ? readdirSync(state) : []);
    await hypervisor.destroy(uuid);
    const stopped = await hypervisor.domain(uuid);
    assert.deepEqual([stopped.state, stopped.reason], ['shutoff', 'destroyed']);
    assert.notDeepEqual(stateFiles(), []);
    const xml = await hypervisor.dumpXml(uuid, { inactive: true });
    await hypervisor.undefine(uuid, { keepTpm: true });
    assert.notDeepEqual(stateFiles(), []);
    await hypervisor.defineXml(xml);
    await hypervisor.undefine(uuid);
    assert.deepEqual(stateFiles(), []);
    assert.deepEqual(await hypervisor.domains(), []);
  });
}

function secretTests(world: () => World): void {
  const uuid = randomUUID();

  it('defines, lists and removes a secret, and says when there was none', async () => {
    const { hypervisor } = world();
    const usageName = `tvmmp <&'"> ${uuid}`;
    const secret = { uuid, usageType: 'vtpm', usageName, ephemeral: true, private: true } as const;
    assert.equal(await hypervisor.secretExists(uuid), false);
    await hypervisor.defineSecret(secret);
    await hypervisor.defineSecret({ ...secret, description: 'again' });
    assert.equal(await hypervisor.secretExists(uuid), true);
    assert.deepEqual(await hypervisor.secrets(), [{ uuid, usageType: 'vtpm', usageName }]);
    assert.equal(await hypervisor.undefineSecret(uuid), true);
    assert.equal(await hypervisor.undefineSecret(uuid), false);
    assert.deepEqual(await hypervisor.secrets(), []);
  });

  it('answers about secrets while a start waits for its hook', async () => {
    const { daemon, connect } = world();
    // The hook holds VM start up until the test lets it go: what the agent does to answer a hook must not queue behind the start.
    const gated = await PrivateLibvirtd.start({ capabilitiesOf: daemon, qemuHook: gateHook() });
    const gate = join(gated.directory, 'run/tvmmp-gate');
    mkdirSync(gate);
    const hypervisor = await connect(gated.uri);
    try {
      const vm = randomUUID();
      await hypervisor.defineXml(smallDomainXml({ name: 'gated', uuid: vm }));
      const starting = hypervisor.start(vm);
      await eventually('the hook', () => (existsSync(join(gate, 'waiting')) ? true : null));
      const secret = { uuid, usageType: 'vtpm', usageName: 'gated', ephemeral: true, private: true } as const;
      await hypervisor.defineSecret(secret);
      assert.equal(await hypervisor.secretExists(uuid), true);
      assert.equal(await hypervisor.undefineSecret(uuid), true);
      mkdirSync(join(gate, 'open'));
      await starting;
      assert.equal((await hypervisor.domain(vm)).state, 'running');
    } finally {
      await hypervisor.close();
      await gated.stop();
    }
  });
}

/** A hook that waits at `prepare` until a directory appears, and gives up after a minute. */
function gateHook(): string {
  return `#!/bin/sh
[ "$2" = prepare ] || exit 0
mkdir -p /run/tvmmp-gate/waiting
i=0
while [ ! -d /run/tvmmp-gate/open ] && [ $i -lt 1200 ]; do i=$((i + 1)); sleep 0.05; done
exit 0
`;
}

function connectionTests(world: () => World): void {
  it('cannot connect where nobody listens', async () => {
    const { daemon, connect } = world();
    const uri = `qemu+unix:///system?socket=${daemon.directory}/nobody`;
    await assert.rejects(connect(uri), { code: 'libvirt-connection-lost' });
  });

  it('says so when the daemon has gone, and reaches it again when it is back', async () => {
    const { daemon, hypervisor } = world();
    await daemon.stopDaemon('SIGKILL');
    assert.equal(await hypervisor.isAlive(), false);
    await assert.rejects(hypervisor.domains(), { code: 'libvirt-connection-lost' });
    await assert.rejects(hypervisor.start(randomUUID()), { code: 'libvirt-connection-lost' });
    await daemon.restart();
    // Each lane has a connection of its own to repair.
    assert.deepEqual(await hypervisor.domains(), []);
    await assert.rejects(hypervisor.start(randomUUID()), { code: 'domain-not-found' });
    assert.equal(await hypervisor.isAlive(), true);
  });

  it('does not notice a restart between two calls', async () => {
    const { daemon, hypervisor } = world();
    await daemon.restart();
    await assert.rejects(hypervisor.destroy(randomUUID()), { code: 'domain-not-found' });
  });

  it('refuses every call after close, and closes twice', async () => {
    const { daemon, connect } = world();
    const other = await connect(daemon.uri);
    await other.close();
    await other.close();
    await assert.rejects(other.domains(), { code: 'libvirt-connection-lost' });
    await assert.rejects(
      other.events(() => undefined),
      { code: 'libvirt-connection-lost' },
    );
    assert.equal(await other.isAlive(), false);
  });
}

/** Events and migration, shown on two real libvirtd of our own; the same VM goes from the one to the other. */
export function describeMigrationConformance(name: string, connect: HypervisorFactory): void {
  describe(`${name} in a migration`, function () {
    this.timeout(MOVE_MS);
    const uuid = randomUUID();
    const vm = `moving-${uuid.slice(0, 8)}`;
    const seen: { readonly at: 'source' | 'target'; readonly event: HypervisorEvent }[] = [];
    let daemons: readonly [source: PrivateLibvirtd, target: PrivateLibvirtd];
    let hosts: readonly [source: Hypervisor, target: Hypervisor];

    before(async function () {
      this.timeout(START_MS);
      skipWithout(this, libvirtdMissing());
      const source = await PrivateLibvirtd.start();
      const first = await connect(source.uri);
      const target = await PrivateLibvirtd.start({ capabilitiesOf: source });
      daemons = [source, target];
      hosts = [first, await connect(target.uri)];
      for (const [index, at] of (['source', 'target'] as const).entries()) {
        await hosts[index]!.events((event) => seen.push({ at, event }));
      }
    });

    after(async () => {
      for (const host of (hosts as typeof hosts | undefined) ?? []) await host.close();
      for (const daemon of (daemons as typeof daemons | undefined) ?? []) await daemon.stop();
    });

    /** Waits for a lifecycle event of our VM and forgets everything up to it. */
    const lifecycle = (at: 'source' | 'target', event: string, detail: string): Promise<true> =>
      eventually(`${event}/${detail} at the ${at}`, () =>
        seen.some(
          (one) =>
            one.at === at &&
            one.event.kind === 'lifecycle' &&
            one.event.uuid === uuid &&
            one.event.name === vm &&
            one.event.event === event &&
            one.event.detail === detail,
        )
          ? true
          : null,
      );

    it('reports definition and start', async () => {
      await hosts[0].defineXml(smallDomainXml({ name: vm, uuid, vtpm: {} }));
      await lifecycle('source', 'defined', 'added');
      await hosts[0].start(uuid);
      await lifecycle('source', 'started', 'booted');
      await lifecycle('source', 'resumed', 'unpaused');
    });

    it('refuses a migration to nowhere with libvirt’s reason, and the VM runs on', async () => {
      const nowhere = { destinationUri: `${daemons[1].uri}-nowhere`, flags: ['live', 'peer2peer'] } as const;
      await assert.rejects(hosts[0].migrate(uuid, nowhere), (error: Record<string, unknown>) => {
        assert.equal(error['code'], 'libvirt-call-failed');
        const details = error['details'] as Record<string, unknown>;
        assert.equal(typeof details['libvirtCode'], 'number');
        assert.equal(details['call'], 'virDomainMigrateToURI3');
        return true;
      });
      assert.equal((await hosts[0].domain(uuid)).state, 'running');
      await assert.rejects(hosts[0].migrate(randomUUID(), nowhere), { code: 'domain-not-found' });
    });

    it('moves the VM, shows the flags meanwhile, and reports it at both ends', async () => {
      const [source, target] = hosts;
      const before = canonicalFacts(facts(await source.dumpXml(uuid)));
      const moving = source.migrate(uuid, {
        destinationUri: daemons[1].uri,
        flags: ['live', 'peer2peer', 'persistDest', 'undefineSource'],
        params: { migrateUri: `unix://${daemons[1].directory}/run/move.sock`, bandwidthMiBs: 1000 },
      });
      const outcome = moving.then(() => 'moved');
      let record: OutgoingMigration | null = null;
      const directory = join(daemons[0].directory, 'run/libvirt/qemu');
      while (record === null && (await Promise.race([outcome, delay(5)])) !== 'moved') {
        record = await readOutgoingMigration(vm, directory);
      }
      assert.equal(await outcome, 'moved');
      assert.ok(record !== null, 'libvirt recorded the migration');
      assert.deepEqual([...record.flags], ['live', 'peer2peer', 'persistDest', 'undefineSource']);
      assert.equal(record.uuid, uuid);
      await lifecycle('target', 'started', 'migrated');
      await lifecycle('target', 'resumed', 'migrated');
      await lifecycle('source', 'suspended', 'migrated');
      await lifecycle('source', 'stopped', 'migrated');
      const arrived = await target.domain(uuid);
      assert.deepEqual([arrived.state, arrived.reason, arrived.persistent], ['running', 'migrated', true]);
      assert.deepEqual(canonicalFacts(facts(await target.dumpXml(uuid))), before);
      await assert.rejects(source.domain(uuid), { code: 'domain-not-found' });
    });

    it('has the migration’s statistics afterwards, until they are read without keep', async () => {
      const target = hosts[1];
      const kept = await target.completedJob(uuid, { keep: true });
      assert.ok(kept !== null);
      assert.deepEqual([kept.type, kept.operation], ['completed', 'migration-in']);
      assert.ok((kept.timeElapsedMs ?? 0) > 0);
      assert.ok((kept.memoryTotalBytes ?? 0) > 0);
      assert.deepEqual(await target.completedJob(uuid), kept);
      assert.equal(await target.completedJob(uuid), null);
      const job = seen.find(({ at, event }) => at === 'source' && event.kind === 'job-completed');
      assert.ok(job?.event.kind === 'job-completed');
      assert.equal(job.event.job.operation, 'migration-out');
    });

    it('subscribes again after a restart of the daemon, and says that events may be missing', async () => {
      seen.length = 0;
      await daemons[1].restart();
      await eventually('disconnected', () => seen.find(({ event }) => event.kind === 'disconnected') ?? null);
      await eventually('reconnected', () => seen.find(({ event }) => event.kind === 'reconnected') ?? null);
      // A daemon that has just started takes its guests up again, and a destroy in the midst of that kills the guest and yet reports that it
      // was not running. A change that waits for the guest's job comes after.
      await hosts[1].setMetadata(uuid, null, METADATA_PREFIX, METADATA_NAMESPACE, { live: true });
      await hosts[1].destroy(uuid);
      await lifecycle('target', 'stopped', 'destroyed');
      await hosts[1].undefine(uuid);
      await lifecycle('target', 'undefined', 'removed');
    });
  });
}
