import { mkdirSync } from 'node:fs';
import type { Server } from 'node:net';
import { release } from 'node:os';
import { join } from 'node:path';
import { LogThread } from '../appraisal/log-thread.ts';
import { Journal } from '../ledger/journal.ts';
import { connectHypervisor } from '../libvirt/connect.ts';
import { limits } from '../limits.ts';
import { Admission } from '../migration/admission.ts';
import { diskFiles } from '../migration/files.ts';
import type { Host, Log, PolicyInForce } from '../migration/host.ts';
import { logFiles } from '../migration/log-files.ts';
import { forgetLeftKeys } from '../migration/left-keys.ts';
import { LifeCycle } from '../migration/life-cycle.ts';
import { tellInProofs } from '../migration/quarantine-entries.ts';
import { RestingKeys } from '../migration/resting-keys.ts';
import { servicesOf } from '../migration/services.ts';
import { Sessions } from '../migration/sessions.ts';
import { loadBridge } from '../native/bridge.ts';
import { systemTimers } from '../migration/timers.ts';
import { openTpm } from '../tpm/open.ts';
import type { AgentConfig } from './config.ts';
import { serveControl } from './control-server.ts';
import { followEvents } from './events.ts';
import { serveHooks } from './hook-server.ts';
import { hookHandler } from './hooks.ts';
import type { Policy } from '../appraisal/policy.ts';
import { loadIdentity, loadPolicy, loadTlsIdentity } from './identity.ts';
import { openLedger } from './ledger.ts';
import { controlMethods } from './methods.ts';
import { servePeers } from './peer-server.ts';
import { Revocations } from './revocations.ts';
import { openChannel } from './tls-channel.ts';
import type { TlsIdentity } from './tls-channel.ts';
import { version } from './version.ts';
import { vtpmDesk } from './vtpm-desk.ts';

/** A running agent. */
export interface Agent {
  /** Ends it in order: no new work, sockets closed, journal closed. Committed sessions are taken up at the next start. */
  close(): Promise<void>;
}

/** Starts `tvmmpd` with this configuration. Rejects, with everything closed again, when a part cannot be had. */
export async function startAgent(config: AgentConfig, log: Log): Promise<Agent> {
  const closers: (() => Promise<void> | void)[] = [];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    await assemble(config, log, closers);
    return { close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function assemble(
  config: AgentConfig,
  log: Log,
  closers: (() => Promise<void> | void)[],
): Promise<void> {
  const { directories } = config;
  for (const directory of [directories.state, directories.run])
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  const bridge = loadBridge();
  const logJudges = new LogThread();
  closers.push(() => logJudges.close());
  const tpm = await openTpm(config.tpm.tcti);
  closers.push(() => tpm.close());
  const identity = await loadIdentity(directories.identity, tpm);
  const tls = loadTlsIdentity(directories.identity, identity.root);
  let inForce: PolicyInForce = loadPolicy(directories.identity, identity);
  /** Whom we speak to follows the policy in force; the same object under the same policy. */
  let believed = { policy: inForce.policy, identity: withDomains(tls, inForce.policy) };
  const believing = (): TlsIdentity => {
    const { policy } = inForce;
    if (believed.policy !== policy) believed = { policy, identity: withDomains(tls, policy) };
    return believed.identity;
  };
  const revocations = new Revocations(directories.identity, identity, log);
  const journal = new Journal(join(directories.state, 'journal.sqlite'));
  closers.push(() => {
    journal.close();
  });
  const ledger = await openLedger(config.ledger, journal);
  closers.push(() => ledger.close());
  const hypervisor = await connectHypervisor(config.libvirt.uri);
  closers.push(() => hypervisor.close());
  const { libvirt, hypervisor: qemu } = await hypervisor.versions();
  const host: Host = {
    identity,
    policy: () => inForce,
    revocations: () => revocations.inForce,
    learnRevocations: (envelope) => {
      revocations.learn(envelope);
    },
    settings: {
      tcti: config.tpm.tcti,
      libvirtUri: config.libvirt.uri,
      advertise: config.advertise,
      peers: config.peers,
    },
    tpm,
    hypervisor,
    bridge,
    vtpmDesk: vtpmDesk(bridge, log),
    journal,
    ledger,
    files: diskFiles(directories),
    logFiles: logFiles(config.logs),
    logJudges,
    timers: systemTimers,
    log,
    now: () => Date.now(),
    connect: (address) => openChannel(address, believing(), limits.messageDeadlineMs),
    versions: new Map([
      ['tvmmp', version],
      ['kernel', release()],
      ['libvirt', libvirt],
      ['qemu', qemu],
    ]),
  };
  const services = servicesOf(host);
  const sessions = new Sessions(services);
  const lifeCycle = new LifeCycle(services);
  const restingKeys = new RestingKeys(host, services.platform, () => sessions.busy);
  await services.anchor.begin();
  closers.push(() => {
    services.anchor.end();
  });
  await forgetLeftKeys(services);
  services.ledgerNews.begin();
  closers.push(() => services.ledgerNews.end());
  sessions.start();
  closers.push(() => {
    sessions.stop();
  });
  services.platform.prepare();
  closers.push(() => services.platform.end());
  restingKeys.start();
  services.escrow.start();
  services.vtpmIdentities.start();
  closers.push(() => {
    services.escrow.stop();
    services.vtpmIdentities.stop();
  });
  closers.push(() => {
    restingKeys.stop();
  });
  const events = await followEvents(services, sessions, lifeCycle);
  closers.push(() => events.close());
  await lifeCycle.reconcileAll();
  services.selfAppraisal.onLooked = async (appraisal) => {
    services.peerAttestations.attest(appraisal);
    await tellInProofs(services);
  };
  services.selfAppraisal.begin();
  services.silentPeers.start();
  closers.push(() => {
    services.selfAppraisal.end();
    services.silentPeers.stop();
  });
  const admission = new Admission(services, sessions);
  const hooks = hookHandler({ services, sessions, admission, lifeCycle });
  const methods = controlMethods({
    config,
    services,
    sessions,
    restingKeys,
    revocations,
    setPolicy: (policy) => {
      inForce = policy;
      void services.escrow.look();
    },
  });
  const servers = [
    await servePeers(config.listen, believing, (channel) => sessions.accept(channel), log),
    await serveHooks(join(directories.run, 'hook.sock'), bridge, hooks, log),
    await serveControl(join(directories.run, 'agent.sock'), bridge, methods, log),
  ];
  for (const server of servers) closers.push(() => closeServer(server));
  log.info({ enrolledAs: identity.id.name, policy: inForce.policy.version, version }, 'tvmmpd is ready');
}

function withDomains(identity: TlsIdentity, { domains }: Policy): TlsIdentity {
  return domains === null ? identity : { ...identity, domains: domains.others };
}

/** Stops listening; connections under way get half a second, their sessions are in the journal. */
function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 500).unref();
    server.close(() => {
      resolve();
    });
  });
}
