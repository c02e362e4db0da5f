import { installPolicy } from '../authority/host-directory.ts';
import { certificateToPem } from '../certificates/pem.ts';
import { formatVtpmChain } from '../certificates/vtpm-chain.ts';
import { base64 } from '../encoding/base64.ts';
import { hex, unhex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';
import type { VmRecord } from '../ledger/records.ts';
import { adopt, adoptMemory } from '../migration/adoption.ts';
import { Attestations } from '../migration/attestation.ts';
import { depart } from '../migration/departure.ts';
import type { PolicyInForce } from '../migration/host.ts';
import { peerStandings } from '../migration/peer-standing.ts';
import { protect, unprotect } from '../migration/protection.ts';
import { rescue } from '../migration/rescue.ts';
import type { RestingKeys } from '../migration/resting-keys.ts';
import type { Services } from '../migration/services.ts';
import type { Sessions } from '../migration/sessions.ts';
import { bindTenant } from '../migration/tenant.ts';
import { vtpmCertificate } from '../migration/vtpm-certificate.ts';
import { agentPort } from './config.ts';
import type { AgentConfig } from './config.ts';
import type { ControlMethod } from './control-server.ts';
import { migrationMethods, openMigrations } from './migration-methods.ts';
import { installDomainRevocations } from '../migration/domain-revocations.ts';
import type { Revocations } from './revocations.ts';
import { TlsChannel } from './tls-channel.ts';
import { version } from './version.ts';

/** What the methods work on. */
export interface MethodParts {
  readonly config: AgentConfig;
  readonly services: Services;
  readonly sessions: Sessions;
  readonly restingKeys: RestingKeys;
  readonly revocations: Revocations;
  readonly setPolicy: (policy: PolicyInForce) => void;
}

type Params = Readonly<Record<string, unknown>>;

const refusalsShown = 50;

/** Everything that `tvmmp` can ask the agent for. */
export function controlMethods(parts: MethodParts): Readonly<Record<string, ControlMethod>> {
  const { services, sessions, restingKeys } = parts;
  const { host, chains } = services;
  const attestations = new Attestations(services);
  return {
    status: () => Promise.resolve(status(parts)),
    'vm.list': () => Promise.resolve(host.journal.vms().map(summary)),
    'vm.protect': async (params) => {
      const envelope = optional(params, 'tenantPolicy');
      const keyDigest = unhex(optional(params, 'tenantKey') ?? '');
      return summary(
        await protect(services, text(params, 'vm'), envelope === null ? null : { envelope, keyDigest }),
      );
    },
    'vm.tenant-policy': async (params) =>
      summary(await bindTenant(services, find(services, text(params, 'vm')), text(params, 'envelope'))),
    'vm.unprotect': async (params) => summary(await unprotect(services, text(params, 'vm'))),
    'vm.adopt': async (params) => {
      if (params['accepted'] !== true)
        throw new TvmmpError('usage-invalid', 'a vTPM state can only be adopted with its risk accepted');
      const vm = find(services, text(params, 'vm'));
      const { run } = params;
      return summary(await (typeof run === 'number' ? adoptMemory(services, vm, run) : adopt(services, vm)));
    },
    'vm.rescuer': () => {
      const { akCertificate, receivePublic } = host.identity;
      return Promise.resolve({ akCertificate: base64(akCertificate), receivePublic: base64(receivePublic) });
    },
    'vm.rescue': async (params) => {
      if (params['accepted'] !== true)
        throw new TvmmpError('usage-invalid', 'a VM can only be taken up with its risk accepted');
      return summary(await rescue(services, Uint8Array.from(Buffer.from(text(params, 'rescue'), 'base64'))));
    },
    'vm.attest': async (params) => {
      const vm = find(services, text(params, 'vm'));
      const nonce = unhex(text(params, 'nonce'));
      const { attestation, proof } = await attestations.attest(vm, nonce);
      return { vm: summary(vm), attestation: base64(attestation), proof: base64(proof) };
    },
    'vm.certificate': async (params) => {
      const vm = find(services, text(params, 'vm'));
      const { certificate, chain, unchained } = await vtpmCertificate(services, vm);
      return {
        vm: summary(vm),
        vtpm: hex(vm.vtpm ?? new Uint8Array()),
        pem: chain === null ? certificateToPem(certificate) : formatVtpmChain(chain),
        unchained,
      };
    },
    'proof.export': (params) => {
      const vm = find(services, text(params, 'vm'));
      return Promise.resolve({
        vm: summary(vm),
        proof: base64(chains.proof(vm.uuid)),
      });
    },
    refusals: () => Promise.resolve(host.journal.refusals(refusalsShown)),
    ...migrationMethods(services, sessions),
    migrate: async (params, progress) => {
      const vm = find(services, text(params, 'vm'));
      const destination = text(params, 'destination');
      const request = {
        vm,
        agent: optional(params, 'agent') ?? `${destination}:${agentPort}`,
        destinationUri:
          optional(params, 'uri') ?? parts.config.libvirt.migrationUri.replace('{host}', destination),
        migrateUri: optional(params, 'migrateUri') ?? `tcp://${destination}`,
        bandwidthMiBs: typeof params['bandwidth'] === 'number' ? params['bandwidth'] : null,
      };
      return depart(services, sessions, request, (step, message, fraction) => {
        progress({ step, message, ...(fraction === undefined ? {} : { fraction }) });
      });
    },
    'policy.install': (params) => Promise.resolve(installNewPolicy(parts, text(params, 'envelope'))),
    'revocation.install': (params) => {
      const envelope = text(params, 'envelope');
      const version =
        params['domain'] === undefined
          ? parts.revocations.install(envelope)
          : installDomainRevocations(parts.services.host, text(params, 'domain'), envelope);
      return Promise.resolve({ version });
    },
    statistics: async () => ({
      quotes: services.quotes.count,
      tpmCommands: await host.tpm.commandCounts(),
      bridgeTpmCommands: services.platform.bridgeCommands,
      keyEnvelopes: restingKeys.envelopes,
      roundTrips: TlsChannel.roundTrips,
      stepsMs: services.timings.all(),
      rssBytes: process.memoryUsage.rss(),
      peakRssBytes: process.resourceUsage().maxRSS * 1024,
    }),
  };
}

function status({ config, services, revocations }: MethodParts): unknown {
  const { host } = services;
  const { policy } = host.policy();
  return {
    version,
    host: host.identity.id.name,
    advertise: config.advertise,
    versions: Object.fromEntries(host.versions),
    policy: { id: policy.id, version: policy.version, digest: hex(policy.digest) },
    revocations: { version: revocations.inForce?.list.version ?? 0, ownReason: revocations.ownReason },
    ledger: services.ledgerNews.status(),
    rollback: services.anchor.status(),
    vtpms: services.vtpmIdentities.status(),
    escrow: services.escrow.status(),
    trust: {
      ...services.selfAppraisal.status(),
      attested: services.peerAttestations.status(),
      peers: peersSeen(services),
    },
    vms: host.journal.vms().map(summary),
    migrations: openMigrations(services),
  };
}

/** What is known of each host that has attested itself here, and whether it has gone on with it. */
function peersSeen({ host, silentPeers }: Services): readonly object[] {
  const silent = silentPeers.status();
  return peerStandings(host).map((standing) => ({ ...standing, silent: silent.has(standing.host) }));
}

/** A policy never goes back (SPEC 10): checked against the one on disk, written, then in force. */
function installNewPolicy({ config, services, setPolicy }: MethodParts, envelope: string): unknown {
  const policy = installPolicy(config.directories.identity, envelope, new Date());
  setPolicy({ policy, envelope });
  void services.selfAppraisal.look();
  return { id: policy.id, version: policy.version };
}

function summary(vm: VmRecord): unknown {
  return {
    uuid: vm.uuid,
    name: vm.name,
    state: vm.state,
    holder: vm.holder,
    epoch: vm.epoch,
    entries: vm.sequence + 1,
    head: hex(vm.head),
  };
}

function find(services: Services, nameOrUuid: string): VmRecord {
  const vms = services.host.journal
    .vms()
    .filter(({ uuid, name }) => uuid === nameOrUuid || name === nameOrUuid);
  const [vm, other] = vms;
  if (vm === undefined)
    throw new TvmmpError('vm-unknown', `${nameOrUuid} is not protected on this host (tvmmp vm protect)`);
  if (other !== undefined)
    throw new TvmmpError('usage-invalid', `several VMs are called ${nameOrUuid}; give the UUID`);
  return vm;
}

function text(params: Params, name: string): string {
  const value = optional(params, name);
  if (value === null) throw new TvmmpError('usage-invalid', `${name} is missing`);
  return value;
}

function optional(params: Params, name: string): string | null {
  const value = params[name];
  return typeof value === 'string' && value !== '' ? value : null;
}
