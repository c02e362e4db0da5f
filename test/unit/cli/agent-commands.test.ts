/** The commands that ask the agent, against a socket that answers what the test says. */
import { strict as assert } from 'node:assert';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeRescue, encodeRescueRequest } from '../../../lib/migration/rescue-file.ts';
import { ScriptedAgent } from './scripted-agent.ts';
import { json, tvmmp } from './run-cli.ts';

const uuid = '6b1a6f4e-0f1d-4c64-9d0a-3f5b8c1e2a77';
const vm = {
  uuid,
  name: 'web',
  state: 'running',
  holder: 'alpha',
  epoch: 2,
  entries: 9,
  head: 'ab'.repeat(32),
};
const status = {
  version: '0.1.0',
  host: 'alpha',
  advertise: 'alpha:16515',
  policy: { id: 'fleet', version: 3, digest: 'cd'.repeat(32) },
  revocations: { version: 4, ownReason: null },
  rollback: { counter: '41', rolledBack: null, vms: [] },
  vtpms: { unread: [], exchanged: [] },
  escrow: null,
  trust: { rule: null, appraised: null, problem: '', quarantine: null, attested: [], peers: [] },
  ledger: { kind: 'sqlite', place: "this host's journal", problem: '', behind: [], conflicts: [] },
  vms: [vm],
  migrations: [
    {
      id: '5f'.repeat(32),
      vm: uuid,
      role: 'source',
      state: 'staged',
      peer: 'beta',
      problem: 'peer-unreachable: no',
    },
  ],
};
const moved = {
  vm: 'web',
  from: 'alpha',
  to: 'beta',
  totalMs: 1640,
  downtimeMs: 69,
  dataBytes: 5_242_880,
  departed: true,
};

