import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TvmmpError, type ErrorCode } from '../../lib/errors.ts';
import { loadBridge, type OwnSealedKey } from '../../lib/native/bridge.ts';
import { libvirtdMissing, PrivateLibvirtd, smallDomainXml } from '../support/libvirtd.ts';
import { endProcess, startSwtpm, TpmHost } from './tpm-host.ts';
import { rootMissing, skipWithout } from '../support/skip.ts';

const bridge = loadBridge();
const context = Buffer.from('key-context of a VM that is being protected');
const encryptedFlag = 0x01;

describe('vTPM state: converted between clear and encrypted', function () {
  this.timeout(120_000);
  let host: TpmHost;
  let own: OwnSealedKey;
  let stateDir: string;

  before(async function () {
    skipWithout(this, rootMissing());
    host = await TpmHost.start();
  });
  after(async () => {
    await host.stop();
  });
  beforeEach(async () => {
    const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
    own = host.own(blob, context, host.approve());
    stateDir = mkdtempSync(join(tmpdir(), 'tvmmp-vtpm-'));
    await useVtpm(() => {
      writeFileSync(join(stateDir, 'note'), 'what the guest has kept');
      vtpm('nvdefine', '0x1500001', '-s', '23');
      vtpm('nvwrite', '0x1500001', '-i', join(stateDir, 'note'));
      vtpm('createprimary', '-C', 'o', '-c', 'primary.ctx');
      vtpm('flushcontext', '-t');
      vtpm(
        'create',
        '-C',
        'primary.ctx',
        '-i',
        join(stateDir, 'note'),
        '-u',
        'sealed.pub',
        '-r',
        'sealed.priv',
        '-c',
        'sealed.ctx',
      );
      vtpm('flushcontext', '-t');
      vtpm('evictcontrol', '-C', 'o', '-c', 'sealed.ctx', '0x81000001');
    });
  });
  afterEach(() => {
    rmSync(stateDir, { recursive: true, force: true });
  });

  /** Runs a swtpm on the state without a key while `use` runs. */
  async function useVtpm(use: () => void): Promise<void> {
    const swtpm = await startSwtpm(stateDir);
    try {
      use();
    } finally {
      await endProcess(swtpm);
    }
  }
  function vtpm(...args: string[]): string {
    const tcti = `swtpm:path=${join(stateDir, 'tpm.sock')}`;
    return execFileSync('tpm2', [...args, '-T', tcti], {
      cwd: stateDir,
      stdio: ['ignore', 'pipe', 'pipe'],
    }).toString();
  }
  const statePath = (): string => join(stateDir, 'tpm2-00.permall');
  const isEncrypted = (): boolean => ((readFileSync(statePath())[5] ?? 0) & encryptedFlag) !== 0;
  const convert = (direction: 'encrypt' | 'decrypt'): Promise<unknown> =>
    bridge.convertVtpmState({ direction, stateDir, own });
  async function fails(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
    await assert.rejects(promise, (error) => error instanceof TvmmpError && error.code === code);
  }

  it('keeps NV indices, persistent objects, owner and mode, there and back', async () => {
    chownSync(statePath(), 65534, 65534);
    chownSync(stateDir, 65534, 65534);
    chmodSync(statePath(), 0o640);
    const files = readdirSync(stateDir).sort();
    assert.deepEqual(await convert('encrypt'), { tpmCommands: 4 });
    assert.ok(isEncrypted());
    const status = statSync(statePath());
    assert.deepEqual([status.uid, status.gid, status.mode & 0o7777, status.nlink], [65534, 65534, 0o640, 1]);
    assert.deepEqual(readdirSync(stateDir).sort(), files);
    await convert('decrypt');
    assert.ok(!isEncrypted());
    await useVtpm(() => {
      assert.equal(vtpm('nvread', '0x1500001'), 'what the guest has kept');
      assert.equal(vtpm('unseal', '-c', '0x81000001'), 'what the guest has kept');
    });
  });

  it('cannot be opened without the key once encrypted', async () => {
    await convert('encrypt');
    await assert.rejects(
      useVtpm(() => {
        vtpm('nvread', '0x1500001');
      }),
    );
    assert.ok(isEncrypted());
  });

  it('may be asked for twice, but not with another key', async () => {
    await convert('decrypt');
    await convert('encrypt');
    const once = readFileSync(statePath());
    await convert('encrypt');
    assert.deepEqual(readFileSync(statePath()), once);
    const other = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
    own = { ...own, blob: other };
    await fails(convert('encrypt'), 'vtpm-convert-failed');
    await fails(convert('decrypt'), 'vtpm-convert-failed');
    assert.deepEqual(readFileSync(statePath()), once);
    assert.ok(!existsSync(join(stateDir, '.tvmmp-convert')));
  });

  it('is refused while a swtpm runs on it, which goes on unharmed', async () => {
    const swtpm = await startSwtpm(stateDir);
    try {
      await fails(convert('encrypt'), 'vtpm-busy');
      assert.equal(vtpm('nvread', '0x1500001'), 'what the guest has kept');
    } finally {
      await endProcess(swtpm);
    }
    assert.ok(!isEncrypted());
  });

  it('is refused for a suspended vTPM', async () => {
    writeFileSync(join(stateDir, 'tpm2-00.volatilestate'), 'state of a running TPM');
    await fails(convert('encrypt'), 'vtpm-busy');
    assert.ok(!isEncrypted());
  });

  it('leaves everything as it was when swtpm cannot be run, fails, or the state is damaged', async () => {
    const before = readFileSync(statePath());
    for (const swtpmPath of ['/nonexistent/swtpm', '/bin/false', '/bin/true'])
      await fails(
        bridge.convertVtpmState({ direction: 'encrypt', stateDir, own, swtpmPath }),
        'vtpm-convert-failed',
      );
    assert.deepEqual(readFileSync(statePath()), before);
    const damaged = Buffer.from(before.subarray(0, before.length - 7));
    writeFileSync(statePath(), damaged);
    await fails(convert('encrypt'), 'vtpm-convert-failed');
    assert.deepEqual(readFileSync(statePath()), damaged);
    rmSync(statePath());
    await fails(convert('encrypt'), 'vtpm-convert-failed');
    assert.ok(!existsSync(join(stateDir, '.tvmmp-convert')));
  });

  it('cleans up what a crash has left behind', async () => {
    mkdirSync(join(stateDir, '.tvmmp-convert', 'old'), { recursive: true });
    writeFileSync(join(stateDir, '.tvmmp-convert', 'old', 'tpm2-00.permall'), 'half');
    await convert('encrypt');
    assert.ok(isEncrypted());
    assert.ok(!existsSync(join(stateDir, '.tvmmp-convert')));
  });

  it('does not open a vTPM when the TPM refuses the key', async () => {
    own = { ...own, approval: { ...own.approval, approvedPolicy: Buffer.alloc(32) } };
    await fails(convert('encrypt'), 'seal-refused');
    assert.ok(!isEncrypted());
  });

  it('is what libvirt starts with the secret that was unsealed into it', async function () {
    skipWithout(this, libvirtdMissing());
    const daemon = await PrivateLibvirtd.start();
    try {
      const uuid = randomUUID();
      const secretUuid = randomUUID();
      const virsh = (...args: string[]): string =>
        execFileSync('virsh', ['-q', '-c', daemon.uri, ...args], {
          stdio: ['ignore', 'pipe', 'pipe'],
        }).toString();
      const secretXml = `<secret ephemeral='yes' private='yes'><uuid>${secretUuid}</uuid><usage type='vtpm'><name>${uuid}</name></usage></secret>`;
      writeFileSync(join(daemon.directory, 'secret.xml'), secretXml);
      virsh('secret-define', join(daemon.directory, 'secret.xml'));
      const libvirtState = join(daemon.directory, 'lib/swtpm', uuid, 'tpm2');
      mkdirSync(libvirtState, { recursive: true });
      await convert('encrypt');
      writeFileSync(join(libvirtState, 'tpm2-00.permall'), readFileSync(statePath()), { mode: 0o600 });
      writeFileSync(
        join(daemon.directory, 'vm.xml'),
        smallDomainXml({ name: 'vm', uuid, vtpm: { secret: secretUuid } }),
      );
      virsh('define', join(daemon.directory, 'vm.xml')); // a transient VM would take its vTPM's state with it
      assert.throws(() => virsh('start', 'vm'), /secret/i);
      await bridge.unsealIntoLibvirt({ ...own, libvirtUri: daemon.uri, secretUuid });
      virsh('start', 'vm');
      assert.match(virsh('list', '--name'), /vm/);
      virsh('destroy', 'vm');
      // libvirt's swtpm has written it again, with the same key: it opens with ours.
      rmSync(stateDir, { recursive: true });
      stateDir = mkdtempSync(join(tmpdir(), 'tvmmp-vtpm-'));
      writeFileSync(statePath(), readFileSync(join(libvirtState, 'tpm2-00.permall')));
      assert.ok(isEncrypted());
      await convert('decrypt');
    } finally {
      await daemon.stop();
    }
  });
});
