import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NestedLab } from '../support/nested-lab.ts';
import type { MachineFiles } from '../support/nested-lab.ts';

const tvmmpPath = 'scripts/lab.d/bin/tvmmp';

/** As README writes it on a host. */
const installTvmmp = String.raw`printf '#!/bin/sh\nexec node /opt/tvmmp/dist/cli/main.js "$@"\n' | install -m 755 /dev/stdin /usr/bin/tvmmp`;

interface Verdict {
  readonly accepted: boolean;
  readonly checks: readonly { readonly name: string; readonly outcome: string; readonly found: string }[];
}

describe('a machine with firmware, Secure Boot, TPM and IMA', function () {
  let lab: NestedLab;
  let policy: string;

  before(async function () {
    lab = await NestedLab.up(['alpha']);
    await lab.shell('alpha', installTvmmp);
    // What the machine runs from now on is measured before it is captured.
    await quote('00');
    await lab.shell('alpha', 'virsh --version && tvmmp reference capture -o /dev/null');
    const reference = await saved(await lab.files('alpha', 'tvmmp reference capture -o reference.json'));
    policy = join(lab.directory, 'policy.json');
    const { code, stderr } = await tvmmp(
      ...[
        'policy',
        'new',
        '--id',
        'logs',
        '--version',
        '1',
        '--pcrs',
        '0',
        '--reference',
        reference('reference.json'),
      ],
      ...['--rules', 'secureBoot,keys,firmware,images,bootFiles,commandLines,ima', '-o', policy],
    );
    assert.equal(code, 0, stderr);
  });

  after(async function () {
    await (lab as NestedLab | undefined)?.down();
  });

  it('is accepted as it was captured', async () => {
    const { accepted, failed } = await judge();
    assert.deepEqual(failed, {});
    assert.equal(accepted, true);
  });

  it('is refused for the one file that was changed, and for nothing else', async () => {
    await lab.shell('alpha', 'printf x >>/usr/bin/virsh; virsh --version; truncate -s -1 /usr/bin/virsh');
    const { accepted, failed } = await judge();
    assert.equal(accepted, false);
    assert.deepEqual(Object.keys(failed), ['ima-files']);
    assert.match(failed['ima-files'] ?? '', /\/usr\/bin\/virsh/);
  });

  it('is refused for another command line of the kernel, and for nothing else but the file with it', async () => {
    await lab.reboot('alpha', '--cmdline', 'lockdown=none');
    const { accepted, failed } = await judge();
    assert.equal(accepted, false);
    assert.deepEqual(Object.keys(failed), ['boot-files', 'command-lines']);
    assert.match(failed['command-lines'] ?? '', /lockdown=none/);
  });

  it('is refused with Secure Boot off', async () => {
    await lab.reboot('alpha', '--secure-boot', 'off');
    const { accepted, failed } = await judge();
    assert.equal(accepted, false);
    assert.equal(failed['secure-boot'], 'off');
    // Without keys OVMF lays out its own first part otherwise, and measures that.
    assert.deepEqual(Object.keys(failed), ['pcr-state', 'secure-boot', 'secure-boot-keys', 'firmware']);
  });

  it('is accepted again when it boots as before', async () => {
    await lab.reboot('alpha');
    const { accepted, failed } = await judge();
    assert.deepEqual(failed, {});
    assert.equal(accepted, true);
  });

  /** A quote by tpm2-tools over what the policies here look at, and the logs that lead to it. */
  function quote(nonce: string): Promise<MachineFiles> {
    return lab.files(
      'alpha',
      `export TPM2TOOLS_TCTI=device:/dev/tpmrm0
      tpm2_createprimary -Q -C e -G ecc -c primary.ctx -a 'restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda'
      tpm2_create -Q -C primary.ctx -G ecc:ecdsa-sha256:null -u ak.pub -r ak.priv -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign|noda'
      tpm2_load -Q -C primary.ctx -u ak.pub -r ak.priv -c ak.ctx
      tpm2_readpublic -Q -c ak.ctx -f pem -o ak.pem
      tpm2_quote -Q -c ak.ctx -l sha256:0,1,2,3,4,5,6,7,8,9,10 -q ${nonce} -m quote.attest -s quote.signature
      cp /sys/kernel/security/ima/binary_runtime_measurements ima
      cp /sys/kernel/security/tpm0/binary_bios_measurements event-log`,
    );
  }

  /** What the policy says of the machine now. */
  async function judge(): Promise<{ accepted: boolean; failed: Record<string, string> }> {
    const nonce = randomBytes(16).toString('hex');
    const file = await saved(await quote(nonce));
    const { stdout, stderr } = await tvmmp(
      ...['evidence', 'appraise', '--json', '--policy', policy, '--nonce', nonce, '--ak', file('ak.pem')],
      ...['--quote', file('quote.attest'), '--signature', file('quote.signature')],
      ...['--event-log', file('event-log'), '--ima', file('ima')],
    );
    assert.ok(stdout !== '', stderr);
    const { accepted, checks } = JSON.parse(stdout) as Verdict;
    const failed = checks.filter(({ outcome }) => outcome === 'fail').map(({ name, found }) => [name, found]);
    return { accepted, failed: Object.fromEntries(failed) as Record<string, string> };
  }

  async function saved(files: MachineFiles): Promise<(name: string) => string> {
    for (const [name, bytes] of files) await writeFile(join(lab.directory, name), bytes);
    return (name) => join(lab.directory, name);
  }
});

/** The CLI, here. */
function tvmmp(...words: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(tvmmpPath, words, { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}
