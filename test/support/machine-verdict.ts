/** Judges a machine of the nested lab offline: a quote by tpm2-tools and the kernel's logs, as `tvmmp evidence appraise` takes them. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MachineFiles, NestedLab } from './nested-lab.ts';

const tvmmpPath = 'scripts/lab.d/bin/tvmmp';
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

interface Verdict {
  readonly accepted: boolean;
  readonly checks: readonly { readonly name: string; readonly outcome: string; readonly found: string }[];
}

/**
 * The checks of a policy that the machine fails, with what was found: none where it is accepted. Without a policy the machine shows its
 * evidence all the same, and has then run all that this takes.
 */
export async function judgeMachine(
  lab: NestedLab,
  machine: string,
  policy: string | null,
): Promise<Record<string, string>> {
  const nonce = randomBytes(16).toString('hex');
  const files = await quote(lab, machine, nonce);
  if (policy === null) return {};
  const path = (name: string): string => join(lab.directory, name);
  for (const [name, bytes] of files) await writeFile(path(name), bytes);
  await writeFile(path('policy.json'), policy);
  const { stdout, stderr } = await tvmmp(
    ...['evidence', 'appraise', '--json', '--policy', path('policy.json'), '--nonce', nonce],
    ...['--ak', path('ak.pem'), '--quote', path('quote.attest'), '--signature', path('quote.signature')],
    ...['--event-log', path('event-log'), '--ima', path('ima')],
  );
  assert.ok(stdout !== '', stderr);
  const { accepted, checks } = JSON.parse(stdout) as Verdict;
  const failed = checks.filter(({ outcome }) => outcome === 'fail').map(({ name, found }) => [name, found]);
  assert.equal(accepted, failed.length === 0);
  return Object.fromEntries(failed) as Record<string, string>;
}

/** A quote over what the policies here look at, and the logs that lead to it. */
function quote(lab: NestedLab, machine: string, nonce: string): Promise<MachineFiles> {
  return lab.files(
    machine,
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

/** The CLI, here. */
function tvmmp(...words: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(tvmmpPath, words, { maxBuffer: OUTPUT_BYTES_MAX }, (_error, stdout, stderr) => {
      resolve({ stdout, stderr });
    });
  });
}
