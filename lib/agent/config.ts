import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';

/** Who keeps the record of who holds each VM (SPEC 8.6): this host's journal, or an etcd cluster that the fleet shares. */
export type LedgerConfig =
  | { readonly kind: 'sqlite' }
  | {
      readonly kind: 'etcd';
      /** https://HOST:PORT of each member. */
      readonly endpoints: readonly string[];
      /** PEM files: who signed the members' certificates, and this host's own, whose common name is its user in etcd. */
      readonly ca: string;
      readonly certificate: string;
      readonly key: string;
      /** Begins and ends with a slash. */
      readonly prefix: string;
    };

/** What an operator sets in `/etc/tvmmp/tvmmpd.json`; every member has a default. */
export interface AgentConfig {
  /** Host name as enrolled; the machine's host name by default. */
  readonly name: string;
  readonly tpm: { readonly tcti: string };
  readonly libvirt: {
    readonly uri: string;
    /** How this host's libvirt reaches another's in `tvmmp migrate`; `{host}` is the destination. */
    readonly migrationUri: string;
  };
  readonly listen: { readonly address: string; readonly port: number };
  /** HOST:PORT under which peers reach this agent; written into the metadata of this host's VMs. */
  readonly advertise: string;
  readonly directories: {
    /** Certificates, agent key, signed policy. */
    readonly identity: string;
    /** Journal. */
    readonly state: string;
    /** Sockets. */
    readonly run: string;
    /** Where QEMU's migration TLS credentials are. */
    readonly migrationTls: string;
    /** Where libvirt keeps vTPM state. */
    readonly vtpmState: string;
    /** libvirt's own status files of running domains. */
    readonly libvirtStatus: string;
    /** libvirt's definitions of domains. */
    readonly libvirtDefinitions: string;
  };
  /** Files in which the kernel shows what was measured, binary; for peers whose policy has rules about it. */
  readonly logs: { readonly eventLog: string; readonly ima: string };
  readonly ledger: LedgerConfig;
  /** HOST:PORT of agents that this one attests itself to over time (SPEC 16.4). */
  readonly peers: readonly string[];
  readonly log: { readonly level: 'debug' | 'info' | 'warn' | 'error' };
}

export const defaultConfigFile = '/etc/tvmmp/tvmmpd.json';
export const agentPort = 16515;
/** Where the kernel shows what was measured, and under which names (SPEC 14). */
export const securityFs = '/sys/kernel/security';
export const eventLogPath = 'tpm0/binary_bios_measurements';
export const imaListPath = 'ima/binary_runtime_measurements';

const known: Readonly<Record<string, readonly string[]>> = {
  '': ['name', 'tpm', 'libvirt', 'listen', 'advertise', 'directories', 'logs', 'ledger', 'peers', 'log'],
  tpm: ['tcti'],
  libvirt: ['uri', 'migrationUri'],
  listen: ['address', 'port'],
  directories: [
    'identity',
    'state',
    'run',
    'migrationTls',
    'vtpmState',
    'libvirtStatus',
    'libvirtDefinitions',
  ],
  logs: ['eventLog', 'ima'],
  ledger: ['kind', 'endpoints', 'ca', 'certificate', 'key', 'prefix'],
  log: ['level'],
};

/** Reads the configuration; a missing default file means all defaults. Errors: `config-invalid`. */
export function readConfig(file = defaultConfigFile): AgentConfig {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (file === defaultConfigFile && (error as NodeJS.ErrnoException).code === 'ENOENT')
      return parseConfig('{}');
    throw new TvmmpError('config-invalid', `cannot read ${file}: ${String(error)}`, { cause: error });
  }
  return parseConfig(text, file);
}

