/** The attestations that test vectors are made of (SPEC 4.3): good ones, and bad ones with one fault each. */
import { H, sha256 } from '../../lib/encoding/hash.ts';
import { attestationStatement, encodeAttestation } from '../../lib/proof/attestation.ts';
import type { Attestation } from '../../lib/proof/attestation.ts';
import type { AttestationCheck, ProofCheck } from '../../lib/proof/fault.ts';
import { hostId, policyId } from '../../lib/evidence/identity.ts';
import { makeTestAuthority } from './test-authority.ts';
import { ChainBuilder, Tenant, pcrsOf, worldVm } from './proof-world.ts';
import type { World } from './proof-world.ts';
import { quoted, saidAbout } from './quoted-statement.ts';
import type { StatementFlaws } from './quoted-statement.ts';

/** What the verifier of every case drew. */
export const caseNonce = sha256(Buffer.from('nonce of the tenant'));

/** How an attestation departs from what an honest holder would say. */
export interface AttestationFlaws extends StatementFlaws {
  readonly said?: Partial<Pick<Attestation, 'vm' | 'head' | 'nonce' | 'time'>>;
  /** Statements that the quote covers beside it. */
  readonly beside?: readonly Uint8Array[];
  readonly file?: Partial<Attestation>;
}

/** An attestation of this chain's VM by its holder. */
export function attest(chain: ChainBuilder, flaws: AttestationFlaws = {}): Attestation {
  const { world } = chain;
  const host = flaws.host ?? chain.holder;
  const policy = flaws.policy ?? chain.policy;
  const said = {
    vm: chain.vm,
    head: chain.head,
    nonce: caseNonce,
    host: host.id,
    policy: policy.id,
    time: chain.time + 1000,
    ...flaws.said,
  };
  const quote = quoted(attestationStatement(said), { host, policy }, flaws, {
    statements: flaws.beside ?? [],
  });
  return {
    ...said,
    ...quote,
    certificates: [host.certificate, world.authority.policySigner],
    policies: [policy.text],
    ...flaws.file,
  };
}

/** One attestation, the proof that came with it, and why it must hold or fail. */
export interface AttestationCase {
  readonly name: string;
  readonly why: string;
  readonly expect: 'verified' | ProofCheck | AttestationCheck;
  readonly build: (world: World) => Promise<{
    readonly chain: ChainBuilder;
    readonly attestation: Uint8Array;
    /** The verifier's clock, where it is not that of the chain's end. */
    readonly now?: number;
  }>;
}

function living(world: World): ChainBuilder {
  return new ChainBuilder(world).live('created', 'started').migrate(world.beta);
}

const said = saidAbout(living, (chain, flaws?: AttestationFlaws) => ({
  attestation: encodeAttestation(attest(chain, flaws)),
}));

/** A case of a chain of its own. */
function about(
  name: string,
  why: string,
  expect: AttestationCase['expect'],
  build: (
    world: World,
  ) => Promise<{ readonly chain: ChainBuilder; readonly attestation: Attestation; readonly now?: number }>,
): AttestationCase {
  return {
    name,
    why,
    expect,
    build: async (world) => {
      const { attestation, ...rest } = await build(world);
      return { ...rest, attestation: encodeAttestation(attestation) };
    },
  };
}

/** The VM is bound to a policy of its tenant, and its holder attests it by a certificate with this region. */
async function rented(world: World, region: string) {
  const eu = await world.enrol('alpha.test', {
    tpm: world.alpha.tpm,
    attributes: new Map([['region', 'eu']]),
  });
  const now = await world.enrol('alpha.test', {
    tpm: world.alpha.tpm,
    attributes: new Map([['region', region]]),
  });
  const chain = new ChainBuilder(world);
  chain.holder = eu;
  chain
    .live('created')
    .bound(new Tenant().policy('region == "eu"', 1, { vm: worldVm }))
    .live('started');
  return { chain, attestation: attest(chain, { host: now }) };
}

