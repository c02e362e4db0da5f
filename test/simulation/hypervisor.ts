/** libvirt's API as one agent calls it: an agent that has ended hears nothing any more. */
import { TvmmpError } from '../../lib/errors.ts';
import { migrationUnderWay } from './job.ts';
import type { DomainSummary, Hypervisor, HypervisorEvent } from '../../lib/libvirt/port.ts';
import type { Domain } from './domain.ts';
import { split } from './domain.ts';
import type { Life } from './kernel.ts';
import { failed } from './machine.ts';
import type { Machine } from './machine.ts';

/** What the agent asks libvirt for; `move` is libvirt's own migration. */
export function hypervisorOf(
  machine: Machine,
  life: Life,
  move: (uuid: string, destination: string) => Promise<void>,
): Hypervisor {
  /** One call: it takes a moment, waits for the domain's lock where it is about one, and needs libvirtd. */
  const call = <T>(work: () => T, uuid?: string): Promise<T> =>
    life.guard(
      (async () => {
        if (!machine.isUp()) throw new TvmmpError('libvirt-connection-lost', 'libvirtd is not there');
        await machine.pause(0.1, 2);
        if (uuid !== undefined) await machine.domains.get(uuid)?.lock;
        if (!machine.isUp()) throw new TvmmpError('libvirt-connection-lost', 'libvirtd is not there');
        return work();
      })(),
    );
  const absent = (name: string) => () =>
    Promise.reject(new TvmmpError('internal', `${name} has no place in the simulation`));
  return {
    uri: 'simulation:///',
    close: () => Promise.resolve(),
    isAlive: () => Promise.resolve(machine.isUp()),
    hostname: () => call(() => machine.name),
    hostUuid: absent('hostUuid'),
    versions: () => call(() => ({ libvirt: '9.0.0', client: '9.0.0', hypervisor: '7.2.0' })),
    domains: () => call(() => [...machine.domains.values()].map(summary)),
    domain: (uuid) => call(() => summary(machine.need(uuid)), uuid),
    dumpXml: (uuid) => call(() => machine.need(uuid).xml(), uuid),
    defineXml: (xml) =>
      call(() => {
        const uuid = /<uuid>([^<]+)</.exec(xml)?.[1] ?? '';
        const domain = machine.need(uuid);
        const parts = split(xml);
        domain.base = parts.base;
        domain.metadata = parts.metadata;
        return summary(domain);
      }),
    undefine: absent('undefine'),
    start: absent('start'),
    destroy: (uuid) => life.guard(machine.stop(uuid, 'destroyed')),
    setMetadata: (uuid, element, _prefix, _namespace, target) =>
      call(() => {
        const domain = machine.need(uuid);
        if (target.live === true && domain.running === null) throw failed('domain is not running');
        if (target.config === true) domain.metadata = element;
        if (target.live === true && domain.running !== null) domain.running.metadata = element;
      }, uuid),
    metadata: (uuid, _namespace, options = {}) =>
      call(() => {
        const { metadata, running } = machine.need(uuid);
        return options.inactive === true || running === null ? metadata : running.metadata;
      }, uuid),
    jobInfo: (uuid) => call(() => (machine.need(uuid).job === null ? null : migrationUnderWay), uuid),
    completedJob: () => call(() => null),
    abortJob: absent('abortJob'),
    secrets: () =>
      call(() =>
        [...machine.secrets.values()].map(({ uuid, usageType, usageName }) => ({
          uuid,
          usageType,
          usageName,
        })),
      ),
    secretExists: (uuid) => call(() => machine.secrets.has(uuid)),
    defineSecret: (secret) =>
      call(() => {
        machine.secrets.set(secret.uuid, {
          ...secret,
          value: machine.secrets.get(secret.uuid)?.value ?? null,
        });
      }),
    undefineSecret: (uuid) => call(() => machine.secrets.delete(uuid)),
    migrate: (uuid, { destinationUri }) => life.guard(move(uuid, destinationUri)),
    events: (listener) => call(() => subscribe(machine, life, listener)),
  };
}

function subscribe(machine: Machine, life: Life, listener: (event: HypervisorEvent) => void) {
  machine.listeners.add(listener);
  life.onEnd(() => machine.listeners.delete(listener));
  return {
    close: () => {
      machine.listeners.delete(listener);
      return Promise.resolve();
    },
  };
}

function summary(domain: Domain): DomainSummary {
  const { running, vm, persistent } = domain;
  return {
    uuid: vm.uuid,
    name: vm.name,
    state: running?.state ?? 'shutoff',
    reason: running?.reason ?? (domain.savedVersion === null ? domain.offReason : 'saved'),
    persistent,
    id: running?.id ?? null,
  };
}