/** Checks a configuration text; unknown members are refused, so that a misspelt one is not silently ignored. */
export function parseConfig(text: string, file = 'configuration'): AgentConfig {
  const root = object(parseJson(text, file), '', file);
  const part = (name: string): Readonly<Record<string, unknown>> => object(root[name] ?? {}, name, file);
  const name = string(root['name'], 'name', hostname());
  const listen = part('listen');
  const address = string(listen['address'], 'listen.address', '0.0.0.0');
  const port = portNumber(listen['port'], 'listen.port', agentPort);
  const directories = part('directories');
  const directory = (key: string, fallback: string): string =>
    string(directories[key], `directories.${key}`, fallback);
  return {
    name,
    tpm: { tcti: string(part('tpm')['tcti'], 'tpm.tcti', 'device:/dev/tpmrm0') },
    libvirt: {
      uri: string(part('libvirt')['uri'], 'libvirt.uri', 'qemu:///system'),
      migrationUri: string(
        part('libvirt')['migrationUri'],
        'libvirt.migrationUri',
        'qemu+tls://{host}/system',
      ),
    },
    listen: { address, port },
    advertise: string(root['advertise'], 'advertise', `${address === '0.0.0.0' ? name : address}:${port}`),
    directories: {
      identity: directory('identity', '/etc/tvmmp'),
      state: directory('state', '/var/lib/tvmmp'),
      run: directory('run', '/run/tvmmp'),
      migrationTls: directory('migrationTls', '/etc/tvmmp/migration-tls'),
      vtpmState: directory('vtpmState', '/var/lib/libvirt/swtpm'),
      libvirtStatus: directory('libvirtStatus', '/run/libvirt/qemu'),
      libvirtDefinitions: directory('libvirtDefinitions', '/etc/libvirt/qemu'),
    },
    logs: {
      eventLog: string(part('logs')['eventLog'], 'logs.eventLog', `${securityFs}/${eventLogPath}`),
      ima: string(part('logs')['ima'], 'logs.ima', `${securityFs}/${imaListPath}`),
    },
    ledger: ledgerOf(part('ledger')),
    peers: peersOf(root['peers']),
    log: { level: level(part('log')['level']) },
  };
}

function peersOf(value: unknown): readonly string[] {
  if (value === undefined) return [];
  const fits =
    Array.isArray(value) && value.length <= limits.attestPeersMax && new Set(value).size === value.length;
  if (!fits || !value.every(isAddress))
    throw invalid('peers', `at most ${limits.attestPeersMax} different texts of the form HOST:PORT`);
  return value;
}

/** HOST:PORT or [IPv6]:PORT. */
function isAddress(value: unknown): value is string {
  return (
    typeof value === 'string' && /^(?:[A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:.]{2,45}\]):[0-9]{1,5}$/.test(value)
  );
}

const etcdEndpointsMax = 16;

function ledgerOf(part: Readonly<Record<string, unknown>>): LedgerConfig {
  const { kind = 'sqlite', endpoints } = part;
  if (kind === 'sqlite') {
    if (Object.keys(part).some((key) => key !== 'kind'))
      throw invalid('ledger', 'only {"kind": "sqlite"}, or of kind etcd');
    return { kind };
  }
  if (kind !== 'etcd') throw invalid('ledger.kind', 'sqlite or etcd');
  const file = (key: string): string => {
    if (part[key] === undefined) throw invalid(`ledger.${key}`, 'a file');
    return string(part[key], `ledger.${key}`, '');
  };
  if (
    !Array.isArray(endpoints) ||
    endpoints.length < 1 ||
    endpoints.length > etcdEndpointsMax ||
    !endpoints.every(isEndpoint)
  )
    throw invalid('ledger.endpoints', `1 to ${etcdEndpointsMax} texts of the form https://HOST:PORT`);
  const prefix = string(part['prefix'], 'ledger.prefix', '/tvmmp/');
  if (!/^\/(?:[A-Za-z0-9._-]{1,64}\/){1,8}$/.test(prefix))
    throw invalid('ledger.prefix', 'a path that begins and ends with a slash');
  return { kind, endpoints, ca: file('ca'), certificate: file('certificate'), key: file('key'), prefix };
}

/** Nothing travels to a ledger in clear, and no part of a URL is silently left out. */
function isEndpoint(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    /^https:\/\/(?:[A-Za-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\]):[0-9]{1,5}$/.test(value)
  );
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new TvmmpError('config-invalid', `${file} is not JSON: ${String(error)}`, { cause: error });
  }
}

function object(value: unknown, name: string, file: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(name || file, 'an object');
  const allowed = known[name] ?? [];
  for (const key of Object.keys(value)) {
    if (!allowed.includes(key)) {
      throw new TvmmpError(
        'config-invalid',
        `${file}: unknown member ${name === '' ? key : `${name}.${key}`}`,
      );
    }
  }
  return value as Readonly<Record<string, unknown>>;
}

function string(value: unknown, name: string, fallback: string): string {
  if (value === undefined) return fallback;
  if (typeof value !== 'string' || value === '') throw invalid(name, 'a text');
  return value;
}

function portNumber(value: unknown, name: string, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1 || value > 65_535) {
    throw invalid(name, 'a port number');
  }
  return value;
}

function level(value: unknown): AgentConfig['log']['level'] {
  if (value === undefined) return 'info';
  if (value === 'debug' || value === 'info' || value === 'warn' || value === 'error') return value;
  throw invalid('log.level', 'debug, info, warn or error');
}

function invalid(name: string, wanted: string): TvmmpError {
  return new TvmmpError('config-invalid', `${name} must be ${wanted}`);
}
