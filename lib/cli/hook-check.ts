/** Whether libvirt will ask our hook: every condition by itself, since libvirt skips a hook that it cannot run without a word. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, lstatSync, readFileSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { AgentConfig } from '../agent/config.ts';
import { defaultHooksDirectory, digestOf, hookPaths, packagedHook } from './hook-files.ts';
import type { HookPaths } from './hook-files.ts';
import { findLibvirtDaemon, hasSeen } from './libvirt-daemon.ts';

/** One condition; `remedy` is empty where it passes. */
export interface HookCheck {
  readonly name: 'installed' | 'executable' | 'up-to-date' | 'order' | 'agent-paths' | 'loaded' | 'self-test';
  readonly outcome: 'pass' | 'fail' | 'unknown';
  readonly found: string;
  readonly remedy: string;
}

/** Where the client looks, whatever the configuration says (native/hook-client.c): libvirt passes it no options. */
const RUN_DIRECTORY = '/run/tvmmp';
const STATE_DIRECTORY = '/var/lib/tvmmp';
const REINSTALL = 'run tvmmp hooks install';
const SELF_TEST_MS = 10_000;
const UNPROTECTED_XML =
  "<domain type='kvm'><name>tvmmp-self-test</name><uuid>00000000-0000-4000-8000-000000000000</uuid></domain>\n";

/** All conditions; those that an absent entry leaves nothing to look at for are left out. */
export async function checkHooks(hooksDirectory: string, config: AgentConfig): Promise<readonly HookCheck[]> {
  const paths = hookPaths(hooksDirectory);
  const installed = checkInstalled(paths);
  if (installed.outcome === 'fail') return [installed, checkPaths(config)];
  return Promise.resolve([
    installed,
    checkExecutable(paths),
    checkDigest(paths),
    checkOrder(paths),
    checkPaths(config),
    checkLoaded(paths, hooksDirectory),
    checkSelf(paths),
  ]);
}

function pass(name: HookCheck['name'], found: string): HookCheck {
  return { name, outcome: 'pass', found, remedy: '' };
}

function fail(name: HookCheck['name'], found: string, remedy: string): HookCheck {
  return { name, outcome: 'fail', found, remedy };
}

function checkInstalled({ entry }: HookPaths): HookCheck {
  try {
    const status = lstatSync(entry);
    if (!status.isFile()) return fail('installed', `${entry} is not a file`, `remove it and ${REINSTALL}`);
    return pass('installed', entry);
  } catch {
    return fail('installed', `there is no ${entry}`, REINSTALL);
  }
}

function checkExecutable({ entry, directory }: HookPaths): HookCheck {
  const { mode, uid } = lstatSync(entry);
  const text = `mode ${(mode & 0o7777).toString(8)}, owner ${uid}`;
  try {
    accessSync(directory, constants.X_OK);
    accessSync(entry, constants.X_OK);
  } catch {
    return fail('executable', `${text}: libvirt skips it`, REINSTALL);
  }
  if ((mode & 0o111) === 0) return fail('executable', `${text}: libvirt skips it`, REINSTALL);
  if ((mode & 0o022) !== 0) return fail('executable', `${text}: others can change it`, REINSTALL);
  if (uid !== 0 && uid !== process.getuid?.()) return fail('executable', `${text}: not root's`, REINSTALL);
  return pass('executable', text);
}

function checkDigest({ entry }: HookPaths): HookCheck {
  const digest = digestOf(readFileSync(entry));
  return digest === digestOf(packagedHook())
    ? pass('up-to-date', `SHA-256 ${digest.slice(0, 16)}, as packaged`)
    : fail('up-to-date', 'it is not the hook client of this version', REINSTALL);
}

/** What a later hook prints replaces the XML that ours was asked about. */
function checkOrder({ directory, entry }: HookPaths): HookCheck {
  const own = basename(entry);
  const later = readdirSync(directory)
    .filter((name) => Buffer.compare(Buffer.from(name), Buffer.from(own)) > 0)
    .filter((name) => (lstatSync(join(directory, name)).mode & 0o111) !== 0);
  return later.length === 0
    ? pass('order', 'no hook runs after it')
    : {
        name: 'order',
        outcome: 'unknown',
        found: `${later.join(', ')} run after it`,
        remedy: 'see that they print nothing: what they print replaces the XML that was checked',
      };
}

function checkPaths({ directories: { run, state } }: AgentConfig): HookCheck {
  if (run === RUN_DIRECTORY && state === STATE_DIRECTORY) return pass('agent-paths', `${run}, ${state}`);
  return fail(
    'agent-paths',
    `the agent uses ${run} and ${state}, the hook ${RUN_DIRECTORY} and ${STATE_DIRECTORY}`,
    'leave directories.run and directories.state out of the configuration',
  );
}

function checkLoaded({ entry, reloadMark }: HookPaths, hooksDirectory: string): HookCheck {
  const daemon = findLibvirtDaemon();
  if (daemon === null) return pass('loaded', 'no libvirtd runs; it will find the hook when it starts');
  if (hooksDirectory !== defaultHooksDirectory) {
    return {
      name: 'loaded',
      outcome: 'unknown',
      found: `${daemon.name} looks in ${defaultHooksDirectory}`,
      remedy: 'install it there',
    };
  }
  const who = `${daemon.name} (pid ${daemon.pid})`;
  if (hasSeen(daemon, entry, reloadMark) === 'yes')
    return pass('loaded', `${who} has looked since it is there`);
  return {
    name: 'loaded',
    outcome: 'unknown',
    found: `${who} started before it was installed, and looks for hooks only at its start and when told`,
    remedy: `run tvmmp hooks install --reload, or systemctl reload ${daemon.name}`,
  };
}

/** Runs it as libvirt would, for a VM that is nobody's business. */
function checkSelf({ entry }: HookPaths): HookCheck {
  const run = spawnSync(entry, ['tvmmp-self-test', 'prepare', 'begin', '-'], {
    input: UNPROTECTED_XML,
    encoding: 'utf8',
    timeout: SELF_TEST_MS,
    env: {},
  });
  if (run.status === 0 && run.stdout === '') return pass('self-test', 'an unprotected VM is let pass');
  const why = run.error?.message ?? (run.stderr.trim() || `exit code ${run.status ?? run.signal ?? 'none'}`);
  return fail('self-test', `it failed on an unprotected VM: ${why}`, REINSTALL);
}
