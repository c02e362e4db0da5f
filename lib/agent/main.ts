#!/usr/bin/env node
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { TvmmpError } from '../errors.ts';
import { startAgent } from './agent.ts';
import { defaultConfigFile, readConfig } from './config.ts';
import { tellReady } from './service-manager.ts';
import { version } from './version.ts';

const help = `tvmmpd ${version}: host agent of TVMMP, one per hypervisor.

Usage: tvmmpd [--config FILE]

  --config FILE  configuration (default ${defaultConfigFile})
  --version      print the version
  --help         print this help

Logs JSON lines to standard output. Ends in order on SIGTERM and SIGINT. Exit codes: 0 ended, 2 unusable configuration, 3 fault.
`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      config: { type: 'string', default: defaultConfigFile },
      version: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help || values.version) {
    process.stdout.write(values.help ? help : `${version}\n`);
    return 0;
  }
  process.umask(0o077);
  const config = readConfig(values.config);
  const log = pino({ level: config.log.level, base: { host: config.name } });
  const agent = await startAgent(config, log);
  await tellReady(log);
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        resolve();
      });
    }
  });
  log.info({}, 'ending');
  await agent.close();
  return 0;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    const code = error instanceof TvmmpError ? error.code : 'internal';
    const unusable =
      code === 'config-invalid' ||
      code === 'usage-invalid' ||
      (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS');
    process.stderr.write(`tvmmpd: ${error instanceof Error ? error.message : String(error)} (${code})\n`);
    process.exit(unusable === true ? 2 : 3);
  },
);
