/** Two hosts of two authorities whose policies name each other: a VM goes there and comes back, until one of them does not name the other any more. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CommandResult } from '../../scripts/lab.d/lab.ts';
import { withLab } from '../support/product-lab.ts';
import type { Guest, ProductLab } from '../support/product-lab.ts';

const program = new URL('../../scripts/lab.d/bin/tvmmp', import.meta.url).pathname;

describe('a VM between two authorities', function () {
  this.timeout(300_000);
  let lab: ProductLab;
  let guest: Guest;
  const at = (...names: readonly string[]): string => join(lab.directory, ...names);
  const tvmmp = (...args: readonly string[]): string =>
    execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const etc = (host: string, file: string): string => join(lab.hostDirectory(host), 'fs/etc-tvmmp', file);

  /** An authority's next policy: states of both hosts, and the other domain where it is named. Gives the file. */
  function policy(authority: string, id: string, version: number, other: readonly string[] | null): string {
    const draft = at(`${id}-${version}.draft.json`);
    const states = ['alpha', 'beta'].flatMap((host) => ['--state', at('states', `${host}.json`)]);
    tvmmp('policy', 'new', '--id', id, '--version', String(version), '--pcrs', '0-7', ...states, '-o', draft);
    if (other !== null) tvmmp('policy', 'domain', draft, ...other, '--forward', '--backward', '-o', draft);
    const signed = at(`${id}-${version}.json`);
    tvmmp('policy', 'sign', at(authority), draft, '-o', signed);
    return signed;
  }
  const acmeNames = ['partner', '--self', 'acme', '--policy-id', 'partner', '--policy-version', '1'];
  const partnerNames = ['acme', '--self', 'partner', '--policy-id', 'lab', '--policy-version', '1'];

  /** Beta is enrolled as a host of an authority of its own. */
  async function enrolBeta(): Promise<void> {
    const config = etc('beta', 'tvmmpd.json');
    const settings = JSON.parse(readFileSync(config, 'utf8')) as { libvirt: Record<string, string> };
    settings.libvirt['migrationUri'] = 'qemu+tcp://{host}/system';
    writeFileSync(config, JSON.stringify(settings));
    const address = readFileSync(join(lab.hostDirectory('beta'), 'address'), 'utf8').trim();
    const via = [program, 'authority', 'enroll', at('partner'), '--name', 'beta', '--address', address];
    await lab.on('beta', 'tvmmp', 'host', 'init', '--bundle', at('partner-bundle.json'));
    await lab.on(
      'beta',
      'tvmmp',
      'host',
      'enroll',
      '--via',
      [...via, '--ek-roots', at('tpm-roots')].join(' '),
    );
    await lab.must('arm', 'beta');
    await lab.must('start-agent', 'beta');
  }

  withLab({ hosts: ['alpha', 'beta'], installed: ['alpha'] }, async (fresh) => {
    lab = fresh;
    tvmmp('authority', 'init', at('partner'), '--name', 'partner');
    writeFileSync(at('partner-bundle.json'), tvmmp('authority', 'bundle', at('partner')));
    const measure = ['tvmmp', 'host', 'measure', '--pcrs', '0-7', '--name', 'beta', '--json'];
    writeFileSync(at('states', 'beta.json'), await lab.on('beta', ...measure));
    policy('partner', 'partner', 1, [...partnerNames, '--bundle', at('bundle.json')]);
    await enrolBeta();
    const named = policy('authority', 'lab', 2, [...acmeNames, '--bundle', at('partner-bundle.json')]);
    await lab.on('alpha', 'tvmmp', 'policy', 'install', named);
    // QEMU verifies certificates by itself.
    const files = ['alpha', 'beta'].map((host) => etc(host, 'migration-tls/ca-cert.pem'));
    const roots = files.map((file) => readFileSync(file, 'utf8')).join('');
    for (const file of files) writeFileSync(file, roots);
    for (const [name, host] of [
      ['acme', 'alpha'],
      ['partner', 'beta'],
    ] as const)
      writeFileSync(at(`${name}.pem`), readFileSync(etc(host, 'authority.pem'), 'utf8'));
    guest = await lab.guest('alpha', 'web');
  });

  /** What a verifier with these roots is told of the proof that a host exports. */
  async function verify(host: string, ...roots: readonly string[]): Promise<CommandResult> {
    const file = at(`web-${host}.tvmmp-proof`);
    await lab.on(host, 'tvmmp', 'proof', 'export', 'web', '-o', file);
    const authorities = roots.flatMap((root) => ['--authority', at(`${root}.pem`)]);
    return lab.exec(host, 'tvmmp', 'proof', 'verify', file, ...authorities, '--json');
  }
  const move = (from: string, to: string): Promise<CommandResult> =>
    lab.exec(from, 'tvmmp', 'migrate', 'web', to);

  it('goes to the host of the other one by plain virsh, and is believed there with the roots of both', async () => {
    await lab.moved('alpha', 'beta', guest);
    await lab.ticksOn('beta', guest);
    const told = JSON.parse((await verify('beta', 'acme', 'partner')).stdout) as {
      readonly outcome: string;
      readonly holdings: readonly { host: string; domain: string; destroyed: number | null }[];
    };
    assert.equal(told.outcome, 'verified');
    assert.deepEqual(
      told.holdings.map(({ host, domain, destroyed }) => [host, domain, destroyed !== null]),
      [
        ['alpha', 'acme', true],
        ['beta', 'partner', false],
      ],
    );
    const alone = await verify('beta', 'acme');
    assert.equal(alone.status, 1);
    assert.match(alone.stderr, /beta is a host of the domain partner, whose root .* was not given/);
    assert.match(await lab.on('beta', 'tvmmp', 'proof', 'show', 'web'), /alpha@acme[^]*beta@partner/);
  });

  it('comes back by tvmmp migrate, its vTPM unbroken', async () => {
    const back = await move('beta', 'alpha');
    assert.equal(back.status, 0, back.stderr);
    await lab.settled('alpha', 'beta');
    await lab.ticksOn('alpha', guest);
    await lab.unbroken(guest);
    assert.equal((await verify('alpha', 'acme', 'partner')).status, 0);
  });

  it('stays where the policy does not name the other one any more, and says why', async () => {
    const alone = policy('authority', 'lab', 3, null);
    await lab.on('alpha', 'tvmmp', 'policy', 'install', alone);
    const refused = await move('alpha', 'beta');
    assert.equal(refused.status, 1);
    assert.match(
      refused.stderr,
      /has a certificate of an authority that is neither ours nor that of a domain that our policy names/,
    );
    await lab.ticksOn('alpha', guest);
    await lab.unbroken(guest);
    const plain = await lab.migrate('alpha', 'beta', guest);
    assert.notEqual(plain.status, 0);
    await lab.ticksOn('alpha', guest);
    await lab.unbroken(guest);
  });
});
