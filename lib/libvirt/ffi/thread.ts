/** The thread that owns one libvirt connection; `FfiHypervisor` calls it by name (lib/worker). Everything here is synchronous. */
import { workerData } from 'node:worker_threads';
import { serve } from '../../worker/thread.ts';
import type { DumpXmlOptions, UndefineOptions } from '../port.ts';
import { Connection } from './connection.ts';
import * as domains from './domains.ts';

const connection = new Connection((workerData as { readonly uri: string }).uri);

const calls = {
  ping: () => {
    connection.handle();
  },
  hostname: () => connection.hostname(),
  capabilities: () => connection.capabilities(),
  versions: () => connection.versions(),
  domains: () => domains.listDomains(connection.handle()),
  domain: (uuidOrName: string) => domains.lookUpDomain(connection.handle(), uuidOrName),
  dumpXml: (uuid: string, options: DumpXmlOptions) => domains.dumpXml(connection.handle(), uuid, options),
  defineXml: (xml: string) => domains.defineXml(connection.handle(), xml),
  undefine: (uuid: string, options: UndefineOptions) => {
    domains.undefineDomain(connection.handle(), uuid, options);
  },
  start: (uuid: string) => {
    domains.startDomain(connection.handle(), uuid);
  },
  destroy: (uuid: string) => {
    domains.destroyDomain(connection.handle(), uuid);
  },
  setMetadata: (uuid: string, change: domains.MetadataChange) => {
    domains.setMetadata(connection.handle(), uuid, change);
  },
  metadata: (uuid: string, namespaceUri: string, inactive: boolean) =>
    domains.getMetadata(connection.handle(), uuid, namespaceUri, inactive),
  jobStatistics: (uuid: string, options: { completed: boolean; keep: boolean }) =>
    domains.jobStatistics(connection.handle(), uuid, options),
  abortJob: (uuid: string) => {
    domains.abortJob(connection.handle(), uuid);
  },
};

/** What the thread can be asked. */
export type LibvirtCalls = typeof calls;

serve(calls, () => {
  connection.close();
});
