import { readFileSync } from 'node:fs';
import { TvmmpError } from '../errors.ts';
import type { Journal } from '../ledger/journal.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { SqliteLedger } from '../ledger/sqlite-ledger.ts';
import type { LedgerConfig } from './config.ts';

/** The ledger that is configured. One in etcd need not answer yet: what needs it is refused until it does. Errors: `config-invalid`. */
export async function openLedger(config: LedgerConfig, journal: Journal): Promise<Ledger> {
  if (config.kind === 'sqlite') return new SqliteLedger(journal);
  const { endpoints, prefix } = config;
  const [ca, certificate, key] = [read(config.ca), read(config.certificate), read(config.key)];
  // Hosts without etcd need not load its client.
  const { EtcdLedger } = await import('../ledger/etcd-ledger.ts');
  return new EtcdLedger({ endpoints, prefix, ca, certificate, key });
}

function read(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new TvmmpError('config-invalid', `ledger: cannot read ${file}: ${String(error)}`, { cause: error });
  }
}
