/** Several authorities on the command line: naming another one in a policy, and verifying proofs with the roots of both. */
import { strict as assert } from 'node:assert';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatPolicyDraft, parsePolicyText } from '../../../lib/appraisal/policy.ts';
import { formatBundle } from '../../../lib/authority/bundle.ts';
import { AGENT_FILES } from '../../../lib/authority/host-directory.ts';
import { certificateToPem } from '../../../lib/certificates/pem.ts';
import { domainFindings } from '../../../lib/cli/doctor-domains.ts';
import { hex } from '../../../lib/encoding/hex.ts';
import { revocationsOf } from '../../simulation/revocation.ts';
import { pcrsOf } from '../../support/proof-world.ts';
import { CrossingChain, makeDomains } from '../../support/two-domains.ts';
import type { World } from '../../support/proof-world.ts';
import type { Domains } from '../../support/two-domains.ts';
import { json, tvmmp } from './run-cli.ts';

describe('tvmmp with several authorities', function () {
  this.timeout(60_000);
  let directory: string;
  let domains: Domains;
  const at = (name: string): string => join(directory, name);
  before(async () => {
    domains = await makeDomains();
    directory = mkdtempSync(join(tmpdir(), 'tvmmp-domains-'));
    const { acme, partner } = domains;
    for (const [name, { authority }] of Object.entries({ acme, partner }))
      writeFileSync(at(`${name}.pem`), certificateToPem(authority.root.der));
    const { root, policySigner } = partner.authority;
    writeFileSync(at('partner.json'), formatBundle(root.der, policySigner));
    // From acme's alpha to partner's alpha nothing goes: by way of beta.
    const by = new CrossingChain(acme)
      .live('created', 'started')
      .migrate(acme.beta)
      .cross(partner.alpha, partner);
    writeFileSync(at('web.tvmmp-proof'), by.bytes());
  });
  after(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  const verify = (...more: string[]): ReturnType<typeof tvmmp> =>
    tvmmp(['proof', 'verify', at('web.tvmmp-proof'), '--authority', at('acme.pem'), ...more]);

  it('proof verify says in which domain each holder was, given the roots of all', async () => {
    const run = await verify('--authority', at('partner.pem'));
    assert.equal(run.code, 0, run.stderr);
    assert.match(run.stdout, /alpha\.test@acme[^]*beta\.test@acme[^]*alpha\.test@partner/);
    const told = json(await verify('--authority', at('partner.pem'), '--json')) as unknown as {
      readonly holdings: readonly { host: string; domain: string; authority: string }[];
    };
    const { acme, partner } = domains;
    assert.deepEqual(
      told.holdings.map(({ host, domain, authority }) => [host, domain, authority]),
      [
        ['alpha.test', 'acme', hex(acme.authority.root.digest)],
        ['beta.test', 'acme', hex(acme.authority.root.digest)],
        ['alpha.test', 'partner', hex(partner.authority.root.digest)],
      ],
    );
  });

  it('proof verify refuses a host whose root was not given, by the name of its domain', async () => {
    const run = await verify();
    assert.equal(run.code, 1);
    assert.match(
      run.stderr,
      /\(arrived by alpha\.test\): certificate: alpha\.test is a host of the domain partner, whose root \(SHA-256 [0-9a-f]{64}\) was not given/,
    );
  });

  it('proof verify holds the list of each authority against the hosts of that one', async () => {
    const { acme, partner } = domains;
    const lists = {
      'partner-list.json': revocationsOf(partner, 1, [partner.alpha], 0),
      // A host that acme revokes by partner's key, as far as that can be said: it is none of acme's.
      'acme-list.json': revocationsOf(acme, 1, [partner.alpha], 0),
    };
    for (const [name, text] of Object.entries(lists)) writeFileSync(at(name), text);
    const both = ['--authority', at('partner.pem'), '--revocations'];
    const revoked = await verify(...both, at('partner-list.json'));
    assert.equal(revoked.code, 1);
    assert.match(revoked.stderr, /revocation: entry 5 \(arrived\) was signed by alpha\.test, revoked since/);
    const none = await verify(...both, at('acme-list.json'));
    assert.equal(none.code, 0, none.stderr);
    const twice = await verify(...both, at('acme-list.json'), '--revocations', at('acme-list.json'));
    assert.equal(twice.code, 2);
    assert.match(twice.stderr, /two revocation lists of one authority/);
  });

  it('policy domain names another authority by its bundle, and takes it out again', async () => {
    const states = [{ name: 'base', pcrs: pcrsOf('base') }];
    writeFileSync(at('draft.json'), formatPolicyDraft({ id: 'lab', version: 1, pcrs: [0, 4, 7], states }));
    const named = [
      '--self',
      'acme',
      '--bundle',
      at('partner.json'),
      '--policy-id',
      'partner',
      '--policy-version',
      '3',
    ];
    const rules = ['--forward', 'level >= 3', '--backward', '-o', at('named.json')];
    const run = await tvmmp(['policy', 'domain', at('draft.json'), 'partner', ...named, ...rules]);
    assert.equal(run.code, 0, run.stderr);
    const check = await tvmmp(['policy', 'check', at('named.json')]);
    assert.match(
      check.stdout,
      /domain partner: root [0-9a-f]{64}, policy partner from v3 on by key [0-9a-f]{64}; its hosts receive VMs: yes, where level >= 3; give VMs: yes$/m,
    );
    const differences = json(
      await tvmmp(['policy', 'diff', at('draft.json'), at('named.json'), '--json']),
    ) as unknown as {
      readonly what: string;
    }[];
    assert.deepEqual(
      differences.map(({ what }) => what),
      ['own domain', 'domain partner'],
    );
    const removed = await tvmmp(['policy', 'domain', at('named.json'), 'partner', '--remove']);
    assert.equal(parsePolicyText(removed.stdout).domains, undefined);
    const unknown = await tvmmp(['policy', 'domain', at('draft.json'), 'partner', '--remove']);
    assert.equal(unknown.code, 2);
  });

  it('proof join puts the parts of several domains together, given the roots of all', async () => {
    const joinBy = (...roots: readonly string[]): ReturnType<typeof tvmmp> =>
      tvmmp([
        ...['proof', 'join', at('web.tvmmp-proof'), '-o', at('whole.tvmmp-proof')],
        ...roots.flatMap((root) => ['--authority', at(root)]),
      ]);
    assert.equal((await joinBy('acme.pem')).code, 1);
    const joined = await joinBy('acme.pem', 'partner.pem');
    assert.equal(joined.code, 0, joined.stderr);
  });

  it('doctor names the domains whose root QEMU does not know, and nothing without domains', async () => {
    const { acme, partner } = domains;
    const install = (text: string): void => {
      for (const [name, contents] of Object.entries({
        [AGENT_FILES.policy]: text,
        [AGENT_FILES.root]: certificateToPem(acme.authority.root.der),
        [AGENT_FILES.policySigner]: certificateToPem(acme.authority.policySigner),
      }))
        writeFileSync(at(name), contents);
    };
    const directories = { identity: directory, migrationTls: directory };
    const findings = () => domainFindings({ directories });
    const trust = (...worlds: readonly World[]): void => {
      const roots = worlds.map(({ authority }) => certificateToPem(authority.root.der));
      writeFileSync(at('ca-cert.pem'), roots.join(''));
    };
    install(acme.signPolicy().text);
    assert.deepEqual(await findings(), []);
    install(acme.signPolicy({ domains: { self: 'acme', others: [domains.ofPartner()] } }).text);
    trust(acme);
    const [missing] = await findings();
    assert.equal(missing?.outcome, 'bad');
    assert.match(missing.found, /lacks the root of partner/);
    trust(acme, partner);
    assert.deepEqual(
      (await findings()).map(({ outcome }) => outcome),
      ['good'],
    );
    install(acme.signPolicy({ domains: { self: 'acme', others: [domains.ofPartner({ rules: {} })] } }).text);
    assert.deepEqual(await findings(), []);
  });
});
