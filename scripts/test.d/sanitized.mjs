// Preloaded into Node for tests of the sanitized addons (scripts/test.d/sanitized): AddressSanitizer's library has to come first in every Node
// process, which loads them, and in no other that a test starts (libvirtd, tpm2-tools). The hook client brings it along, and is searched for leaks.
import childProcess from 'node:child_process';
import { syncBuiltinESMExports } from 'node:module';

const preload = process.env.LD_PRELOAD;
const options = process.env.ASAN_OPTIONS;
delete process.env.LD_PRELOAD;

/** The environment's entries for a program. */
function changes(file) {
  if (file === process.execPath) return { LD_PRELOAD: preload };
  return file.endsWith('/tvmmp-hook') ? { ASAN_OPTIONS: `${options}:detect_leaks=1` } : {};
}

const { spawn } = childProcess.ChildProcess.prototype;
childProcess.ChildProcess.prototype.spawn = function (plan) {
  const added = Object.entries(changes(plan.file));
  const others = plan.envPairs.filter((pair) => !added.some(([name]) => pair.startsWith(`${name}=`)));
  return spawn.call(this, { ...plan, envPairs: [...others, ...added.map((entry) => entry.join('='))] });
};
for (const name of ['spawnSync', 'execFileSync']) {
  const original = childProcess[name];
  childProcess[name] = (file, ...rest) => {
    const words = Array.isArray(rest[0]) ? rest.shift() : [];
    const [given = {}] = rest;
    return original(file, words, { ...given, env: { ...(given.env ?? process.env), ...changes(file) } });
  };
}
syncBuiltinESMExports();