/** Every case; vectors are named after them. */
export const attestationCases: readonly AttestationCase[] = [
  said('good', 'the holder attests the VM for the nonce', 'verified'),
  said('with-others', 'attestations that wait together share a quote', 'verified', () => ({
    beside: [sha256(Buffer.from('one')), sha256(Buffer.from('two'))],
  })),
  said('renewed', 'the certificate of the same AK was renewed meanwhile', 'verified', async (world) => ({
    host: await world.enrol(world.beta.id.name, { tpm: world.beta.tpm }),
  })),
  said('newer-policy', 'the holder has a newer version of the policy in force', 'verified', (world) => ({
    policy: world.signPolicy({ version: 4 }),
  })),
  said('after-reboot', 'the holder was updated meanwhile, to a state that is approved', 'verified', () => ({
    quote: { pcrs: pcrsOf('update') },
  })),
  about('rented', 'the holder satisfies what its tenant asks for', 'verified', (world) =>
    rented(world, 'eu'),
  ),
  said('old-nonce', 'it was made for the nonce of another day', 'nonce', () => ({
    said: { nonce: sha256(Buffer.from('nonce of yesterday')) },
  })),
  said(
    'nonce-put-in',
    'the nonce of yesterday was replaced in the file, and not in the quote',
    'quote-binding',
    () => ({
      file: { nonce: caseNonce },
      said: { nonce: sha256(Buffer.from('nonce of yesterday')) },
    }),
  ),
  said('other-vm', 'it is about another VM of the same host', 'head', () => ({
    said: { vm: '11111111-2222-4333-8444-555555555555' },
  })),
  about(
    'tail-cut-off',
    'the proof was cut off before the move; the holder of now attests the whole',
    'head',
    (world) => {
      const chain = new ChainBuilder(world).live('created', 'started');
      return Promise.resolve({ chain, attestation: attest(living(world)) });
    },
  ),
  about(
    'head-put-in',
    'the head of a proof that was cut off was put into the attestation',
    'holder',
    (world) => {
      const chain = new ChainBuilder(world).live('created', 'started');
      return Promise.resolve({ chain, attestation: { ...attest(living(world)), head: chain.head } });
    },
  ),
  said(
    'head-not-quoted',
    'the head in the file is not the one that was quoted',
    'quote-binding',
    (_, chain) => ({
      said: { head: sha256(Buffer.from('an earlier entry')) },
      file: { head: chain.head },
    }),
  ),
  about(
    'departing',
    'the VM departs: its holder does not know whether it still is',
    'life-cycle',
    (world) => {
      const chain = new ChainBuilder(world).live('created', 'started').departing(world.beta);
      return Promise.resolve({ chain, attestation: attest(chain) });
    },
  ),
  about('destroyed', 'the protection of the VM has ended', 'life-cycle', (world) => {
    const chain = new ChainBuilder(world).live('created', 'destroyed');
    return Promise.resolve({ chain, attestation: attest(chain) });
  }),
  said('by-former-holder', 'the host that the VM left says that it holds it', 'holder', (world) => ({
    host: world.alpha,
  })),
  said(
    'by-other-enrolment',
    'a host of that name with another AK is another host',
    'holder',
    async (world) => ({
      host: await world.enrol(world.beta.id.name),
    }),
  ),
  said(
    'by-other-ak',
    "a host that knows the holder's certificate has not its AK",
    'quote-signature',
    (world) => ({
      signer: world.gamma,
    }),
  ),
  said('certify', 'the AK certified a key whose qualifying data is the statement', 'quote-type', () => ({
    quote: { type: 'certify' },
  })),
  said('nonce-alone', 'the AK quoted the nonce as it is, say for another verifier', 'quote-binding', () => ({
    statement: caseNonce,
  })),
  said(
    'other-label',
    'a statement of another kind over the same values',
    'quote-binding',
    (world, chain) => ({
      statement: H(
        'tvmmp/aborted/1',
        caseNonce,
        chain.head,
        hostId.write(world.beta.id),
        policyId.write(world.policy.id),
        chain.time,
      ),
    }),
  ),
  said('bad-state', 'the holder runs what nobody has approved', 'pcr-state', () => ({
    quote: { pcrs: pcrsOf('evil') },
  })),
  said('other-pcrs', 'the quote covers PCRs that nothing was measured into', 'pcr-selection', () => ({
    selection: [{ bank: 'sha256', pcrs: [4] }],
  })),
  about(
    'old-policy',
    'a state that only an older policy approves is not good enough',
    'policy-order',
    (world) => {
      const chain = new ChainBuilder(world).live('created');
      const before = chain.policy;
      chain.policy = world.signPolicy({ version: 4 });
      return Promise.resolve({
        chain: chain.live('started'),
        attestation: attest(chain, { policy: before }),
      });
    },
  ),
  said('without-policy', 'the policy is missing', 'policy', () => ({ file: { policies: [] } })),
  said('without-certificate', 'its certificate is missing', 'certificate', (world) => ({
    file: { certificates: [world.authority.policySigner] },
  })),
  said('foreign-root', 'the certificate is that of another authority', 'certificate', async (world) => {
    const { akName, receiveKeyName, akKey } = world.beta.tpm;
    const other = await makeTestAuthority();
    const certificate = await other.hostCertificate({ name: 'beta.test', akName, receiveKeyName }, akKey);
    const id = { ...world.beta.id, certificate: sha256(certificate) };
    return { host: { ...world.beta, id, certificate } };
  }),
  about(
    'expired',
    'the certificate has expired, whatever the clock of the host says',
    'certificate',
    (world) => {
      const chain = living(world);
      return Promise.resolve({ chain, attestation: attest(chain), now: chain.time + 100 * 365 * 86_400_000 });
    },
  ),
  about(
    'refused-by-tenant',
    'by its renewed certificate the holder is not what the tenant asks for',
    'tenant',
    (world) => rented(world, 'us'),
  ),
  said('unused', 'it brings a certificate that nothing needs', 'unused', (world) => ({
    file: { certificates: [world.beta.certificate, world.authority.policySigner, world.gamma.certificate] },
  })),
  {
    name: 'trailing-bytes',
    why: 'bytes follow the attestation',
    expect: 'encoding',
    build: (world) => {
      const chain = living(world);
      return Promise.resolve({
        chain,
        attestation: Buffer.concat([encodeAttestation(attest(chain)), Buffer.of(0)]),
      });
    },
  },
];