describe('tvmmp and the agent', () => {
  let agent: ScriptedAgent;
  beforeEach(() => {
    agent = new ScriptedAgent();
  });
  afterEach(() => agent.close());

  const run = (...args: string[]): ReturnType<typeof tvmmp> => tvmmp([...args, '--config', agent.config]);

  it('says how to start the agent where it does not run, and exits 3', async () => {
    const result = await run('status');
    assert.equal(result.code, 3);
    assert.match(
      result.stderr,
      /^tvmmp: tvmmpd does not run here .* systemctl start tvmmpd \(agent-unreachable\)\n$/,
    );
  });

  it('shows the status as aligned text', async () => {
    await agent.listen({ status: [{ result: status }] });
    const { code, stdout, stderr } = await run('status');
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    assert.match(stdout, /^host {9}alpha$/m);
    assert.match(stdout, /^policy {7}fleet version 3 \(cdcdcdcd\)$/m);
    assert.match(stdout, /^revocations {2}list version 4$/m);
    assert.match(stdout, /^web {3}running {2}alpha {3}2 {6}9 {8}6b1a6f4e/m);
    assert.match(stdout, /^web {2}source {2}staged {2}beta {2}5f5f5f5f {2}peer-unreachable: no$/m);
  });

  for (const [what, rollback, shown] of [
    [
      'never was',
      { counter: '41', rolledBack: null, vms: [] },
      /^counter {6}41 in the TPM, as the journal has it$/m,
    ],
    [
      'was, and VMs wait',
      { counter: '43', rolledBack: 0, vms: [uuid] },
      /^counter {6}THE DISK WAS PUT BACK \(seen 1970-01-01T00:00:00Z\): 1 VMs do not start until they are adopted \(tvmmp vm adopt\)$/m,
    ],
    ['was, and is over', { counter: '43', rolledBack: 0, vms: [] }, /^counter {6}43 .* put back once/m],
  ] as const)
    it(`says of a disk that was put back: ${what}`, async () => {
      await agent.listen({ status: [{ result: { ...status, rollback } }] });
      assert.match((await run('status')).stdout, shown);
    });

  for (const [what, change, shown] of [
    ['is not asked for', {}, /^trust {8}appraised at each migration alone/m],
    [
      'holds',
      { rule: { everySeconds: 300, leave: 'never' }, appraised: 0 },
      /^trust {8}appraises itself at least every 300 s \(last 1970-01-01T00:00:00Z\)$/m,
    ],
    [
      'cannot be looked at',
      { rule: { everySeconds: 300, leave: 'never' }, problem: 'no TPM' },
      /^trust {8}NOT APPRAISED: no TPM$/m,
    ],
    [
      'is gone',
      {
        rule: { everySeconds: 300, leave: 'never' },
        quarantine: { since: 0, reason: 'ima-files: evil', failed: ['ima-files'] },
      },
      /^trust {8}QUARANTINED since 1970-01-01T00:00:00Z: it receives no VM, its VMs stay \(tvmmp explain\): ima-files: evil$/m,
    ],
  ] as const)
    it(`says of the trust in this host that it ${what}`, async () => {
      await agent.listen({ status: [{ result: { ...status, trust: { ...status.trust, ...change } } }] });
      assert.match((await run('status')).stdout, shown);
    });

  for (const [what, change, shown] of [
    ['are the right ones', {}, /^vTPMs {8}none is known to be another than its proof names$/m],
    [
      'cannot be read',
      { unread: [{ vm: uuid, problem: 'no swtpm' }] },
      /^vTPMs {8}none is .*; 1 that came still to be read \(no swtpm\)$/m,
    ],
    [
      'are others',
      { exchanged: [{ vm: uuid, since: 0, problem: 'vtpm-exchanged: web came with another vTPM' }] },
      /^vTPMs {8}vtpm-exchanged: web came with another vTPM \(seen 1970-01-01 00:00:00Z\)$/m,
    ],
  ] as const)
    it(`says of the vTPMs that came here that they ${what}`, async () => {
      await agent.listen({ status: [{ result: { ...status, vtpms: { ...status.vtpms, ...change } } }] });
      assert.match((await run('status')).stdout, shown);
    });

  it('says what hosts found of each other', async () => {
    const attested = [
      { address: 'beta:16515', peer: 'beta', outcome: 'refused', time: 0, problem: '' },
      { address: 'gamma:16515', peer: null, outcome: null, time: null, problem: 'no answer' },
      { address: 'delta:16515', peer: 'delta', outcome: 'accepted', time: 0, problem: '' },
    ];
    const peers = [
      { host: 'delta', outcome: 'accepted', since: 0, time: 0, silent: false, reason: '' },
      { host: 'evil', outcome: 'refused', since: 0, time: 0, silent: false, reason: 'ima-files: x' },
      { host: 'mute', outcome: 'accepted', since: 0, time: 60_000, silent: true, reason: '' },
      { host: 'gone', outcome: 'refused', since: 0, time: 60_000, silent: true, reason: 'pcr-state: y' },
    ];
    await agent.listen({
      status: [{ result: { ...status, trust: { ...status.trust, attested, peers } } }],
    });
    const { stdout } = await run('status');
    for (const line of [
      /^attested to {2}beta REFUSES THIS HOST$/m,
      /^attested to {2}gamma:16515 cannot be told: no answer$/m,
      /^attested to {2}delta \(accepted\)$/m,
      /^peer {9}delta satisfies the policy$/m,
      /^peer {9}evil REFUSED since 1970-01-01 00:00:00Z: ima-files: x$/m,
      /^peer {9}mute satisfied the policy; SILENT since 1970-01-01 00:01:00Z$/m,
      /^peer {9}gone REFUSED since 1970-01-01 00:00:00Z: pcr-state: y; SILENT since 1970-01-01 00:01:00Z$/m,
    ])
      assert.match(stdout, line);
  });

  it('prints exactly what the agent knows as one line of JSON', async () => {
    await agent.listen({ status: [{ result: status }], 'vm.list': [{ result: [vm] }] });
    const result = await run('status', '--json');
    assert.deepEqual(json(result), status);
    assert.equal(result.stdout.split('\n').length, 2);
    assert.deepEqual(json(await run('vm', 'list', '--json')), [vm]);
  });

  it('exits 1 for what the agent refuses, and passes its reason on', async () => {
    await agent.listen({
      'vm.protect': [{ error: { code: 'refused', message: 'web has no emulated TPM;\nadd <tpm>' } }],
    });
    const result = await run('vm', 'protect', 'web');
    assert.deepEqual(result, {
      code: 1,
      stdout: '',
      stderr: 'tvmmp: web has no emulated TPM; add <tpm> (refused)\n',
    });
    assert.deepEqual(agent.requests, [{ method: 'vm.protect', params: { vm: 'web' } }]);
  });

  for (const [code, exit] of [
    ['vm-unknown', 2],
    ['vm-protected', 1],
    ['policy-invalid', 1],
    ['tpm-unreachable', 3],
    ['libvirt-call-failed', 3],
    ['a-code-of-a-later-version', 3],
  ] as const) {
    it(`exits ${exit} where the agent answers ${code}`, async () => {
      await agent.listen({ 'vm.unprotect': [{ error: { code, message: 'no' } }] });
      const result = await run('vm', 'unprotect', 'web');
      assert.deepEqual(result, { code: exit, stdout: '', stderr: `tvmmp: no (${code})\n` });
    });
  }

  it('exits 3 where the agent ends the connection, or talks nonsense', async () => {
    await agent.listen({ status: [], 'vm.list': ['nonsense\n'] });
    assert.equal((await run('status')).code, 3);
    const nonsense = await run('vm', 'list');
    assert.equal(nonsense.code, 3);
    assert.match(nonsense.stderr, /not JSON; is it of another version\? \(agent-unreachable\)/);
  });

  it('shows a migration step by step on standard error, and sums it up', async () => {
    const progress = [
      { progress: { step: 'attest', message: 'both hosts attest themselves' } },
      { progress: { step: 'move', message: 'memory', fraction: 0 } },
      { progress: { step: 'move', message: 'memory', fraction: 0.5 } },
    ];
    await agent.listen({ migrate: [...progress, { result: moved }], 'vm.list': [{ result: [vm] }] });
    const result = await run('migrate', 'web', 'beta', '--bandwidth', '200', '--agent', 'beta.mgmt:16515');
    assert.equal(result.code, 0);
    assert.equal(result.stderr, 'attest: both hosts attest themselves\nmove: memory\n');
    for (const line of [
      'web moved from alpha to beta',
      'total +1.6 s',
      'downtime +69 ms',
      'data +5.0 MiB',
      'proof +9 entries',
    ])
      assert.match(result.stdout, new RegExp(line));
    const params = { vm: 'web', destination: 'beta', agent: 'beta.mgmt:16515', bandwidth: 200 };
    assert.deepEqual(agent.requests[0], { method: 'migrate', params });
  });

  it('prints a migration as one JSON document and nothing else', async () => {
    const progress = { progress: { step: 'attest', message: 'both' } };
    await agent.listen({ migrate: [progress, { result: moved }], 'vm.list': [{ result: [vm] }] });
    const result = await run('migrate', 'web', 'beta', '--json');
    assert.equal(result.stderr, '');
    assert.deepEqual(json(result), { ...moved, proof: { entries: 9, epoch: 2, head: vm.head } });
  });

  describe('and a host that is emptied', () => {
    const other = { ...vm, uuid: '00000000-0000-4000-8000-000000000001', name: 'db', state: 'paused' };
    const off = { ...vm, uuid: '00000000-0000-4000-8000-000000000002', name: 'off', state: 'stopped' };
    const away = {
      ...vm,
      uuid: '00000000-0000-4000-8000-000000000003',
      name: 'away',
      holder: 'beta',
      state: 'gone',
    };
    const full = { ...status, vms: [vm, other, off, away] };

    it('moves what runs there to the hosts in turn, and tells what stays', async () => {
      await agent.listen({ status: [{ result: full }], migrate: [{ result: moved }] });
      const result = await run(
        'evacuate',
        '--to',
        'beta',
        '--to',
        'gamma',
        '--parallel',
        '1',
        '--bandwidth',
        '9',
      );
      assert.equal(result.code, 0, result.stderr);
      assert.match(
        result.stderr,
        /^\[1\/2\] web: moved to beta in 1\.6 s\n\[2\/2\] db: moved to gamma in 1\.6 s\n$/,
      );
      assert.match(result.stdout, /^web +moved +beta +1\.6 s +69 ms +5\.0 MiB$/m);
      assert.match(
        result.stdout,
        /^2 of 2 VMs have left alpha\noff is stopped and stays: start it to move it\n$/m,
      );
      assert.deepEqual(
        agent.requests.filter(({ method }) => method === 'migrate').map(({ params }) => params),
        [
          { vm: uuid, destination: 'beta', bandwidth: 9 },
          { vm: other.uuid, destination: 'gamma', bandwidth: 9 },
        ],
      );
    });

    it('prints a report as one JSON document, and exits 1 for what was refused everywhere', async () => {
      const error = { error: { code: 'refused', message: 'not trusted' } };
      await agent.listen({ status: [{ result: { ...status, vms: [vm] } }], migrate: [error] });
      const result = await run('evacuate', '--to', 'beta', '--to', 'gamma', '--json');
      assert.equal(result.code, 1);
      assert.match(result.stderr, /^tvmmp: 1 of 1 VMs stay here; gamma: not trusted \(refused\)\n$/);
      const attempts = ['beta', 'gamma'].map((to) => ({ to, code: 'refused', message: 'not trusted' }));
      const nothing = { moved: [], leftMeanwhile: [], notBegun: [], stay: [] };
      assert.deepEqual(json(result), {
        host: 'alpha',
        ...nothing,
        failed: [{ uuid, name: 'web', attempts }],
      });
    });

    it('takes the hosts with which VMs were exchanged, and asks where there are none', async () => {
      const done = { id: '01', vm: uuid, role: 'source', state: 'departed', peer: 'gamma', started: 1 };
      const later = { ...done, state: 'done', peer: 'beta', started: 2 };
      await agent.listen({
        status: [{ result: { ...status, vms: [vm] } }],
        migrations: [{ result: [done, later, { ...later, state: 'refused', peer: 'delta', started: 3 }] }],
        migrate: [{ result: moved }],
      });
      assert.equal((await run('evacuate')).code, 0);
      assert.equal(agent.requests.at(-1)?.params['destination'], 'beta');
      await agent.close();
      agent = new ScriptedAgent();
      await agent.listen({ status: [{ result: full }], migrations: [{ result: [] }] });
      const nowhere = await run('evacuate');
      assert.equal(nowhere.code, 2);
      assert.match(nowhere.stderr, /say where to: --to HOST/);
      assert.match((await run('evacuate', '--to', 'alpha')).stderr, /alpha is this host/);
    });
  });

  it('lists migrations, the last one first', async () => {
    const one = {
      id: '01'.repeat(32),
      vm: uuid,
      role: 'source',
      state: 'departed',
      peer: 'beta',
      address: 'beta:16515',
      name: 'web',
      vmState: 'gone',
      problem: '',
      waitsFor: 'nobody',
      meaning: 'over',
      outcomes: [],
    };
    const rows = [
      { ...one, started: 1_780_000_000_000, updated: 1_780_000_002_000 },
      {
        ...one,
        id: '02'.repeat(32),
        role: 'target',
        peer: '',
        problem: 'peer-unreachable: beta is away',
        waitsFor: 'peer',
        started: 1_790_000_000_000,
        updated: 1_790_000_000_000,
      },
    ];
    await agent.listen({ migrations: [{ result: rows }] });
    const { stdout } = await run('migration', 'list');
    const [, first, problem, second] = stdout.split('\n');
    assert.equal(problem, '  peer-unreachable: beta is away');
    assert.match(first ?? '', /^2026-09-21 \d\d:\d\d:\d\dZ .*target .* beta:16515 {2}02020202/);
    assert.match(second ?? '', /source {2}departed {2}beta +01010101/);
    assert.deepEqual(json(await run('migration', 'list', '--count', '1', '--json')), [rows[1]]);
    assert.deepEqual(json(await run('migration', 'list', '--open', '--json')), [rows[1]]);
  });

  it('give a VM a tenant whose certificate and policy go together', async () => {
    await agent.listen({ 'vm.protect': [{ result: vm }], 'vm.tenant-policy': [{ result: vm }] });
    const directory = mkdtempSync(join(tmpdir(), 'tvmmp-tenant-'));
    try {
      const at = (name: string): string => join(directory, name);
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      writeFileSync(at('key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }));
      writeFileSync(at('public.pem'), publicKey.export({ type: 'spki', format: 'pem' }));
      const says = ['--vm', uuid, '--version', '1', '--condition', 'region == "eu"', '-o', at('policy.json')];
      assert.equal((await tvmmp(['tenant', 'sign', '--key', at('key.pem'), ...says])).code, 0);
      const shown = json(await tvmmp(['tenant', 'show', at('policy.json'), '--json']));
      assert.deepEqual([shown['vm'], shown['condition']], [uuid, 'region == "eu"']);
      const alone = await run('vm', 'protect', 'web', '--tenant-policy', at('policy.json'));
      assert.equal(alone.code, 2);
      assert.match(alone.stderr, /--tenant-policy and --tenant-cert go together/);
      assert.deepEqual(agent.requests, []);
      const both = ['--tenant-policy', at('policy.json'), '--tenant-cert', at('public.pem')];
      assert.equal((await run('vm', 'protect', 'web', ...both)).code, 0);
      assert.equal((await run('vm', 'tenant-policy', 'web', at('policy.json'))).code, 0);
      const envelope = readFileSync(at('policy.json'), 'utf8');
      const tenantKey = createHash('sha256')
        .update(publicKey.export({ type: 'spki', format: 'der' }))
        .digest('hex');
      assert.deepEqual(agent.requests, [
        { method: 'vm.protect', params: { vm: 'web', tenantPolicy: envelope, tenantKey } },
        { method: 'vm.tenant-policy', params: { vm: 'web', envelope } },
      ]);
      assert.equal(shown['keyDigest'], tenantKey);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  it('take up a vTPM state only with the risk accepted by name', async () => {
    await agent.listen({ 'vm.adopt': [{ result: vm }] });
    for (const more of [[], ['--json']]) {
      const result = await run('vm', 'adopt', 'web', ...more);
      assert.equal(result.code, 2);
      assert.match(result.stderr, /may go back to an earlier time: .* Say --i-accept-rollback/);
    }
    assert.deepEqual(agent.requests, []);
    const done = await run('vm', 'adopt', 'web', '--i-accept-rollback');
    assert.deepEqual(
      [done.code, done.stdout],
      [0, 'web takes up the vTPM state that is there; its proof says so\n'],
    );
    assert.deepEqual(agent.requests, [{ method: 'vm.adopt', params: { vm: 'web', accepted: true } }]);
    await agent.close();
    agent = new ScriptedAgent();
    await agent.listen({ 'vm.adopt': [{ result: vm }] });
    const memory = await run('vm', 'adopt', 'web', '--run', '13', '--i-accept-rollback');
    assert.equal(memory.stdout, 'memory of run 13 of web may come back once; its proof says so\n');
    assert.deepEqual(agent.requests, [
      { method: 'vm.adopt', params: { vm: 'web', accepted: true, run: 13 } },
    ]);
    assert.equal((await run('vm', 'adopt', 'web', '--run', 'x', '--i-accept-rollback')).code, 2);
  });

  it('take up a VM of a lost host only with the risk accepted by name', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tvmmp-rescue-'));
    try {
      const bytes = (length: number): Uint8Array => new Uint8Array(length);
      const files = [null, bytes(32)].map((state, index) => {
        const request = encodeRescueRequest({
          ...{ name: 'web', secret: uuid, proof: bytes(1), escrowed: bytes(126), state, past: [] },
          ...{ akCertificate: bytes(1), receivePublic: bytes(1) },
        });
        const file = join(directory, `${index}.rescue`);
        writeFileSync(file, encodeRescue({ request, statement: '{}', sealed: bytes(126) }));
        return file;
      });
      await agent.listen({ 'vm.rescue': [{ result: vm }] });
      const [ran = '', off = ''] = files;
      const asked = await run('vm', 'rescue', ran);
      assert.equal(asked.code, 2);
      assert.match(asked.stderr, /two hosts can run web: .*may have gone back\. Say --i-accept-two-copies/);
      const stopped = await run('vm', 'rescue', off, '--json');
      assert.equal(stopped.code, 2);
      assert.doesNotMatch(stopped.stderr, /may have gone back/);
      assert.deepEqual(agent.requests, []);
      const done = await run('vm', 'rescue', off, '--i-accept-two-copies');
      assert.match(done.stdout, /^web is held here now, in epoch \d+; start it with virsh start web\n$/);
      const rescue = readFileSync(off).toString('base64');
      assert.deepEqual(agent.requests, [{ method: 'vm.rescue', params: { rescue, accepted: true } }]);
      writeFileSync(off, 'no such thing');
      assert.equal((await run('vm', 'rescue', off, '--i-accept-two-copies')).code, 2);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  describe('and a migration that cannot end', () => {
    const id = '5f'.repeat(32);
    const stuck = {
      ...{ id, vm: uuid, name: 'web', vmState: 'departing', role: 'source', state: 'aborting' },
      ...{ peer: 'beta', address: 'beta:16515', started: 1_780_000_000_000, updated: 1_780_000_002_000 },
      ...{ problem: 'peer-unreachable: beta:16515', waitsFor: 'peer', meaning: 'beta has still to say' },
      outcomes: ['keep', 'give-up'],
      steps: [{ time: 1_780_000_000_000, state: 'open', note: '' }],
      setAside: [],
    };
    const ended = { ...stuck, state: 'resolved', meaning: 'kept here', problem: '', outcomes: [] };

    it('shows where it stands, on whom it waits, and what can be done', async () => {
      await agent.listen({ 'migration.show': [{ result: stuck }] });
      const { stdout } = await run('migration', 'show', '5f5f');
      assert.match(stdout, /^state +aborting: beta has still to say$/m);
      assert.match(stdout, /^waits for +the other host$/m);
      assert.match(stdout, /^problem +peer-unreachable: beta:16515$/m);
      assert.match(stdout, /^2026-05-28 \d\d:\d\d:\d\dZ {2}open/m);
      assert.match(stdout, /tvmmp migration resolve 5f5f5f5f --keep-here \| --give-up/);
      assert.deepEqual(agent.requests, [{ method: 'migration.show', params: { session: '5f5f' } }]);
      assert.deepEqual(json(await run('migration', 'show', 'web', '--json')), stuck);
    });

    it('resolves nothing unless one outcome is named and its risk is accepted by name', async () => {
      await agent.listen({ 'migration.show': [{ result: stuck }] });
      for (const [args, says] of [
        [[], /say one of --keep-here and --give-up/],
        [['--keep-here', '--give-up'], /say one of/],
        [['--keep-here'], /two hosts can run it.* Say --i-accept-two-copies/],
        [['--keep-here', '--i-accept-loss'], /Say --i-accept-two-copies/],
        [['--give-up', '--i-accept-two-copies'], /vTPM is lost for good.* Say --i-accept-loss/],
      ] as const) {
        const result = await run('migration', 'resolve', '5f5f', ...args);
        assert.equal(result.code, 2);
        assert.match(result.stderr, says);
      }
      assert.ok(agent.requests.every(({ method }) => method === 'migration.show'));
    });

    it('resolves it with the whole id, and says what it is now', async () => {
      const progress = { progress: { step: 'ask', message: 'asking beta once more' } };
      await agent.listen({
        'migration.show': [{ result: stuck }],
        'migration.resolve': [progress, { result: ended }],
      });
      const result = await run('migration', 'resolve', '5f5f', '--keep-here', '--i-accept-two-copies');
      assert.deepEqual(result, {
        code: 0,
        stdout: 'web: resolved: kept here\n',
        stderr: 'ask: asking beta once more\n',
      });
      const params = { session: id, outcome: 'keep', accepted: true };
      assert.deepEqual(agent.requests.at(-1), { method: 'migration.resolve', params });
    });

    it('exits 1 where there is nothing to resolve, or it was not done', async () => {
      await agent.listen({ 'migration.show': [{ result: ended }] });
      const result = await run('migration', 'resolve', '5f5f', '--give-up', '--i-accept-loss');
      assert.equal(result.code, 1);
      assert.match(result.stderr, /nothing to resolve \(refused\)/);
      await agent.close();
      agent = new ScriptedAgent();
      const giving = { ...stuck, state: 'giving-up', outcomes: [] };
      await agent.listen({
        'migration.show': [{ result: stuck }],
        'migration.resolve': [{ result: giving }],
      });
      const unfinished = await run('migration', 'resolve', '5f5f', '--give-up', '--i-accept-loss');
      assert.equal(unfinished.code, 1);
      assert.match(unfinished.stderr, /it is giving-up, not given-up: tvmmp migration show 5f5f5f5f/);
    });

    it('asks a target that keeps what it has for no risk: there is none', async () => {
      const arrived = { ...stuck, role: 'target', state: 'arrived' };
      await agent.listen({
        'migration.show': [{ result: arrived }],
        'migration.resolve': [{ result: ended }],
      });
      assert.equal((await run('migration', 'resolve', '5f5f', '--keep-here')).code, 0);
    });
  });

  it('explains a refusal check by check', async () => {
    const checks = [
      { name: 'peer-name', outcome: 'pass', expected: 'beta', found: 'beta', remedy: '' },
      {
        name: 'pcr-state',
        outcome: 'fail',
        expected: 'a state of fleet v3',
        found: 'PCR 4 differs',
        remedy: 'approve it',
      },
    ];
    const verdict = JSON.stringify({ policy: { id: 'fleet', version: 3 }, checks });
    const row = {
      time: 1_780_000_000_000,
      vm: uuid,
      peer: 'beta',
      operation: 'migrate-out',
      reason: 'not trusted',
      verdict,
    };
    await agent.listen({ refusals: [{ result: [row, { ...row, vm: null, verdict: null }] }] });
    const { stdout } = await run('explain');
    assert.match(
      stdout,
      /1 checks passed, 1 failed\n {2}pcr-state\n {4}expected {2}a state of fleet v3\n {4}found {5}PCR 4 differs\n {4}remedy {4}approve it\n/,
    );
    assert.doesNotMatch(stdout, /peer-name/);
    const all = json(await run('explain', '--count', '9', '--json')) as unknown as {
      verdict: { checks: unknown } | null;
    }[];
    assert.deepEqual([all.length, all[0]!.verdict?.checks, all[1]!.verdict], [2, checks, null]);
    assert.match((await run('explain', '--vm', 'x')).stdout, /nothing was refused/);
  });

  it('shows control characters of names as question marks', async () => {
    await agent.listen({ 'vm.list': [{ result: [{ ...vm, name: 'a\u001b[2Jb\u0007' }] }] });
    const { stdout } = await run('vm', 'list');
    assert.match(stdout, /a\?\[2Jb\?/);
  });
});
