/** Several authorities (SPEC 17): who belongs to which domain, and where a VM may go. */
import { mutantsOf } from './mutant.ts';

const appraisal = 'test/unit/appraisal/domains.test.ts';
const stage = 'test/unit/migration/domains.test.ts';
const vectors = 'test/vectors/proof.test.ts';
const crossing = 'test/unit/proof/crossing.test.ts';
const tls = 'test/unit/agent/tls-channel.test.ts';

export const domains = [
  ...mutantsOf('lib/appraisal/peer-checks.ts', appraisal, [
    {
      name: 'domain/role',
      defence: 'Hosts of another domain receive or give VMs only where the policy lets them',
      spec: '17.2',
      find: "check('domain', named?.rules[member] !== undefined, {",
      replace: "check('domain', named !== null || member === 'forward', {",
      title: 'refuses a host in a role that the policy does not let its domain have',
    },
    {
      name: 'domain/rules',
      defence: 'The rule for a domain is asked beside our own',
      spec: '17.2',
      find: "if (one.outcome === 'fail' || other.outcome === 'fail')",
      replace: "if (one.outcome === 'fail')",
      title: 'refuses a host that is not what the policy asks of its domain, or of every host',
    },
    {
      name: 'domain/receive-key',
      defence: 'The key to seal to is opened by the policy key that our policy names',
      spec: '17.2',
      find: '  const policyKey = foreignDomain(input)?.named?.policyKey ?? ownPolicy.signerSpki;\n',
      replace: '  const policyKey = ownPolicy.signerSpki;\n',
      title:
        'accepts a host that the policy lets receive, or give, by its own root, key and policy, in a state of ours',
    },
    {
      name: 'domain/policy',
      defence: 'Hosts of a domain have the policy that our policy names, and no older one',
      spec: '17.2',
      find: 'id === named.policy.id && version >= least',
      replace: 'id.length > 0 && version >= requiredPolicyVersion',
      title: 'refuses another policy than the one named, and an older version of it',
    },
  ]),
  ...mutantsOf('lib/appraisal/domains.ts', appraisal, [
    {
      name: 'domain/attribute',
      defence: 'What a certificate says of its domain counts for nothing',
      spec: '17.1',
      find: '.filter(([attribute]) => attribute !== DOMAIN_ATTRIBUTE);',
      replace: '.filter(([attribute]) => attribute.length > 0);',
      and: [
        {
          find: 'new Map(name === undefined ? rest : [...rest, [DOMAIN_ATTRIBUTE, name]])',
          replace: 'new Map(name === undefined ? rest : [[DOMAIN_ATTRIBUTE, name], ...rest])',
        },
      ],
      title: 'refuses a host whose authority certifies it as one of another domain',
    },
  ]),
  ...mutantsOf('lib/appraisal/policy.ts', appraisal, [
    {
      name: 'domain/own-root',
      defence: 'No domain has the root or the policy key of the policy itself',
      spec: '17.1',
      find: '  requireOtherDomains(policy, trust);\n',
      replace: '  void requireOtherDomains;\n',
      title: 'is refused with the root or the policy key of the policy itself',
    },
  ]),
  ...mutantsOf('lib/proof/chain.ts', vectors, [
    {
      name: 'domain/no-third',
      defence: 'A VM goes from its home to another domain and back, and to no third',
      spec: '17.3',
      find: "    demand(ofHome, 'domain', third);\n",
      replace: '    void [ofHome, third];\n',
      title:
        'domain-of-a-domain: a domain hands on to a third what was given to it, though home names that one too',
    },
    {
      name: 'domain/policy-order',
      defence: 'The policy of a domain is not older than it was in the chain',
      spec: '17.3',
      find: '  if (last !== null) demandPolicy(last, policy);\n',
      replace: '  if (last?.id === state.policy.id) demandPolicy(last, policy);\n',
      title: 'policy-order-back-home: home is not older after a visit',
    },
  ]),
  ...mutantsOf('lib/proof/checkpoint.ts', crossing, [
    {
      name: 'domain/no-checkpoint',
      defence: 'A chain that has crossed has no summary',
      spec: '17.3',
      find: '  if (state.quarantined || state.elsewhere.length > 0) return null;\n',
      replace: '  if (state.quarantined) return null;\n',
      title: 'has no summary that a checkpoint could name',
    },
  ]),
  ...mutantsOf('lib/proof/crossing.ts', vectors, [
    {
      name: 'domain/forward-in-proof',
      defence: 'A proof shows no crossing that the policy of its source forbids',
      spec: '17.3',
      find: '    named.rules.forward !== undefined,\n',
      replace: '    named.name.length > 0,\n',
      title: 'domain-not-forward: the domain may give VMs, and not receive any',
    },
    {
      name: 'domain/policy-key-in-proof',
      defence: 'States that another policy key approved are none of the domain',
      spec: '17.3',
      find: '    bytesEqual(policyKey, signerSpki),\n',
      replace: '    policyKey.byteLength === signerSpki.byteLength,\n',
      title: 'domain-other-policy-key: states that another key of that authority approved',
    },
    {
      name: 'domain/same-id',
      defence: 'A policy of the same id is not of another authority',
      spec: '17.3',
      find: "    demand(same, 'domain', `${host} is a host of another authority, with a policy of the same id`);\n",
      replace: '    void same;\n',
      title: 'domain-same-id: another authority signs a policy of the same id',
    },
  ]),
  ...mutantsOf('lib/migration/offered-proof.ts', stage, [
    {
      name: 'domain/revoked-in-proof',
      defence: 'Only roots that the policy in force names are believed in a proof',
      spec: '17.3',
      find: '    others: otherRoots(host),\n',
      replace: '    others: verifiedRoots(proof),\n',
      and: [
        {
          find: "/** Each authority's list is about its own hosts. */\n",
          replace:
            "/** Whatever certificates name. */\nfunction verifiedRoots({ policies }: Proof): readonly RootCertificate[] {\n  return policies.flatMap((text) => parsePolicyDocument(Buffer.from(parseEnvelope(text).payload).toString('utf8')).domains?.others.map(({ root }) => root) ?? []);\n}\n\n/** Each authority's list is about its own hosts. */\n",
        },
        {
          find: "import type { HostId } from '../evidence/identity.ts';",
          replace:
            "import type { HostId } from '../evidence/identity.ts';\nimport type { RootCertificate } from '../certificates/root-certificate.ts';\nimport { parseEnvelope } from '../appraisal/dsse.ts';\nimport { parsePolicyDocument } from '../appraisal/policy-text.ts';",
        },
      ],
      title:
        'is told on to its own domain with a proof that its hosts believe, and to none that does not name the other',
    },
  ]),
  ...mutantsOf('lib/migration/source-session.ts', stage, [
    {
      name: 'domain/source-keeps',
      defence: 'A source offers no VM to a third domain',
      spec: '17.3',
      find: '    if (trusted.domain !== null) requireMayGo(chain, peer.policy);\n',
      replace: '    void requireMayGo;\n',
      title: 'on to a domain that its domain trusts: from there it goes home or nowhere',
    },
  ]),
  ...mutantsOf('lib/migration/domain-revocations.ts', stage, [
    {
      name: 'domain/list-signer',
      defence: 'The list of a domain is signed by the policy key that our policy names',
      spec: '17.2',
      find: '  if (!verifyEnvelope(parseEnvelope(envelope), keyOfSpki(policyKey)))\n',
      replace: "  if (!verifyEnvelope(parseEnvelope(envelope), keyOfSpki(policyKey)) && name === '')\n",
      title: 'are taken from the policy key that our policy names alone',
    },
    {
      name: 'domain/list-version',
      defence: 'The version of the list of a domain never goes back',
      spec: '17.2',
      find: '  if (before !== null && list.version < before.version) return before.version;\n',
      replace: '',
      and: [
        {
          find: "  if (compareRevocations(before, list) === 'newer') host",
          replace: '  host',
        },
      ],
      title: 'are kept apart for each authority, and their versions never go back',
    },
  ]),
  ...mutantsOf('lib/agent/tls-channel.ts', tls, [
    {
      name: 'domain/label',
      defence: 'A host of another domain is known by name and domain',
      spec: '17.2',
      find: 'peerLabel(told.name, told.domain?.name ?? null)',
      replace: 'peerLabel(told.name, null)',
      title: 'do not take a host of another domain for one of ours of the same name',
    },
  ]),
];
