import { strict as assert } from 'node:assert';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { X509Certificate, randomUUID } from 'node:crypto';
import {
  chmodSync,
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
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { vtpmDesk } from '../../lib/agent/vtpm-desk.ts';
import { formatVtpmChain, verifyVtpmChain } from '../../lib/certificates/vtpm-chain.ts';
import { verifyVtpmCa } from '../../lib/certificates/vtpm-ca.ts';
import { issueVtpmCertificate } from '../../lib/certificates/vtpm-certificate.ts';
import { parseVtpmRoot } from '../../lib/certificates/vtpm-root.ts';
import { TvmmpError, type ErrorCode } from '../../lib/errors.ts';
import type { VtpmDesk } from '../../lib/migration/vtpm-issuing.ts';
import { parseVtpmRequest } from '../../lib/migration/vtpm-request.ts';
import {
  loadBridge,
  type OwnSealedKey,
  type ReadEndorsement,
  type TpmCost,
} from '../../lib/native/bridge.ts';
import { nativePath } from '../../lib/native/load.ts';
import { keyObjectOf, parsePublicArea } from '../../lib/tpm/public-area.ts';
import { endorsementKeyOf, matchesTemplate, ekTemplate } from '../../lib/tpm/templates.ts';
import { libvirtdMissing, PrivateLibvirtd, smallDomainXml } from '../support/libvirtd.ts';
import { endProcess, startSwtpm, TpmHost } from './tpm-host.ts';
import { rootMissing, skipWithout } from '../support/skip.ts';
import { makeTestAuthority, testValidity } from '../support/test-authority.ts';
import { makeVtpmCa, makeVtpmRoot, softwareSigner } from '../support/vtpm-chain.ts';

const bridge = loadBridge();
const context = Buffer.from('key-context of a VM that is being born');
const vmId = 'a-vm:2b5f6c1e-0f53-4b0a-9d2e-8d4f4b7f6a01';
const rsaEk = '0x81010001';
const eccEk = '0x81010016';

describe('vTPM state: made encrypted, and read', function () {
  this.timeout(120_000);
  let host: TpmHost;
  let own: OwnSealedKey;
  /** Stands for /var/lib/libvirt/swtpm: others may pass. */
  let root: string;
  let stateDir: string;

  before(async function () {
    skipWithout(this, rootMissing());
    host = await TpmHost.start();
  });
  after(async () => {
    await host.stop();
  });
  beforeEach(async () => {
    own = await newKey();
    root = mkdtempSync(join(tmpdir(), 'tvmmp-born-'));
    chmodSync(root, 0o711);
    stateDir = join(root, 'swtpm', 'uuid', 'tpm2');
  });
  afterEach(() => {
    rmSync(root, { recursive: true, force: true });
  });

  async function newKey(): Promise<OwnSealedKey> {
    const blob = await bridge.createSealedKey({ recipientPublic: host.receivePublic, context });
    return host.own(blob, context, host.approve());
  }
  const file = (name: string): string => join(root, name);
  const state = (): Buffer => readFileSync(join(stateDir, 'tpm2-00.permall'));
  const manufacture = (
    more: { swtpmSetupPath?: string; qemuConf?: string; setupConfig?: string; issuer?: Uint8Array } = {},
  ): Promise<TpmCost> =>
    bridge.manufactureVtpm({ stateDir, vmId, own, qemuConf: file('no-qemu.conf'), ...more });
  const endorsementKey = (
    more: { from?: 'seed'; running?: boolean } = {},
  ): Promise<TpmCost & ReadEndorsement> => bridge.vtpmEndorsementKey({ stateDir, own, ...more });
  const nobody = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
  async function fails(promise: Promise<unknown>, code: ErrorCode, message = /./): Promise<void> {
    await assert.rejects(promise, (error) => {
      assert.ok(error instanceof TvmmpError);
      assert.deepEqual([error.code, message.test(error.message)], [code, true], error.message);
      return true;
    });
  }
  /** A program that stands where swtpm_setup is looked for. */
  function script(text: string): string {
    const path = file(`setup-${randomUUID()}`);
    writeFileSync(path, `#!/bin/sh\n${text}\n`);
    chmodSync(path, 0o755);
    return path;
  }
  /** An empty file that libvirt's swtpm user may write. */
  function writable(name: string): string {
    writeFileSync(file(name), '');
    chmodSync(file(name), 0o666);
    return file(name);
  }
  /** Runs a swtpm on the state while `use` runs; without a key unless its passphrase is in a file. */
  async function useVtpm(use: () => void, passphraseFile?: string): Promise<void> {
    const key = passphraseFile && `pwdfile=${passphraseFile},mode=aes-256-cbc`;
    const swtpm = await startSwtpm(stateDir, key === undefined ? [] : ['--key', key, '--migration-key', key]);
    try {
      use();
    } finally {
      await endProcess(swtpm);
    }
  }
  function vtpm(...args: string[]): string {
    const tcti = `swtpm:path=${join(stateDir, 'tpm.sock')}`;
    return execFileSync('tpm2', [...args, '-T', tcti], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
    }).toString();
  }
  function readPublic(handle: string): Buffer {
    vtpm('readpublic', '-c', handle, '-f', 'tpmt', '-o', 'public');
    return readFileSync(file('public'));
  }
  /** A clear state as libvirt has made it for a VM without encryption. */
  function manufactureInClear(...options: string[]): void {
    mkdirSync(stateDir, { recursive: true });
    execFileSync('swtpm_setup', ['--tpm2', '--tpm-state', stateDir, ...options], { stdio: 'ignore' });
  }

  it('belongs to libvirt’s swtpm user, in directories as libvirt makes them', async () => {
    assert.deepEqual(await manufacture(), { tpmCommands: 4 });
    const status = (path: string): string => {
      const { uid, gid, mode } = statSync(path);
      return `${uid}:${gid} ${(mode & 0o7777).toString(8)}`;
    };
    const ids = ['-u', '-g'].map((of) => execFileSync('id', [of, 'tss']).toString().trim()).join(':');
    assert.equal(status(dirname(dirname(stateDir))), '0:0 711');
    assert.equal(status(dirname(stateDir)), '0:0 711');
    assert.equal(status(stateDir), `${ids} 700`);
    assert.match(status(join(stateDir, 'tpm2-00.permall')), new RegExp(`^${ids} `));
    assert.deepEqual(readdirSync(dirname(stateDir)), ['tpm2']);
    assert.deepEqual(readdirSync(stateDir).sort(), ['.lock', 'tpm2-00.permall']);
  });

  it('has endorsement keys, their certificates and a platform certificate, and opens with the key alone', async () => {
    await manufacture();
    assert.equal((state()[5] ?? 0) & 0x01, 0x01);
    await assert.rejects(useVtpm(() => vtpm('getcap', 'handles-persistent')));
    await bridge.convertVtpmState({ direction: 'decrypt', stateDir, own });
    await useVtpm(() => {
      const handles = vtpm('getcap', 'handles-persistent') + vtpm('getcap', 'handles-nv-index');
      for (const each of ['0x81010001', '0x81010016', '0x1C00002', '0x1C00016', '0x1C08000']) {
        assert.ok(handles.includes(each), `${each} in ${handles}`);
      }
      const subject = `openssl x509 -inform der -noout -ext subjectAltName -subject`;
      vtpm('nvread', '0x1C00002', '-o', 'certificate');
      assert.match(
        execFileSync('sh', ['-c', `${subject} -in certificate`], { cwd: root }).toString(),
        /CN = a-vm:2b5f/,
      );
    });
  });

  it('has a certificate that is read with its endorsement key, whole, and is of that key', async () => {
    await manufacture();
    const { publicArea, certificate } = await endorsementKey();
    const read = new X509Certificate(certificate);
    assert.ok(read.publicKey.equals(keyObjectOf(parsePublicArea(publicArea))));
    assert.match(read.subject, new RegExp(`CN=${vmId}`));
    assert.deepEqual(Buffer.from(endorsementKeyOf(read.publicKey) ?? []), Buffer.from(publicArea));
    await bridge.convertVtpmState({ direction: 'decrypt', stateDir, own });
    await useVtpm(() => {
      vtpm('nvread', '0x1C00002', '-o', 'certificate');
      assert.deepEqual(readFileSync(file('certificate')), Buffer.from(certificate));
    });
  });

  it('has no certificate where swtpm_setup was told to make none, or where its index cannot be read', async () => {
    manufactureInClear('--createek');
    await useVtpm(() => vtpm('getcap', 'handles-persistent'));
    await bridge.convertVtpmState({ direction: 'encrypt', stateDir, own });
    assert.equal((await endorsementKey()).certificate.byteLength, 0);
    await bridge.convertVtpmState({ direction: 'decrypt', stateDir, own });
    await useVtpm(() => {
      const attributes = 'ownerread|ownerwrite|authread|authwrite';
      vtpm('nvdefine', '0x1C00002', '-C', 'o', '-s', '100', '-p', 'password', '-a', attributes);
    });
    await bridge.convertVtpmState({ direction: 'encrypt', stateDir, own });
    assert.equal((await endorsementKey()).certificate.byteLength, 0);
  });

  it('takes the options that libvirt gives, and shows the key on a descriptor alone', async () => {
    const passphrase = writable('passphrase');
    const seen = writable('seen');
    const swtpmSetupPath = script(
      `tr '\\0' '\\n' < /proc/$$/cmdline > ${seen}; ls /proc/$$/fd >> ${seen}; env >> ${seen}\n` +
        `head -c 100 <&3 > ${passphrase}; exec swtpm_setup "$@" 3< ${passphrase}`,
    );
    const processes = await whatProcessesShow(manufacture({ swtpmSetupPath }));
    const key = readFileSync(passphrase, 'utf8');
    assert.match(key, /^[0-9a-f]{64}$/);
    const lines = readFileSync(seen, 'utf8').split('\n');
    const expected =
      '--tpm2 --pwdfile-fd 3 --cipher aes-256-cbc --tpm-state DIR ' +
      `--vmid ${vmId} --createek --create-ek-cert --create-platform-cert --lock-nvram --not-overwrite`;
    const from = lines.indexOf('--tpm2');
    const words = lines.slice(from, lines.indexOf('--not-overwrite') + 1);
    const at = words.indexOf('--tpm-state') + 1;
    assert.equal(dirname(words[at] ?? ''), dirname(stateDir));
    words[at] = 'DIR';
    assert.equal(words.join(' '), expected);
    const rest = lines.slice(lines.indexOf('--not-overwrite') + 1).join(' ');
    assert.match(rest, /^0 1 (\d\d )*2 3 /);
    assert.doesNotMatch(rest, /HOME|TSS2|NODE/);
    assert.ok(processes.some((text) => text.includes('swtpm_setup')));
    assert.ok(processes.some((text) => /swtpm\0socket/.test(text)));
    assert.ok(!processes.some((text) => text.includes(key)));
    assert.ok(!state().includes(key));
    // A swtpm as libvirt starts it, with that passphrase, is this vTPM.
    const { publicArea } = await endorsementKey();
    await useVtpm(() => {
      assert.deepEqual(readPublic(rsaEk), Buffer.from(publicArea));
    }, passphrase);
  });

  it('is not made over one that is there', async () => {
    await manufacture();
    const before = state();
    await fails(manufacture(), 'vtpm-manufacture-failed', /not overwritten/);
    assert.deepEqual(state(), before);
    assert.deepEqual(readdirSync(dirname(stateDir)), ['tpm2']);
    rmSync(stateDir, { recursive: true });
    mkdirSync(stateDir);
    writeFileSync(join(stateDir, 'something'), 'of somebody');
    await fails(manufacture(), 'vtpm-manufacture-failed', /not overwritten/);
    assert.deepEqual(readdirSync(stateDir), ['something']);
    rmSync(join(stateDir, 'something'));
    await manufacture(); // an empty directory is no vTPM: libvirt sees it so too
    assert.ok(existsSync(join(stateDir, 'tpm2-00.permall')));
  });

  it('is made once where two ask at a time', async () => {
    const results = await Promise.allSettled([manufacture(), manufacture()]);
    assert.deepEqual(results.map((each) => each.status).sort(), ['fulfilled', 'rejected']);
    await endorsementKey();
  });

  it('leaves nothing behind when swtpm_setup fails, and says why', async () => {
    const cases: readonly (readonly [string, RegExp])[] = [
      ['/nonexistent/swtpm_setup', /failed/],
      ['/bin/true', /vTPM state/],
      // The key does not open what was made: another one was put in its place.
      [script(`printf %064d 7 > ${file('other')}; exec swtpm_setup "$@" 3< ${file('other')}`), /swtpm: /],
      [script('echo first >&2; echo the last words >&2; exit 3'), /first;the last words$/],
      [script('kill -KILL $$'), /failed/],
      [script('shift 5; exec swtpm_setup --tpm2 "$@"'), /not encrypted/],
      [script(`exec swtpm_setup --config ${file('conf')} "$@"`), /exit with status 1/],
    ];
    writable('other');
    const lines = ['tool= /bin/false', 'tool_config = /etc/swtpm-localca.conf', 'tool_options = /etc/x'];
    writeFileSync(file('conf'), lines.map((line) => `create_certs_${line}\n`).join(''));
    for (const [swtpmSetupPath, message] of cases) {
      await fails(manufacture({ swtpmSetupPath }), 'vtpm-manufacture-failed', message);
      assert.ok(!existsSync(file('swtpm')), swtpmSetupPath);
    }
    mkdirSync(join(dirname(stateDir), '.tvmmp-manufacture/half'), { recursive: true }); // of a crash
    await fails(manufacture({ swtpmSetupPath: '/bin/false' }), 'vtpm-manufacture-failed');
    assert.deepEqual(readdirSync(dirname(stateDir)), []);
    const other = host.own(own.blob, Buffer.from('another context'), own.approval);
    await fails(bridge.manufactureVtpm({ stateDir, vmId, own: other }), 'seal-invalid');
    assert.deepEqual(readdirSync(dirname(stateDir)), []);
  });

  it('belongs to whom qemu.conf says, and to nobody where it names nobody', async () => {
    const qemuConf = file('qemu.conf');
    const swtpmSetupPath = script(`id -u > ${file('who')}; id -g >> ${file('who')}; exit 1`);
    writable('who');
    const cases: readonly (readonly [string, string])[] = [
      ['swtpm_user = "root"\nswtpm_group = "root"', '0\n0\n'],
      ['#swtpm_user = "root"\n  swtpm_user="nobody"\nswtpm_group = \'+12345\'', '65534\n12345\n'],
    ];
    for (const [text, who] of cases) {
      writeFileSync(qemuConf, `${text}\n`);
      await fails(manufacture({ swtpmSetupPath, qemuConf }), 'vtpm-manufacture-failed');
      assert.equal(readFileSync(file('who'), 'utf8'), who);
    }
    for (const text of ['swtpm_user = "no-such-user-here"', 'swtpm_user = 0', 'swtpm_user = "tss']) {
      writeFileSync(qemuConf, `${text}\n`);
      await fails(manufacture({ swtpmSetupPath, qemuConf }), 'vtpm-manufacture-failed', /swtpm_user/);
    }
  });

  it('tells its endorsement key and stays as it was to the byte', async () => {
    await manufacture();
    const before = state();
    const { publicArea, tpmCommands } = await endorsementKey();
    assert.equal(tpmCommands, 4);
    assert.ok(matchesTemplate(publicArea, ekTemplate('rsa-2048')));
    assert.deepEqual((await endorsementKey()).publicArea, publicArea);
    assert.deepEqual(state(), before);
    assert.deepEqual(readdirSync(stateDir).sort(), ['.lock', 'tpm2-00.permall']);
  });

  it('tells the key of a vTPM that libvirt made and that was converted, whose contents survive', async () => {
    manufactureInClear('--createek', '--create-ek-cert', '--lock-nvram');
    let expected: Buffer | undefined;
    await useVtpm(() => {
      expected = readPublic(rsaEk);
      writeFileSync(file('note'), 'what the guest has kept');
      vtpm('nvdefine', '0x1500001', '-s', '23');
      vtpm('nvwrite', '0x1500001', '-i', 'note');
      vtpm('createprimary', '-C', 'o', '-c', 'primary.ctx');
      vtpm('flushcontext', '-t');
      vtpm('create', '-C', 'primary.ctx', '-i', 'note', '-u', 'u', '-r', 'r', '-c', 'sealed.ctx');
      vtpm('flushcontext', '-t');
      vtpm('evictcontrol', '-C', 'o', '-c', 'sealed.ctx', '0x81000001');
      vtpm('shutdown', '-c');
    });
    await fails(endorsementKey(), 'vtpm-read-failed', /not encrypted/);
    await bridge.convertVtpmState({ direction: 'encrypt', stateDir, own });
    const before = state();
    assert.deepEqual(Buffer.from((await endorsementKey()).publicArea), expected);
    assert.deepEqual(state(), before);
    await bridge.convertVtpmState({ direction: 'decrypt', stateDir, own });
    await useVtpm(() => {
      assert.equal(vtpm('nvread', '0x1500001'), 'what the guest has kept');
      assert.equal(vtpm('unseal', '-c', '0x81000001'), 'what the guest has kept');
    });
  });

  it('takes the P-384 key where there is no RSA key, and the template where there is none, or one of another kind', async () => {
    manufactureInClear('--createek');
    let rsa: Buffer | undefined;
    let ecc: Buffer | undefined;
    await useVtpm(() => {
      rsa = readPublic(rsaEk);
      ecc = readPublic(eccEk);
      vtpm('evictcontrol', '-C', 'o', '-c', rsaEk);
    });
    const told = async (): Promise<Buffer> => {
      await bridge.convertVtpmState({ direction: 'encrypt', stateDir, own });
      const { publicArea } = await endorsementKey();
      await bridge.convertVtpmState({ direction: 'decrypt', stateDir, own });
      return Buffer.from(publicArea);
    };
    assert.deepEqual(await told(), ecc);
    await useVtpm(() => {
      vtpm('evictcontrol', '-C', 'o', '-c', eccEk);
    });
    assert.deepEqual(await told(), rsa);
    await useVtpm(() => {
      vtpm(
        'createprimary',
        '-C',
        'o',
        '-G',
        'ecc256:ecdsa',
        '-c',
        'signing.ctx',
        '-a',
        'sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth',
      );
      vtpm('evictcontrol', '-C', 'o', '-c', 'signing.ctx', rsaEk);
    });
    assert.deepEqual(await told(), rsa);
    await useVtpm(() => {
      vtpm('clearcontrol', '-C', 'l', 's');
      vtpm('changeauth', '-c', 'e', 'a password of the guest');
      vtpm('changeauth', '-c', 'l', 'another one');
    });
    // Whatever a guest did: its seed is the platform's.
    assert.deepEqual(await told(), rsa);
    await useVtpm(() => {
      assert.throws(() => vtpm('createek', '-G', 'rsa', '-c', 'ek.ctx'), /authorization/);
    });
  });

  it('tells the key of its seed where a guest put another key in its place, and while it runs, as it was written last', async () => {
    manufactureInClear('--createek');
    let rsa: Buffer | undefined;
    await useVtpm(() => {
      rsa = readPublic(rsaEk);
      vtpm('evictcontrol', '-C', 'o', '-c', rsaEk);
      vtpm('createprimary', '-C', 'o', '-G', 'rsa2048', '-c', 'storage.ctx');
      vtpm('evictcontrol', '-C', 'o', '-c', 'storage.ctx', rsaEk);
    });
    await bridge.convertVtpmState({ direction: 'encrypt', stateDir, own });
    assert.notDeepEqual(Buffer.from((await endorsementKey()).publicArea), rsa);
    assert.deepEqual(Buffer.from((await endorsementKey({ from: 'seed' })).publicArea), rsa);
    const before = state();
    const lock = execFile('flock', [join(stateDir, '.lock'), 'sleep', '100']);
    try {
      const running = await endorsementKey({ from: 'seed', running: true });
      assert.deepEqual(Buffer.from(running.publicArea), rsa);
    } finally {
      lock.kill();
    }
    assert.deepEqual(state(), before);
  });

  it('has its keys certified by the agent where that says so, and keeps who did, where its guest reads and cannot change it', async () => {
    const uuid = vmId.slice(-36);
    const authority = await makeTestAuthority();
    const { keys, issuers } = await makeVtpmCa(await makeVtpmRoot(authority), {
      name: 'alpha.example',
      akName: new Uint8Array(34),
    });
    const now = new Date();
    const ca = verifyVtpmCa(issuers.ca, parseVtpmRoot(issuers.root), now);
    const issued: Uint8Array[] = [];
    const answer: Parameters<VtpmDesk>[0] = async (words) => {
      const { publicKey, vtpm: described, vmId: named } = parseVtpmRequest(words);
      assert.equal(named, vmId);
      const subject = { uuid, name: 'a-vm', publicKey, vtpm: described };
      const der = await issueVtpmCertificate(ca, subject, testValidity, softwareSigner(keys));
      issued.push(der);
      return der;
    };
    const desk = await vtpmDesk(bridge, nobody, { qemuConf: file('no-qemu.conf') })(answer);
    await manufacture({ setupConfig: desk.setupConfig, issuer: issuers.ca });
    await desk.close();
    assert.ok(!existsSync(dirname(desk.setupConfig)));
    const read = await endorsementKey();
    assert.deepEqual(read.issuer, issuers.ca);
    assert.equal(issued.length, 2, 'RSA and P-384');
    assert.deepEqual(read.certificate, issued[0]);
    const verified = verifyVtpmChain({ ...issuers, certificate: read.certificate }, authority.root, now);
    assert.equal(verified.uuid, uuid);
    assert.ok(verified.publicKey.equals(keyObjectOf(parsePublicArea(read.publicArea))));
    await bridge.convertVtpmState({ direction: 'decrypt', stateDir, own });
    await useVtpm(() => {
      for (const [index, der] of [
        ['0x1C00002', issued[0]],
        ['0x1C00016', issued[1]],
        ['0x1C00100', issuers.ca],
      ] as const) {
        vtpm('nvread', index, '-o', 'found');
        assert.deepEqual(readFileSync(file('found')), Buffer.from(der ?? []));
        assert.throws(() => vtpm('nvwrite', index, '-C', 'o', '-i', 'found'));
        assert.throws(() => vtpm('nvundefine', index, '-C', 'o'));
      }
    });
    assert.equal(formatVtpmChain({ ...issuers, certificate: read.certificate }).split('BEGIN').length, 5);
  });

  it('is not made where its keys are not certified, and says what the agent said', async () => {
    const refuse: Parameters<VtpmDesk>[0] = () =>
      Promise.reject(new TvmmpError('peer-untrusted', 'the agent has\nno reason to'));
    const desk = await vtpmDesk(bridge, nobody, { qemuConf: file('no-qemu.conf') })(refuse);
    const { setupConfig } = desk;
    await fails(manufacture({ setupConfig }), 'vtpm-manufacture-failed', /the agent has no reason to/);
    await desk.close();
    const conf = file('setup.conf');
    writeFileSync(
      conf,
      `create_certs_tool = ${nativePath('tvmmp-vtpm-certs')}\ncreate_certs_tool_config = ${file('none')}\n`,
    );
    const gone = manufacture({ setupConfig: conf });
    await fails(gone, 'vtpm-manufacture-failed', /tvmmp agent cannot be reached: No such file/);
    assert.ok(!existsSync(dirname(stateDir)), 'nothing is left behind');
  });

  it('has nobody else ask for its certificates', async () => {
    const answer: Parameters<VtpmDesk>[0] = () => Promise.resolve(Uint8Array.of(1));
    const desk = await vtpmDesk(bridge, nobody, { qemuConf: file('no-qemu.conf') })(answer);
    const tool = nativePath('tvmmp-vtpm-certs');
    const socket = join(dirname(desk.setupConfig), 'socket');
    const out = file('out');
    mkdirSync(out);
    chmodSync(out, 0o777);
    // Only the loop of this process answers, so that a child has to be waited for without blocking it.
    const asked = (uid: string): Promise<number | null> =>
      new Promise((resolve) => {
        spawn(
          'setpriv',
          ['--reuid', uid, '--clear-groups', tool, '--type', 'ek', '--dir', out, '--configfile', socket],
          {
            stdio: 'ignore',
          },
        ).once('exit', resolve);
      });
    assert.equal(await asked('65534'), 1);
    assert.deepEqual(readdirSync(out), []);
    assert.equal(await asked(String((await bridge.vtpmOwner({ qemuConf: file('no-qemu.conf') })).uid)), 0);
    assert.deepEqual(readFileSync(join(out, 'ek.cert')), Buffer.of(1));
    await desk.close();
  });

  it('does not tell the key of a vTPM that runs, of another key, of none, or without swtpm', async () => {
    const passphrase = writable('passphrase');
    await manufacture({
      swtpmSetupPath: script(`head -c 100 <&3 > ${passphrase}; exec swtpm_setup "$@" 3< ${passphrase}`),
    });
    const before = state();
    const right = own;
    own = await newKey();
    await fails(endorsementKey(), 'vtpm-read-failed');
    own = { ...right, approval: { ...right.approval, approvedPolicy: Buffer.alloc(32) } };
    await fails(endorsementKey(), 'seal-refused');
    own = right;
    for (const swtpmPath of ['/nonexistent/swtpm', '/bin/true']) {
      await fails(bridge.vtpmEndorsementKey({ stateDir, own, swtpmPath }), 'vtpm-read-failed');
    }
    assert.deepEqual(state(), before);
    const swtpm = await startSwtpm(stateDir, ['--key', `pwdfile=${passphrase},mode=aes-256-cbc`]);
    try {
      await fails(endorsementKey(), 'vtpm-busy');
      assert.match(vtpm('getcap', 'handles-persistent'), /0x81010001/);
    } finally {
      await endProcess(swtpm);
    }
    rmSync(stateDir, { recursive: true });
    await fails(endorsementKey(), 'vtpm-read-failed');
    mkdirSync(stateDir);
    await fails(endorsementKey(), 'vtpm-read-failed');
    assert.deepEqual(readdirSync(stateDir), []);
  });

  it('is what libvirt starts as this VM’s vTPM', async function () {
    skipWithout(this, libvirtdMissing());
    const daemon = await PrivateLibvirtd.start({ qemuConf: '' });
    try {
      const uuid = randomUUID();
      const secretUuid = randomUUID();
      const virsh = (...args: string[]): string =>
        execFileSync('virsh', ['-q', '-c', daemon.uri, ...args], {
          stdio: ['ignore', 'pipe', 'pipe'],
        }).toString();
      const usage = `<usage type='vtpm'><name>${uuid}</name></usage>`;
      writeFileSync(
        file('secret.xml'),
        `<secret ephemeral='yes' private='yes'><uuid>${secretUuid}</uuid>${usage}</secret>`,
      );
      virsh('secret-define', file('secret.xml'));
      stateDir = join(daemon.directory, 'lib/swtpm', uuid, 'tpm2');
      await manufacture({ qemuConf: join(daemon.directory, 'etc/qemu.conf') });
      const { publicArea } = await endorsementKey();
      writeFileSync(file('vm.xml'), smallDomainXml({ name: 'vm', uuid, vtpm: { secret: secretUuid } }));
      virsh('define', file('vm.xml'));
      await bridge.unsealIntoLibvirt({ ...own, libvirtUri: daemon.uri, secretUuid });
      virsh('start', 'vm');
      await fails(endorsementKey(), 'vtpm-busy');
      virsh('destroy', 'vm');
      assert.deepEqual((await endorsementKey()).publicArea, publicArea);
    } finally {
      await daemon.stop();
    }
  });
});

/** Command line and environment of every process on this machine, looked at until `work` is done. */
async function whatProcessesShow(work: Promise<unknown>): Promise<string[]> {
  const texts = new Set<string>();
  const progress = { done: false };
  const ended = work.finally(() => {
    progress.done = true;
  });
  while (!progress.done) {
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      for (const part of ['cmdline', 'environ']) {
        try {
          texts.add(readFileSync(`/proc/${pid}/${part}`, 'utf8'));
        } catch {
          // it has ended meanwhile
        }
      }
    }
    await delay(5);
  }
  await ended;
  return [...texts];
}
