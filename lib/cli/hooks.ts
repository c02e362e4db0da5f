import type { Command } from 'commander';
import { configOf, leaf, noun } from './command.ts';
import type { CommonOptions } from './command.ts';
import { refused } from './exit.ts';
import { paint, print, printJson, table } from './output.ts';
import { defaultHooksDirectory, hookPaths, installHook, removeHook } from './hook-files.ts';

interface HooksOptions extends CommonOptions {
  readonly hooksDir: string;
  readonly reload?: boolean;
}

/** `tvmmp hooks`. */
export function addHooks(program: Command): void {
  const hooks = noun(
    program,
    'hooks',
    "libvirt's hook on this host",
    'The hook is what makes libvirt ask tvmmpd before it starts, restores or takes in a protected VM. Without it the vTPM ' +
      'key alone stands in the way.',
  );
  addInstall(hooks);
  addRemove(hooks);
  addCheck(hooks);
}

function addInstall(hooks: Command): void {
  withDirectory(
    leaf(hooks, {
      usage: 'install',
      summary: 'install the hook beside whatever hooks there are',
      description:
        'Copies the hook client to qemu.d/50-tvmmp (root, 0755), in one step. Other hooks are not touched. libvirtd looks ' +
        'for hooks only when it starts and when it is told to: --reload tells it; running VMs do not notice.',
      examples: [['tvmmp hooks install --reload', 'Install it and have libvirtd look for it.']],
    }).option('--reload', 'tell libvirtd to look for hooks now (SIGHUP, as systemctl reload does)'),
  ).action(async (options: HooksOptions) => {
    const { findLibvirtDaemon, reloadLibvirtDaemon } = await import('./libvirt-daemon.ts');
    const installed = installHook(options.hooksDir);
    const daemon = options.reload === true ? findLibvirtDaemon() : null;
    if (daemon !== null) reloadLibvirtDaemon(daemon, hookPaths(options.hooksDir).reloadMark);
    const reloaded = daemon === null ? null : { name: daemon.name, pid: daemon.pid };
    if (options.json === true) {
      printJson({ ...installed, reloaded });
      return;
    }
    print(`${installed.entry} ${installed.changed ? 'is installed' : 'is there already'}`);
    if (reloaded !== null) print(`${reloaded.name} (pid ${reloaded.pid}) was told to look for hooks`);
    else if (options.reload === true) print('no libvirtd runs; it will find the hook when it starts');
    else print('Next: tvmmp hooks check');
  });
}

function addRemove(hooks: Command): void {
  withDirectory(
    leaf(hooks, {
      usage: 'remove',
      summary: 'take our hook away, and nothing else',
      description:
        'Removes qemu.d/50-tvmmp. libvirt no longer asks before it takes in a protected VM; such a VM still cannot start ' +
        'without its vTPM key.',
      examples: [['tvmmp hooks remove', 'Done too where it is not there.']],
    }),
  ).action((options: HooksOptions) => {
    const removed = removeHook(options.hooksDir);
    const { entry } = hookPaths(options.hooksDir);
    if (options.json === true) printJson({ entry, removed });
    else print(removed ? `${entry} is removed` : `there was no ${entry}`);
  });
}

function addCheck(hooks: Command): void {
  withDirectory(
    leaf(hooks, {
      usage: 'check',
      summary: 'whether libvirt will ask our hook',
      description:
        'Checks that the hook is there, executable, of this version, finds the agent, was seen by libvirtd, and works. libvirt ' +
        'skips a hook that it cannot run without a word, so check after every change. Exit code 1 where a check fails. ' +
        'Whether somebody else reloaded libvirtd cannot be seen from outside: then loaded is unknown, not failed.',
      examples: [['tvmmp hooks check', 'One line for each check.']],
      configured: true,
    }),
  ).action(async (options: HooksOptions) => {
    const { checkHooks } = await import('./hook-check.ts');
    const checks = await checkHooks(options.hooksDir, configOf(options));
    const failed = checks.filter(({ outcome }) => outcome === 'fail');
    if (options.json === true) printJson({ ok: failed.length === 0, checks });
    else {
      const rows = checks.map(({ name, outcome, found, remedy }) => [
        name,
        outcome,
        remedy === '' ? found : `${found}; ${remedy}`,
      ]);
      print(
        ...table(['CHECK', 'RESULT', 'FOUND'], rows).map((line) =>
          /^\S+ +fail /.test(line) ? paint('red', line) : line,
        ),
      );
    }
    const [first] = failed;
    if (first !== undefined) throw refused(`the hook is not in force: ${first.found}; ${first.remedy}`);
  });
}

function withDirectory(command: Command): Command {
  return command.option('--hooks-dir <directory>', "libvirt's hooks", defaultHooksDirectory);
}
