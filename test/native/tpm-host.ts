import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { OwnSealedKey, ReceiveKeyApproval } from '../../lib/native/bridge.ts';

export const receiveKeyHandle = 0x81010010;
const pcr = 7;
/** TPML_PCR_SELECTION for SHA-256, PCR 7: count 1, TPM_ALG_SHA256, three octets. */
const pcrSelection = Buffer.from('00000001000b03800000', 'hex');

/** The authority's policy key, on no TPM. */
export class PolicySigner {
  readonly key: KeyObject;
  readonly publicPem: string;
  readonly policyRef = Buffer.from('a test of the bridge');

  constructor() {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.key = pair.privateKey;
    this.publicPem = pair.publicKey.export({ type: 'spki', format: 'pem' }).toString();
  }
}

/** A host: a swtpm of its own with a receive key as SPEC 5.2 has it, made with tpm2-tools. Ended by `stop`, by process id. */
export class TpmHost {
  readonly directory = mkdtempSync(join(tmpdir(), 'tvmmp-native-'));
  readonly signer: PolicySigner;
  #swtpm: ChildProcess | undefined;
  #receivePublic: Buffer | undefined;

  private constructor(signer: PolicySigner) {
    this.signer = signer;
  }

  static async start(signer = new PolicySigner()): Promise<TpmHost> {
    const host = new TpmHost(signer);
    try {
      host.#swtpm = await startSwtpm(host.directory);
      host.#makeReceiveKey();
    } catch (error) {
      await host.stop();
      throw error;
    }
    return host;
  }

  get tcti(): string {
    return `swtpm:path=${join(this.directory, 'tpm.sock')}`;
  }

  get receivePublic(): Buffer {
    if (this.#receivePublic === undefined) throw new Error('not started');
    return this.#receivePublic;
  }

  /** Runs one command of tpm2-tools on this TPM. */
  tpm2(...args: string[]): Buffer {
    return execFileSync('tpm2', [...args, '-T', this.tcti], {
      cwd: this.directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  #file(name: string): string {
    return join(this.directory, name);
  }

  #makeReceiveKey(): void {
    writeFileSync(this.#file('signer.pem'), this.signer.publicPem);
    writeFileSync(this.#file('ref'), this.signer.policyRef);
    this.#loadSigner();
    this.tpm2('startauthsession', '-S', 'trial.ctx');
    this.tpm2(
      'policyauthorize',
      '-S',
      'trial.ctx',
      '-L',
      'authorize.policy',
      '-n',
      'signer.name',
      '-q',
      'ref',
    );
    this.tpm2('flushcontext', 'trial.ctx');
    const attributes = 'fixedtpm|fixedparent|sensitivedataorigin|decrypt|adminwithpolicy|noda';
    this.tpm2(
      'createprimary',
      '-C',
      'o',
      '-G',
      'ecc256:null:null',
      '-a',
      attributes,
      '-L',
      'authorize.policy',
      '-c',
      'receive.ctx',
    );
    this.tpm2('evictcontrol', '-C', 'o', '-c', 'receive.ctx', `0x${receiveKeyHandle.toString(16)}`);
    this.tpm2('flushcontext', '-t');
    this.tpm2('readpublic', '-c', `0x${receiveKeyHandle.toString(16)}`, '-f', 'tpmt', '-o', 'receive.tpmt');
    this.#receivePublic = readFileSync(this.#file('receive.tpmt'));
  }

  #loadSigner(): void {
    this.tpm2(
      'loadexternal',
      '-C',
      'o',
      '-G',
      'ecc',
      '-u',
      'signer.pem',
      '-c',
      'signer.ctx',
      '-n',
      'signer.name',
    );
    this.tpm2('flushcontext', '-t');
  }

  /** The signer's approval of the PCRs as they are now. */
  approve(): ReceiveKeyApproval {
    this.tpm2('createpolicy', '--policy-pcr', '-l', `sha256:${pcr}`, '-L', 'pcr.policy');
    this.tpm2('flushcontext', '-l'); // the tool leaves its trial session behind
    const approvedPolicy = readFileSync(this.#file('pcr.policy'));
    const message = Buffer.concat([approvedPolicy, this.signer.policyRef]);
    writeFileSync(this.#file('message'), message);
    writeFileSync(this.#file('signature'), sign('sha256', message, this.signer.key));
    this.tpm2(
      'verifysignature',
      '-c',
      'signer.ctx',
      '-g',
      'sha256',
      '-m',
      'message',
      '-s',
      'signature',
      '-f',
      'ecdsa',
      '-t',
      'ticket',
    );
    this.tpm2('flushcontext', '-t');
    return {
      pcrSelection,
      approvedPolicy,
      policyRef: this.signer.policyRef,
      keySignName: readFileSync(this.#file('signer.name')),
      ticket: readFileSync(this.#file('ticket')),
    };
  }

  /** Measures something more: the state is another from now on. */
  extendPcr(): void {
    this.tpm2('pcrextend', `${pcr}:sha256=${'ab'.repeat(32)}`);
  }

  /** Everything the bridge needs to open `blob` here. */
  own(blob: Uint8Array, context: Uint8Array, approval: ReceiveKeyApproval): OwnSealedKey {
    return { tcti: this.tcti, receiveKeyHandle, receivePublic: this.receivePublic, approval, blob, context };
  }

  async stop(): Promise<void> {
    await endProcess(this.#swtpm);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A swtpm on `directory` that serves tpm2-tools at tpm.sock; `options` are added to its command line. */
export async function startSwtpm(directory: string, options: readonly string[] = []): Promise<ChildProcess> {
  const socket = join(directory, 'tpm.sock');
  rmSync(socket, { force: true });
  rmSync(`${socket}.ctrl`, { force: true });
  const child = spawn(
    'swtpm',
    ['socket', '--tpm2', '--tpmstate', `dir=${directory},mode=0600`, '--server', `type=unixio,path=${socket}`]
      .concat(['--ctrl', `type=unixio,path=${socket}.ctrl`, '--flags', 'not-need-init,startup-clear'])
      .concat(options),
    { stdio: 'ignore' },
  );
  for (let waitedMs = 0; waitedMs < 20_000; waitedMs += 20) {
    if (existsSync(socket) && existsSync(`${socket}.ctrl`)) return child;
    if (child.exitCode !== null) break;
    await delay(20);
  }
  await endProcess(child);
  throw new Error('swtpm did not start');
}

/** Ends a child of ours and waits until it is gone. */
export async function endProcess(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}
